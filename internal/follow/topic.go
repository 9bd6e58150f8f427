package follow

import (
	"context"
	"sync"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A topic is shared by all followers of one segment or one space. It has a live position and the window of entries
// before it.
//
// It never decides how a follower ends, except by a verdict. If it cannot continue from its position, it begins a new
// epoch at the end of the log. Each follower finds out by itself what that means for its own position.
type topic struct {
	w      *Watcher
	key    key
	source source
	space  *space
	ctx    context.Context
	cancel context.CancelFunc
	first  streamhub.Position // cursor of the follower for which the topic was made, zero for none
	refs   int                // guarded by Watcher.mu

	mu     sync.Mutex
	window window
	live   streamhub.Position
	end    *streamhub.ClosedError
	// epoch counts how often the live position was set to the end of the log; 0 before the first time.
	epoch int
	moved bool // changed since the last re-check
	// resumed is the position of the first follower if the first epoch began there. Followers at that position need no
	// read of their own. It is zero if the epoch began at the end of the log.
	resumed streamhub.Position
	// signal is closed when any field above changes.
	signal chan struct{}
	// waiting counts the followers that have read everything and wait for signal.
	waiting, followers int
	followed           map[*follower]struct{}
	// parked has the waiting followers that walkers serve; crowd is how many there were last.
	parked []*follower
	crowd  int

	open          bool // the subscription was confirmed: reads may begin
	running       bool // a goroutine is reading
	wanted, prove bool // another read is needed; the next read must prove the live position
}

// acquire returns the topic of k with one more reference, and makes the topic if need be. The caller releases it. The
// lock order is Watcher.mu, then topic.mu; the subscriber is called with neither, because its listeners take topic.mu.
func (w *Watcher) acquire(k key, f *follower) *topic {
	w.mu.Lock()
	t := w.topics[k]
	isNew := t == nil
	if isNew {
		t = &topic{w: w, key: k, signal: make(chan struct{}), followed: map[*follower]struct{}{}}
		if f.cursor && k.segment != "" {
			t.first = f.at
		}
		if s := w.log.Store(k.store); k.segment != "" {
			t.source = &segmentSource{s, k}
		} else {
			t.source = &spaceSource{s, k}
		}
		t.ctx, t.cancel = context.WithCancel(w.ctx)
		t.space = w.joinLocked(k, t)
		w.topics[k] = t
	}
	t.refs++
	t.mu.Lock()
	t.followers++
	t.mu.Unlock()
	w.mu.Unlock()
	if isNew {
		w.subscriber.add(k.channel(), t)
	}
	return t
}

// release gives up a reference. The last one ends the topic: its reads are cancelled, its channel is unsubscribed, and
// its bytes are released from the total of all windows.
func (t *topic) release(f *follower) {
	t.w.mu.Lock()
	t.refs--
	last := t.refs == 0
	if last {
		delete(t.w.topics, t.key)
		t.w.leaveLocked(t.space, t)
	}
	t.w.mu.Unlock()
	t.mu.Lock()
	t.followers--
	delete(t.followed, f)
	t.relax()
	t.mu.Unlock()
	if last {
		t.cancel()
		t.w.subscriber.remove(t.key.channel(), t)
		// A read in progress may still call push. It then finds under this lock that the context has ended, and leaves
		// the window empty. So the bytes are released exactly once.
		t.mu.Lock()
		t.restart(t.live)
		t.mu.Unlock()
	}
}

// confirmed lets the first read begin. After a reconnect the re-check finds what was missed.
func (t *topic) confirmed() {
	t.mu.Lock()
	t.open = true
	begun := t.epoch > 0
	t.mu.Unlock()
	if !begun {
		t.wake(false)
	}
}

// message uses a notice instead of a read where that is safe. Any other notice only says that something changed, and
// starts a read. For a space every notice starts a read: it does not prove its place in the timeline.
func (t *topic) message(payload string) {
	if t.key.segment == "" || !t.follow(payload) {
		t.wake(false)
	}
}

// follow reports whether no read is needed after the notice. It takes the entries of a notice only if they follow the
// live position directly, in the same incarnation and lineage. It takes none during a read: that read may be about to
// move the position or to begin a new epoch.
func (t *topic) follow(payload string) bool {
	n, err := hotlog.ParseSegmentNotice(payload)
	if err != nil || !n.Open {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch == 0 || t.running {
		return false
	}
	if p := t.live; n.Position.Incarnation == p.Incarnation && n.Position.Lineage == p.Lineage && n.Position.Sequence <= p.Sequence {
		return true // the topic has these entries already
	}
	if !n.Continues(t.live) {
		return false
	}
	entries, err := n.Entries(t.key.space, t.key.segment)
	if err != nil || len(entries) == 0 {
		return false
	}
	t.push(entries, entries[len(entries)-1].Position)
	return true
}

// rechecked handles the changes that a re-check has found; see [space.check].
func (t *topic) rechecked(c *changed, suspect bool) {
	if t.key.segment == "" || suspect || c.lost || c.names(t.key.segment) {
		t.wake(true)
	}
}

// takeMoved reports whether the live position moved since the last call.
func (t *topic) takeMoved() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	moved := t.moved
	t.moved = false
	return moved
}

// wake starts a read of the log, unless the subscription is not confirmed yet. At most one goroutine of a topic reads.
// A wake during a read causes one more read, so that a notice during a read is not lost. With prove the read compares
// the entry at the live position with the proof of that position.
func (t *topic) wake(prove bool) {
	t.mu.Lock()
	if !t.open {
		t.mu.Unlock()
		return
	}
	t.wanted = true
	t.prove = t.prove || prove
	start := !t.running
	t.running = true
	t.mu.Unlock()
	if start && !t.w.tasks.Go(t.run) {
		t.mu.Lock()
		t.running = false
		t.mu.Unlock()
	}
}

// run reads until no further read is requested.
func (t *topic) run() {
	var failing = pauses()
	for {
		t.mu.Lock()
		if !t.wanted || t.ctx.Err() != nil {
			t.running = false
			t.mu.Unlock()
			return
		}
		prove := t.prove
		t.wanted, t.prove = false, false
		t.mu.Unlock()
		if err := t.catchUp(prove); err != nil {
			// After an outage another primary may have less history, so the next read proves the position.
			t.mu.Lock()
			t.wanted, t.prove = true, true
			t.mu.Unlock()
			failing.Wait(t.ctx)
			continue
		}
		failing.Reset()
	}
}

// catchUp reads to the end of the log. An error means that Redis could not answer. Every other obstacle (trimmed, lost,
// deleted, damaged) begins a new epoch: each follower finds out by itself what it means for its own position.
func (t *topic) catchUp(prove bool) error {
	select {
	case t.w.topicReads <- struct{}{}:
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
	defer func() { <-t.w.topicReads }()
	// The end of the timeline is recorded before the read. So a later change is either in this read or found by a later
	// re-check.
	if err := t.space.base(t.ctx); err != nil {
		return err
	}
	for {
		t.mu.Lock()
		at, begun := t.live, t.epoch > 0
		t.mu.Unlock()
		if !begun {
			if t.resume() {
				return nil
			}
			return t.begin()
		}
		p, err := t.source.read(t.ctx, at, prove, nil)
		switch {
		case err == nil:
			t.take(&p)
			if !p.more {
				return nil
			}
			prove = false
		case passing(err), away(err):
			return err
		case isNotFound(err) && at.IsZero():
			return nil // the segment does not exist yet
		default:
			return t.begin()
		}
	}
}

// resume starts the first epoch at the cursor of the follower for which the topic was made. So one read serves both,
// which matters when thousands of followers resume at once, each in its own segment. It returns false after an error,
// or if there is more than one page to read: the epoch then begins at the end of the log.
func (t *topic) resume() bool {
	if t.first.IsZero() || t.w.conn.Ready(t.ctx) != nil {
		return false
	}
	seen := t.space.seen()
	p, err := t.source.read(t.ctx, t.first, true, nil)
	if err != nil || p.more || len(p.entries) == 0 && p.next != t.first {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return true // the topic was released: the window stays empty
	}
	t.restart(t.first)
	if len(p.entries) > 0 {
		t.w.buffered.Add(int64(t.window.add(p.entries)))
	}
	t.resumed, t.live, t.end = t.first, p.next, p.end
	t.epoch++
	// Entries older than seen can only be lost together with seen itself, which the re-check notices. So the next
	// re-check need not read the quiet segments of thousands of resumed followers again.
	t.moved = p.end != nil || p.written.UnixMilli() >= int64(seen.MS)
	t.advance()
	return true
}

// begin starts an epoch at the end of the log.
func (t *topic) begin() error {
	at, end, err := t.source.tail(t.ctx)
	if err != nil {
		if passing(err) {
			return err
		}
		at, end = streamhub.Position{}, nil // each follower finds the damage with its own read
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart(at)
	t.live, t.end = at, end
	t.epoch++
	t.moved = true
	t.advance()
	return nil
}

// take adds a page that was read at the live position. The position can also move without entries, over a close or over
// trimmed entries.
func (t *topic) take(p *entryPage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p.entries) > 0 && t.live.IsZero() && t.key.segment != "" && p.entries[0].Sequence != 1 {
		// The segment begins at another position: followers that wait for its start must read to notice that.
		t.restart(p.next)
		t.live, t.end = p.next, p.end
		t.moved = true
		t.advance()
		return
	}
	if len(p.entries) > 0 {
		t.end = p.end
		t.push(p.entries, p.next)
		return
	}
	if t.live != p.next || t.end == nil && p.end != nil {
		t.live, t.end = p.next, p.end
		t.moved = true
		t.advance()
	}
}

// push moves the live position over entries, and drops the oldest chunks beyond the limits of this window and of all
// windows. One chunk always stays, however large: the followers at the end need it. The lock is held.
func (t *topic) push(entries []streamhub.Entry, live streamhub.Position) {
	if t.ctx.Err() != nil {
		return // the topic was released: the window stays empty
	}
	bytes := t.window.add(entries)
	for total := t.w.buffered.Add(int64(bytes)); len(t.window.chunks) > 1 &&
		(t.window.bytes > t.w.opt.BufferBytes || total > int64(t.w.opt.TotalBufferBytes)); {
		total = t.w.buffered.Add(-int64(t.window.drop()))
	}
	if t.w.delivered != nil && !t.live.IsZero() {
		t.w.delivered(t.ctx, entries[0].Timestamp)
	}
	t.live = live
	t.moved = true
	t.advance()
}

// advance wakes the followers. The lock is held.
func (t *topic) advance() {
	close(t.signal)
	t.signal = make(chan struct{})
	t.waiting = 0
	t.stir()
}

// restart empties the window, which then begins at at, and releases its bytes from the total of all windows. The lock
// is held.
func (t *topic) restart(at streamhub.Position) {
	t.w.buffered.Add(-int64(t.window.restart(at)))
}

// relax empties the window once every follower has seen it. So a segment whose followers keep up costs
// no memory between appends. The lock is held.
func (t *topic) relax() {
	if t.waiting == t.followers && t.window.bytes > 0 {
		t.restart(t.live)
	}
}

// A view says what a follower does next, as the topic sees it.
type view struct {
	kind   viewKind
	page   *Page
	end    *streamhub.ClosedError
	signal <-chan struct{}
	epoch  int
	live   streamhub.Position // of the topic
}

type viewKind int

const (
	atEnd  viewKind = iota // wait for signal; counted in topic.waiting
	ahead                  // the follower has read further than the topic
	inside                 // the view has a page of entries
	atRest                 // atEnd, and parked: a walker serves the follower
	ended                  // after the last entry of a closed segment
	astray                 // outside the window: read the log
)

// look returns what a follower does next, from its position and the epoch in which it reached the end of the log. It never
// reads and never blocks, because every follower calls it after each append.
func (t *topic) look(f *follower) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lookLocked(f)
}

func (t *topic) lookLocked(f *follower) view {
	if !f.opened && t.epoch == 1 && f.cursor && f.at == t.resumed {
		f.opened, f.proved, f.epoch = true, t.epoch, t.epoch
	}
	p, epoch := f.at, f.epoch
	f.seen = p
	v := view{signal: t.signal, epoch: t.epoch, live: t.live}
	switch {
	case t.epoch == 0:
		v.kind = t.await(f)
	case epoch == t.epoch && p == t.live && t.end == nil: // the usual case, which needs no search
		v.kind = t.await(f)
		t.relax()
	case epoch != t.epoch || !t.window.holds(p):
		v.kind = astray
	default:
		if v.page = t.window.pageAfter(p); v.page != nil {
			v.kind = inside
			break
		}
		switch way := order(p, t.live); {
		case way > 0:
			v.kind = ahead
		case way == 0 && !same(p, t.live):
			v.kind = astray
		case t.end != nil:
			v.kind, v.end = ended, t.end
		default:
			v.kind = t.await(f)
			t.relax()
		}
	}
	return v
}

// await counts a follower as waiting, and parks it if possible. The lock is held.
func (t *topic) await(f *follower) viewKind {
	t.waiting++
	if t.park(f) {
		return atRest
	}
	return atEnd
}

// unwait undoes await for a follower that no longer waits for signal.
func (t *topic) unwait(signal <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.signal == signal {
		t.waiting--
	}
}

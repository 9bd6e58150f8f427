package follow

import (
	"context"
	"sync"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A topic is what all followers of one segment, or of one space, share: a live position and the
// window of entries before it.
//
// It decides nothing about how a follower ends, except for the verdict. When it cannot go on from
// its position it begins a new epoch at the end of the log. Each follower finds out by itself what
// that means for its own position.
type topic struct {
	w      *Watcher
	key    key
	source source
	space  *space
	ctx    context.Context
	cancel context.CancelFunc
	first  streamhub.Position // cursor of the follower that it was made for, zero for none
	refs   int                // guarded by Watcher.mu

	mu     sync.Mutex
	window window
	live   streamhub.Position
	end    *streamhub.ClosedError
	// epoch counts the times that the live position was taken from the end of the log; 0: not yet.
	epoch int
	moved bool // since the last re-check
	// resumed is where the first follower stood, if the first epoch began there: followers at that place
	// need no read of their own. It is zero before that, and where the epoch began at the end.
	resumed streamhub.Position
	// signal is closed when anything of the above changes.
	signal chan struct{}
	// waiting is how many followers have seen everything and wait for signal.
	waiting, followers int
	followed           map[*follower]struct{}
	// parked are those of the waiting ones that a walker serves; crowd is how many they last were.
	parked []*follower
	crowd  int

	open          bool // the subscription was confirmed: reads may begin
	running       bool // a goroutine reads
	wanted, prove bool // another read is needed; with a proof
}

// acquire returns the topic of k, made if there is none, with one more reference. The caller releases
// it. The lock order is Watcher.mu, then topic.mu; the subscriber is called with neither, because its
// listeners take topic.mu.
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

// release gives up a reference. The last one ends the topic: its reads are cancelled, its channel is
// left, and its share of the bytes that all windows may hold is given back.
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
		// A read that is under way may still want to push. It finds the context ended under this
		// lock and leaves the window empty, so the bytes are given back exactly once.
		t.mu.Lock()
		t.restart(t.live)
		t.mu.Unlock()
	}
}

// confirmed lets the first read begin. Those after a reconnect are named by the re-check.
func (t *topic) confirmed() {
	t.mu.Lock()
	t.open = true
	begun := t.epoch > 0
	t.mu.Unlock()
	if !begun {
		t.wake(false)
	}
}

// message takes a notice in place of a read where that is safe. Any other notice is only a hint that
// something changed, and has the log read. For a space every notice is a hint: its order is that of
// the timeline, which a notice does not prove.
func (t *topic) message(payload string) {
	if t.key.segment == "" || !t.follow(payload) {
		t.wake(false)
	}
}

// follow reports whether the notice says nothing that is still to be read. It takes the entries of a
// notice only if they are the very next ones of the same incarnation and lineage. No read may be under
// way either: a read may be about to move that position, or to begin a new
// epoch, and would then meet entries that it does not expect.
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
		return true // old news
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

// rechecked is told by the re-check which segments changed; see [space.check].
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

// wake has the log read, unless that is still to begin. At most one goroutine of a topic reads. A wake
// during a read has it read once more, so a notice that arrives in the middle of a read is not lost.
// With prove, the read compares the entry at the live position with what was seen there.
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

// run reads until nothing more is wanted.
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
			// Redis may come back as another primary with less history, so the next read proves.
			t.mu.Lock()
			t.wanted, t.prove = true, true
			t.mu.Unlock()
			failing.Wait(t.ctx)
			continue
		}
		failing.Reset()
	}
}

// catchUp reads to the end of the log. Its error says that Redis could not answer. Every other
// obstacle (trimmed, lost, deleted, damaged) begins a new epoch: what it means is for each follower to
// find out, because followers stand at different places.
func (t *topic) catchUp(prove bool) error {
	select {
	case t.w.topicReads <- struct{}{}:
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
	defer func() { <-t.w.topicReads }()
	// The place in the timeline is noted before the read. A change after it is then either in this
	// read or named by a later re-check.
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
			return nil // it does not exist yet
		default:
			return t.begin()
		}
	}
}

// resume starts the first epoch with what lies after the cursor of the follower that the topic was made
// for. One read then does for both, where thousands come back at once, each to a segment of its own. It
// reports false if there is more to read, or an error to tell: the epoch then begins at the end.
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
		return true // released: the window stays empty
	}
	t.restart(t.first)
	if len(p.entries) > 0 {
		t.w.buffered.Add(int64(t.window.add(p.entries)))
	}
	t.resumed, t.live, t.end = t.first, p.next, p.end
	t.epoch++
	// What is older than a place in the timeline is lost only together with that place, which the re-check
	// looks for. So thousands that come back to quiet segments are not read again by the next one.
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
		at, end = streamhub.Position{}, nil // followers see for themselves what is wrong
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

// take adds what was read at the live position. The position can move without entries, where only a
// close or entries that were trimmed lie between.
func (t *topic) take(p *entryPage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p.entries) > 0 && t.live.IsZero() && t.key.segment != "" && p.entries[0].Sequence != 1 {
		// The segment begins somewhere else: who waits for its start has to see that for itself.
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

// push moves the live position over entries, and drops the oldest chunks beyond the limits of this
// window and of all windows. One chunk always stays, however large: followers at the end must get it.
// The lock is held.
func (t *topic) push(entries []streamhub.Entry, live streamhub.Position) {
	if t.ctx.Err() != nil {
		return // released: the window stays empty
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

// advance tells the followers. The lock is held.
func (t *topic) advance() {
	close(t.signal)
	t.signal = make(chan struct{})
	t.waiting = 0
	t.stir()
}

// restart empties the window, which then begins at a position, and gives back its share of the bytes that all
// windows may hold. The lock is held.
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

// A view is what a topic has for a follower.
type view struct {
	kind   viewKind
	page   *Page
	end    *streamhub.ClosedError
	signal <-chan struct{}
	epoch  int
}

type viewKind int

const (
	atEnd  viewKind = iota // wait for signal; counted in topic.waiting
	ahead                  // the follower knows more than the topic
	inside                 // take entries
	atRest                 // atEnd, and parked: a walker goes on
	ended                  // after the last entry there will be
	astray                 // read
)

// look says what a follower does next that is at p and proved its position in an epoch. It never
// reads and never blocks, because every follower asks it after each append.
func (t *topic) look(f *follower) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lookLocked(f)
}

func (t *topic) lookLocked(f *follower) view {
	if !f.opened && t.epoch == 1 && f.cursor && f.at == t.resumed {
		f.opened, f.epoch = true, t.epoch
	}
	p, epoch := f.at, f.epoch
	f.seen = p
	v := view{signal: t.signal, epoch: t.epoch}
	switch {
	case t.epoch == 0:
		v.kind = t.await(f)
	case epoch == t.epoch && p == t.live && t.end == nil: // most often, and no search is needed
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

// await counts a follower that has seen everything. The lock is held.
func (t *topic) await(f *follower) viewKind {
	t.waiting++
	if t.park(f) {
		return atRest
	}
	return atEnd
}

// unwait takes back that a follower waits for a signal.
func (t *topic) unwait(signal <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.signal == signal {
		t.waiting--
	}
}

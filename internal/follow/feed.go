package follow

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sort"
	"sync"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A feed is what all status subscriptions to one segment, or to one space, share: the last status
// of each segment, and in which order they changed. It reads the status of what a notification
// names; what changes several times meanwhile is read once.
type feed struct {
	w      *Watcher
	key    key
	store  *hotlog.Store
	space  *space
	ctx    context.Context
	cancel context.CancelFunc
	refs   int // guarded by Watcher.mu

	// mu guards the fields below. It is never held during a read of Redis.
	mu sync.Mutex
	// asked counts those who want everything to be read, served the ones for whom it was.
	asked, served uint64

	items   map[string]item
	changes []update // by version
	enough  int      // changes before they are compacted again
	version uint64
	// readers are those that have begun; compact asks what each has seen.
	readers map[*feedReader]struct{}
	signal  chan struct{} // closed at the next change

	open    bool // the subscription was confirmed: reads may begin
	running bool
	all     bool // everything is to be read
	dirty   map[string]struct{}
	// moved are those that changed since the last re-check began, suspects those before it.
	moved, suspects map[string]struct{}
}

// An item is the last status of a segment; one that was deleted stays until every reader has seen
// it.
type item struct {
	status  *streamhub.Status // never changed
	version uint64
}

// An update names what got a version. It is void if the item has a later one.
type update struct {
	version uint64
	segment string
}

// statusPage is how many statuses are read together.
const statusPage = 256

// acquireFeed returns the feed of k with one more reference, and makes it if there is none; see
// [Watcher.acquire].
func (w *Watcher) acquireFeed(k key) *feed {
	w.mu.Lock()
	f := w.feeds[k]
	isNew := f == nil
	if isNew {
		f = &feed{
			w: w, key: k, store: w.log.Store(k.store), signal: make(chan struct{}),
			items: map[string]item{}, readers: map[*feedReader]struct{}{}, dirty: map[string]struct{}{},
			moved: map[string]struct{}{}, suspects: map[string]struct{}{},
		}
		f.ctx, f.cancel = context.WithCancel(w.ctx)
		f.space = w.joinLocked(k, f)
		w.feeds[k] = f
	}
	f.refs++
	w.mu.Unlock()
	if isNew {
		w.subscriber.add(k.channel(), f)
	}
	return f
}

// release gives a reference back. The last one ends the feed. The subscriber is told without Watcher.mu.
func (f *feed) release() {
	f.w.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last {
		delete(f.w.feeds, f.key)
		f.w.leaveLocked(f.space, f)
	}
	f.w.mu.Unlock()
	if last {
		f.cancel()
		f.w.subscriber.remove(f.key.channel(), f)
	}
}

// confirmed has everything read once. What a later reconnect may have missed is named by the re-check,
// which the subscriber asks for when all channels are back.
func (f *feed) confirmed() {
	f.mu.Lock()
	first := !f.open
	f.open = true
	f.mu.Unlock()
	if first {
		f.wake(true)
	}
}

// message has the named segments read. Their status is never taken from the notice: an older notice may
// come after a newer read.
func (f *feed) message(payload string) {
	if f.key.segment != "" {
		f.wake(false, f.key.segment)
		return
	}
	n, err := hotlog.ParseSpaceNotice(payload)
	names := make([]string, 0, len(n.Changes))
	for i := range n.Changes {
		names = append(names, n.Changes[i].Segment)
	}
	f.wake(err != nil, names...)
}

// rechecked has read again what the timeline names. If the feed itself moved since the last check, so
// are the segments that moved: what was read of them may belong to a history that is lost.
func (f *feed) rechecked(c *changed, suspect bool) {
	var names []string
	for name := range c.segments {
		if f.key.segment == "" || f.key.segment == name {
			names = append(names, name)
		}
	}
	f.mu.Lock()
	if suspect {
		names = slices.AppendSeq(names, maps.Keys(f.suspects))
		clear(f.suspects)
	}
	f.mu.Unlock()
	if c.lost || len(names) > 0 {
		f.wake(c.lost, names...)
	}
}

// takeMoved reports whether the feed has changed since the last re-check began. What moved becomes
// suspect: it may have been read from a history that is lost by now.
func (f *feed) takeMoved() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := len(f.moved) > 0
	maps.Copy(f.suspects, f.moved)
	clear(f.moved)
	return moved
}

// wake has the named segments read, or all. Before the subscription is confirmed nothing is read:
// what changes between the read and the confirmation would be missed.
func (f *feed) wake(all bool, names ...string) {
	f.mu.Lock()
	if !f.open {
		f.mu.Unlock()
		return
	}
	f.all = f.all || all
	for _, name := range names {
		f.dirty[name] = struct{}{}
	}
	start := !f.running
	f.running = true
	f.mu.Unlock()
	if start && !f.w.tasks.Go(f.run) {
		f.mu.Lock()
		f.running = false
		f.mu.Unlock()
	}
}

// run reads until nothing more is wanted, one read at a time. What becomes dirty during a read is
// read in the next one. After an error everything that was wanted is wanted again.
func (f *feed) run() {
	var failing = pauses()
	for {
		f.mu.Lock()
		all, dirty, asked := f.all, f.dirty, f.asked
		if f.ctx.Err() != nil || !f.all && len(dirty) == 0 {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.all, f.dirty = false, map[string]struct{}{}
		f.mu.Unlock()
		if err := f.read(all, dirty); err != nil {
			f.wake(all) // it is running, so this only notes what is left to do
			f.mu.Lock()
			for name := range dirty {
				f.dirty[name] = struct{}{}
			}
			f.mu.Unlock()
			failing.Wait(f.ctx)
			continue
		}
		failing.Reset()
		if all {
			// Only those that asked before this read began have their answer.
			f.mu.Lock()
			f.served = asked
			f.advance()
			f.mu.Unlock()
		}
	}
}

// read reads what is wanted. topicReads bounds how many reads of the process are under way at once.
// An error says that Redis could not answer, and that the read is to be repeated.
func (f *feed) read(all bool, dirty map[string]struct{}) error {
	select {
	case f.w.topicReads <- struct{}{}:
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	defer func() { <-f.w.topicReads }()
	if err := f.space.base(f.ctx); err != nil {
		return err
	}
	if all && f.key.segment == "" {
		return f.readAll()
	}
	if all {
		return f.readOne(f.key.segment)
	}
	for name := range dirty {
		if err := f.readOne(name); err != nil {
			return err
		}
	}
	return nil
}

// readOne reads the status of one segment. An error that does not pass is logged, so that one broken
// segment does not hold up the others.
func (f *feed) readOne(name string) error {
	status, err := f.store.Status(f.ctx, f.key.space, name)
	switch {
	case err == nil:
		f.set(&status)
	case isNotFound(err):
		f.remove(name)
	case passing(err):
		return err
	default:
		f.w.opt.Logger.Error("a status cannot be read", "space", f.key.space, "segment", name, "error", err)
	}
	return nil
}

// readAll reads the status of every segment, page by page. A segment that the feed knows and that was
// not listed is read by itself before it counts as deleted.
func (f *feed) readAll() error {
	found := map[string]struct{}{}
	for after := ""; ; {
		page, err := f.store.Statuses(f.ctx, f.key.space, after, statusPage)
		if err != nil {
			if passing(err) {
				return err
			}
			f.w.opt.Logger.Error("the segments of a space cannot be read", "space", f.key.space, "error", err)
			return nil
		}
		if len(page) == 0 {
			break
		}
		for i := range page {
			f.set(&page[i])
			found[page[i].Segment] = struct{}{}
		}
		after = page[len(page)-1].Segment
	}
	f.mu.Lock()
	var missing []string
	for name, it := range f.items {
		if _, ok := found[name]; !ok && it.status.State != streamhub.StateDeleted {
			missing = append(missing, name)
		}
	}
	f.mu.Unlock()
	for _, name := range missing { // unless it was created a moment ago
		if err := f.readOne(name); err != nil {
			return err
		}
	}
	return nil
}

// set takes a status that was read. An equal one is no change, so a re-check of a quiet space wakes no
// reader.
func (f *feed) set(status *streamhub.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if it, ok := f.items[status.Segment]; ok && reflect.DeepEqual(it.status, status) {
		return
	}
	f.put(status)
}

// remove notes that a segment is gone. Readers get its last status once more, as deleted.
func (f *feed) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it, ok := f.items[name]
	if !ok || it.status.State == streamhub.StateDeleted {
		return
	}
	status := *it.status
	status.State = streamhub.StateDeleted
	f.put(&status)
}

// put is called with the lock held.
func (f *feed) put(status *streamhub.Status) {
	f.version++
	f.items[status.Segment] = item{status, f.version}
	f.changes = append(f.changes, update{f.version, status.Segment})
	f.moved[status.Segment] = struct{}{}
	if len(f.changes) > f.enough {
		f.compact()
		f.enough = 2*len(f.changes) + 64
	}
	f.advance()
}

// compact drops what no reader will ask for: changes with a later one of the same segment, and deleted
// segments that every reader has seen. So memory grows with the segments that exist, not with the
// number of changes.
func (f *feed) compact() {
	seen := f.version
	for r := range f.readers {
		seen = min(seen, r.seen)
	}
	f.changes = slices.DeleteFunc(f.changes, func(u update) bool {
		it := f.items[u.segment]
		if it.version == u.version && u.version <= seen && it.status.State == streamhub.StateDeleted {
			delete(f.items, u.segment)
			return true
		}
		return it.version != u.version
	})
}

// advance wakes the readers. The lock is held.
func (f *feed) advance() {
	close(f.signal)
	f.signal = make(chan struct{})
}

// A feedReader is one subscription. It keeps the version that it has seen and no queue: a slow reader
// gets the last status of each segment, however often it changed meanwhile.
type feedReader struct {
	feed *feed
	seen uint64 // version
}

// begin has everything read, so that what was done before is seen, and returns it in byte order.
func (r *feedReader) begin(ctx context.Context) ([]*streamhub.Status, error) {
	f := r.feed
	f.mu.Lock()
	f.asked++
	ticket := f.asked
	f.mu.Unlock()
	f.wake(true)
	for {
		f.mu.Lock()
		if f.served >= ticket {
			break
		}
		signal := f.signal
		f.mu.Unlock()
		select {
		case <-signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer f.mu.Unlock()
	var all []*streamhub.Status
	for _, it := range f.items {
		if it.status.State != streamhub.StateDeleted {
			all = append(all, it.status)
		}
	}
	slices.SortFunc(all, func(a, b *streamhub.Status) int {
		switch {
		case a.Segment < b.Segment:
			return -1
		case a.Segment > b.Segment:
			return 1
		}
		return 0
	})
	r.seen = f.version
	f.readers[r] = struct{}{}
	return all, nil
}

func (r *feedReader) end() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	delete(r.feed.readers, r)
}

// next waits for the oldest change that was not seen and is not outdated.
func (r *feedReader) next(ctx context.Context) (*streamhub.Status, error) {
	f := r.feed
	for {
		f.mu.Lock()
		i := sort.Search(len(f.changes), func(i int) bool { return f.changes[i].version > r.seen })
		for ; i < len(f.changes); i++ {
			c := f.changes[i]
			r.seen = c.version
			if it := f.items[c.segment]; it.version == c.version {
				f.mu.Unlock()
				return it.status, nil
			}
		}
		signal := f.signal
		f.mu.Unlock()
		select {
		case <-signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

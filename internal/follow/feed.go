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

// A feed is shared by all status subscriptions to one segment or one space. It has the last status of each segment, and
// the order of the changes. It reads the status of a segment that a notification names; several changes during a read
// cause only one more read.
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
	// asked counts the requests to read everything; served is how many of them a read has covered.
	asked, served uint64

	items   map[string]item
	changes []update // by version
	enough  int      // the number of changes at which compact runs again
	version uint64
	// readers has the readers that have begun; compact needs the version that each has seen.
	readers map[*feedReader]struct{}
	signal  chan struct{} // closed at the next change

	open    bool // the subscription was confirmed: reads may begin
	running bool
	all     bool // everything is to be read
	dirty   map[string]struct{}
	// moved has the segments that changed since the last re-check began; suspects has those that changed before it.
	moved, suspects map[string]struct{}
}

// An item is the last status of a segment; one that was deleted stays until every reader has seen
// it.
type item struct {
	status  *streamhub.Status // immutable
	version uint64
}

// An update names the segment that got a version. It is void if the segment has a later version.
type update struct {
	version uint64
	segment string
}

// statusPage is how many statuses are read together.
const statusPage = 256

// acquireFeed returns the feed of k with one more reference, and makes the feed if need be; see [Watcher.acquire].
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

// release drops a reference. The last one ends the feed. The subscriber is called without holding Watcher.mu.
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

// confirmed starts the first read of everything. After a later reconnect a re-check finds missed changes; the
// subscriber requests it when all channels are back.
func (f *feed) confirmed() {
	f.mu.Lock()
	first := !f.open
	f.open = true
	f.mu.Unlock()
	if first {
		f.wake(true)
	}
}

// message starts a read of the named segments. It never takes their status from the notice: an older notice may come
// after a newer read.
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

// rechecked starts a read of the segments that the timeline names. With suspect it also reads the segments that moved
// before: their statuses may belong to a lost history.
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

// takeMoved reports whether the feed has changed since the last re-check began. The segments that moved become
// suspects: they may have been read from a history that is lost by now.
func (f *feed) takeMoved() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := len(f.moved) > 0
	maps.Copy(f.suspects, f.moved)
	clear(f.moved)
	return moved
}

// wake starts a read of the named segments, or of all. Nothing is read before the subscription is confirmed: a change
// between the read and the confirmation would be missed.
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

// run reads until no read is requested, one read at a time. Segments that become dirty during a read are read by the
// next one. After an error the same read is requested again.
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
			f.wake(all) // run is active, so wake only records the request
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
			// This read answers only requests from before its beginning.
			f.mu.Lock()
			f.served = asked
			f.advance()
			f.mu.Unlock()
		}
	}
}

// read reads the statuses of everything, or of the dirty segments. topicReads bounds the concurrent reads of the
// process. An error means that Redis could not answer, and that the read must be repeated.
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

// readOne reads the status of one segment. A permanent error is only logged, so that one damaged segment does not hold
// up the others.
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

// set records a status that was read. An equal status is no change, so a re-check of a quiet space wakes no reader.
func (f *feed) set(status *streamhub.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if it, ok := f.items[status.Segment]; ok && reflect.DeepEqual(it.status, status) {
		return
	}
	f.put(status)
}

// remove records that a segment is gone. Readers get its last status once more, as deleted.
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

// put stores a status under a new version. The lock is held.
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

// begin waits for a read of everything that starts after the call, and returns the statuses in byte order.
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

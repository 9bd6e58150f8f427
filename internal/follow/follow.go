package follow

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// FollowSegment replays a segment of s and then follows it live, without a gap, a duplicate or a change of order.
// Without options it begins with the first entry that is kept. It waits for a segment that does not exist yet, unless
// there is a cursor. The package comment says how a follower ends.
//
// The sequence runs in the caller's goroutine: while the caller handles an entry, only the page of that entry is
// buffered for it. The sequence can be ranged over again, and then begins at the same position as before.
func (w *Watcher) FollowSegment(ctx context.Context, s *hotlog.Store, space, segment string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return entries(ctx, w.FollowSegmentPages(ctx, s, space, segment, o, nil))
}

// FollowSegmentPages is like FollowSegment, but yields pages: each holds all entries that are available. Followers at
// the same position get the same page. If offer is not nil, some pages are passed to it instead.
func (w *Watcher) FollowSegmentPages(ctx context.Context, s *hotlog.Store, space, segment string, o *streamhub.FollowOptions, offer Offer) iter.Seq2[*Page, error] {
	return w.pages(ctx, key{s.ID(), space, segment}, true, o, offer)
}

// FollowSpace is FollowSegment over all segments of a space, in the order in which Redis took their entries. It
// includes segments that are created later, and continues when segments are closed or deleted. So it ends only with its
// context, the watcher, or an error.
func (w *Watcher) FollowSpace(ctx context.Context, s *hotlog.Store, space string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return entries(ctx, w.FollowSpacePages(ctx, s, space, o, nil))
}

// FollowSpacePages is like FollowSpace, but yields pages; see [Watcher.FollowSegmentPages].
func (w *Watcher) FollowSpacePages(ctx context.Context, s *hotlog.Store, space string, o *streamhub.FollowOptions, offer Offer) iter.Seq2[*Page, error] {
	return w.pages(ctx, key{s.ID(), space, ""}, false, o, offer)
}

// entries yields the entries of pages. When ctx ends, the rest of the page is dropped.
func entries(ctx context.Context, pages iter.Seq2[*Page, error]) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		for p, err := range pages {
			if err != nil {
				yield(streamhub.Entry{}, err)
				return
			}
			for i := range p.Entries {
				if ctx.Err() != nil {
					break // the sequence of pages ends too
				}
				if !yield(p.Entries[i], nil) {
					return
				}
			}
		}
	}
}

// pages names the operation and the segment in an error that ends the sequence.
func (w *Watcher) pages(ctx context.Context, k key, segment bool, o *streamhub.FollowOptions, offer Offer) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		if err := w.follow(ctx, k, segment, o, offer, yield); err != nil {
			yield(nil, k.fail("follow", err))
		}
	}
}

// follow is one pass over the sequence. It holds a reference to the topic while it runs, so that a topic exists exactly
// as long as it has a follower.
func (w *Watcher) follow(outer context.Context, k key, segment bool, o *streamhub.FollowOptions, offer Offer, yield func(*Page, error) bool) error {
	f := &follower{w: w, yield: yield, offer: offer}
	if err := k.check(segment); err != nil {
		return err
	}
	if err := f.begin(o, segment); err != nil {
		return err
	}
	if !segment && !f.cursor {
		f.start = new(hotlog.SpaceStart)
	}
	ctx, done := w.scope(outer)
	defer done()
	if ctx.Err() != nil {
		return w.ended(outer)
	}
	if offer != nil {
		w.walkers.begin(w)
		f.ctx, f.wake = ctx, make(chan struct{}, 1)
	}
	// The subscription is requested before the first read. So entries that are appended after the read are announced,
	// and the topic's own first read finds the entries in between.
	f.t = w.acquire(k, f)
	f.t.admit(f)
	defer f.t.release(f)
	err := f.run(ctx)
	if ctx.Err() != nil && err != nil {
		return w.ended(outer)
	}
	return err
}

// A follower is the position of one caller in a topic. It belongs to one goroutine and has no lock; a parked follower
// belongs to a walker instead, see [topic.park].
//
// It trusts the window of the topic only for the epoch in which it has read to the end of the log itself: what the window
// had before may have been removed. In another epoch, or outside of the window, it reads the log, with a proof of its
// position. So a topic that skipped entries can delay a follower, but never makes it skip any.
type follower struct {
	w     *Watcher
	t     *topic
	yield func(*Page, error) bool

	at     streamhub.Position // after the last entry that was delivered
	seen   streamhub.Position // copy of at from the last look; guarded by topic.mu
	proved int                // epoch of the topic in which at was last proved
	epoch  int                // epoch of the topic in which the end of the log was reached
	cursor bool               // at is from a cursor of the caller
	start  *hotlog.SpaceStart // for a follower of a space without a cursor, else nil
	first  uint64             // sequence to begin with, 0 if not requested
	live   bool               // begin at the end
	limit  uint64             // entries still wanted, if there is a limit
	limits bool
	opened bool // the first read has succeeded
	failed pause.Backoff

	// Of a follower with an offer, which is nil otherwise; see walk.go.
	offer   Offer
	ctx     context.Context
	wake    chan struct{} // tells the follower's own goroutine to continue
	footing footing       // this field and the following ones are guarded by topic.mu
	place   int           // in topic.parked
	leaving bool          // ctx has ended
}

// begin checks the options and sets the start position from them.
func (f *follower) begin(o *streamhub.FollowOptions, segment bool) (err error) {
	if o == nil {
		return nil
	}
	if o.Cursor != "" && (o.FromSequence != 0 || o.Live) || o.FromSequence != 0 && o.Live {
		return fmt.Errorf("%w: Cursor, FromSequence and Live exclude each other", streamhub.ErrInvalidArgument)
	}
	if o.FromSequence != 0 && !segment {
		return fmt.Errorf("%w: FromSequence is for a segment, a space is resumed with a cursor", streamhub.ErrInvalidArgument)
	}
	if f.at, err = o.Cursor.Position(); err != nil {
		return err
	}
	if f.cursor = !f.at.IsZero(); f.cursor && f.at.Timeline.IsZero() != segment {
		return fmt.Errorf("%w: a segment is resumed with a cursor of a segment, and a space with a cursor of a space", streamhub.ErrInvalidCursor)
	}
	f.first, f.live = o.FromSequence, o.Live
	f.limit, f.limits = o.Limit, o.Limit != 0
	return nil
}

// run alternates between the window and the log until the follower ends. It returns nil when the caller has left the
// loop.
//
// stuck prevents a busy loop: a read of the log without entries or progress is not repeated until the topic has changed
// or the re-check interval has passed.
func (f *follower) run(ctx context.Context) error {
	stuck := false // the last read made no progress
	for {
		v := f.t.look(f)
		switch v.kind {
		case ended:
			return v.end
		case inside:
			stuck = false
			if goOn, err := f.deliver(ctx, v.page); err != nil || !goOn {
				return err
			}
		case atEnd:
			stuck = false
			if err := f.wait(ctx, v.signal); err != nil {
				return err
			}
		case atRest:
			stuck = false
			if err := f.rest(); err != nil {
				return err
			}
		case ahead, astray:
			// ahead: this follower has read the log up to an entry that the topic has not seen yet.
			if v.kind == ahead || stuck {
				stuck = false
				if err := f.differ(ctx, &v); err != nil {
					return err
				}
				break
			}
			r, err := f.read(ctx, &v)
			if err != nil {
				return err
			}
			if goOn, err := f.deliver(ctx, &r.Page); err != nil || !goOn {
				return err
			}
			if r.end != nil {
				return r.end // after the page, because the entries before the end come first
			}
			if !r.next.IsZero() {
				f.at = r.next
			}
			stuck = !r.moved
		}
	}
}

// wait waits until the topic has changed, or ctx ends.
func (f *follower) wait(ctx context.Context, signal <-chan struct{}) error {
	select {
	case <-signal:
		return nil
	case <-ctx.Done():
		f.t.unwait(signal) // otherwise the window would be kept for a follower that is gone
		return ctx.Err()
	}
}

// differ waits for the topic to reach the position of this follower. If it does not, the follower may have seen entries
// that are lost, and must read again.
func (f *follower) differ(ctx context.Context, v *view) error {
	f.t.wake(true)
	timer := time.NewTimer(f.w.opt.Recheck)
	defer timer.Stop()
	select {
	case <-v.signal:
		return nil
	case <-timer.C:
		f.proved, f.epoch = 0, 0
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliver yields a page, up to the limit of the follower. The position moves only after yield has returned. Entries of
// a segment before the wanted first sequence move it without being passed on.
func (f *follower) deliver(ctx context.Context, p *Page) (goOn bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	skip := 0
	for skip < len(p.Entries) && p.Entries[skip].Sequence < f.first && p.Entries[skip].Position.Timeline.IsZero() {
		f.at = p.Entries[skip].Position
		skip++
	}
	end := len(p.Entries)
	if f.limits {
		end = min(end, skip+int(min(f.limit, maxPage)))
	}
	if p = p.part(skip, end); len(p.Entries) == 0 {
		return true, nil
	}
	if !f.yield(p, nil) {
		return false, nil
	}
	f.at = p.Entries[len(p.Entries)-1].Position
	f.limit -= uint64(len(p.Entries))
	return !f.limits || f.limit > 0, nil
}

// A reading is the result of a read of the log, to be delivered.
type reading struct {
	Page
	next  streamhub.Position     // where to continue if the page is empty or ends before that position
	moved bool                   // the position has changed, or time has passed
	whole bool                   // next is the end of the log
	end   *streamhub.ClosedError // after the page
}

// read continues from the log. The first read of a follower reports every error except a temporary one. A later read
// waits for the end of an outage, because an outage must not end a follower (see the package comment). A segment that
// does not exist yet is waited for. If the position says that it existed, it was deleted or lost, and read reports
// that.
func (f *follower) read(ctx context.Context, v *view) (*reading, error) {
	var r *reading
	var err error
	if !f.opened {
		err = f.w.conn.Ready(ctx) // reports an unfit server or user as an error, instead of waiting
	}
	if err == nil {
		r, err = f.step(ctx, !f.opened || f.proved != v.epoch)
	}
	switch {
	case err == nil:
		f.stand(v, r.whole, r.next)
		f.failed.Reset()
		return r, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case passing(err), f.opened && away(err):
		f.failed.Wait(ctx)
		return &reading{moved: true}, nil
	case isNotFound(err) && f.at.IsZero():
		// The segment does not exist yet, so every later entry is new, even for a live follower.
		f.live = false
		f.stand(v, true, f.at)
		return &reading{}, nil
	}
	return nil, err
}

// stand notes that a read has succeeded, and whether it was to the end of the log. If the log ends before the position
// that the topic had when the read began, the topic has entries that are lost and has not noticed yet.
func (f *follower) stand(v *view, whole bool, end streamhub.Position) {
	f.opened, f.proved = true, v.epoch
	switch {
	case whole && order(end, v.live) < 0:
		f.proved, f.epoch = 0, 0
		f.t.wake(true)
	case whole:
		f.epoch = v.epoch
	}
}

// step makes one read: of the end for Live, of a first sequence, or of the page after the position.
func (f *follower) step(ctx context.Context, prove bool) (*reading, error) {
	var r reading
	var err error
	read := func() {
		var p entryPage
		p, err = f.t.source.read(ctx, f.at, prove, f.start)
		r.Entries, r.next, r.end = p.entries, p.next, p.end
		r.moved, r.whole = p.next != f.at, !p.more
	}
	switch {
	case f.live:
		read = func() {
			r.moved, r.whole = true, true
			r.next, r.end, err = f.t.source.tail(ctx)
		}
	case f.first > 0 && f.at.IsZero():
		read = func() {
			r.moved = true
			err = f.seek(ctx, &r)
		}
	}
	if failed := f.apart(ctx, read); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	f.live = false
	return &r, nil
}

// seek reads from the sequence that the caller named.
func (f *follower) seek(ctx context.Context, r *reading) error {
	at, _, err := f.t.source.tail(ctx)
	if err != nil {
		return err
	}
	if f.first > at.Sequence {
		r.next = at
		return nil
	}
	s := f.t.space.store
	for e, err := range s.ConsumeSegment(ctx, f.t.key.space, f.t.key.segment, &streamhub.ReadOptions{FromSequence: f.first, Limit: 1}) {
		if err != nil {
			return err
		}
		r.Entries = append(r.Entries, e)
	}
	return nil // and the position is known
}

// apart runs a read in its own goroutine, and waits for it. A read needs a deep stack, which the goroutine of a
// follower would keep while it is idle for days. At most maxReads run at once.
func (f *follower) apart(ctx context.Context, read func()) error {
	select {
	case f.w.ownReads <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-f.w.ownReads }()
	done := make(chan struct{})
	if !f.w.tasks.Go(func() { defer close(done); read() }) {
		return streamhub.ErrShutdown
	}
	<-done
	return nil
}

package livestream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/live"
)

// clockSlack is how long before the start of the earliest generation the read of the timeline begins.
const clockSlack = time.Second

// Follow implements [live.Streams].
func (s *Streams) Follow(ctx context.Context, ids []string, o *live.FollowOptions) iter.Seq2[live.Update, error] {
	if o == nil {
		o = &live.FollowOptions{}
	}
	return func(yield func(live.Update, error) bool) {
		f := &following{
			Streams: s, o: o, yield: yield, ids: map[string]bool{}, open: map[string]bool{}, known: map[generation]*followed{}, cursor: o.Cursor,
			entries: make(chan streamhub.Entry), begun: make(chan *Stream), ended: make(chan conclusion),
		}
		if err := f.run(ctx, ids); err != nil && !errors.Is(err, errEnough) {
			yield(live.Update{Cursor: f.cursor}, s.fail("follow", "", err))
		}
	}
}

// errEnough says that the caller has left the loop.
var errEnough = errors.New("the caller has enough")

// A following is one call of Follow. It belongs to the goroutine of its caller; other goroutines pass it entries and
// ends through channels.
//
// Chunks come from the timeline of the space, in one read for all streams, so one cursor resumes all of them. A verdict
// is not an entry that a reader of a space gets: a goroutine for each generation waits for it, and it is yielded after
// the last chunk.
type following struct {
	*Streams
	o     *live.FollowOptions
	yield func(live.Update, error) bool

	ids    map[string]bool // immutable
	open   map[string]bool // ids that may still yield updates
	known  map[generation]*followed
	cursor streamhub.Cursor

	tasks sync.WaitGroup
	// The goroutines send on these channels; all of them end when the context of the call ends.
	entries chan streamhub.Entry
	failed  error // why entries was closed; written before the close
	begun   chan *Stream
	ended   chan conclusion
}

// A followed is one generation that this call follows. Its end is yielded after its last chunk; see
// [following.giveEnd].
type followed struct {
	*Stream
	given   uint64 // sequence of the last chunk that was yielded, or read before the cursor
	end     *conclusion
	over    bool // its end was yielded
	release func()
}

// A conclusion is how a generation ended: with a verdict after sequence last, or with an error if it
// cannot be read any more.
type conclusion struct {
	generation
	last    uint64
	verdict *streamhub.Verdict
	err     error
}

// run yields stored updates, then new ones, until every id has ended. It waits for its goroutines before it returns.
func (f *following) run(ctx context.Context, ids []string) error {
	if err := f.check(ids); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		f.tasks.Wait()
		for _, g := range f.known {
			g.release()
		}
	}()
	// Read before the streams are looked up, so that no chunk of a stream that begins now is missed.
	end, err := f.log.SpaceEnd(ctx, f.space)
	if err != nil {
		return err
	}
	from, err := f.begin(ctx, ids)
	if err != nil {
		return err
	}
	if err := f.replay(ctx, from, end.Cursor()); err != nil {
		return err
	}
	for len(f.open) > 0 {
		select {
		case e, ok := <-f.entries:
			if !ok {
				return f.failed
			}
			err = f.entry(ctx, &e)
		case s := <-f.begun:
			f.meet(ctx, s)
		case end := <-f.ended:
			err = f.finish(ctx, &end)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check refuses invalid ids and cursors, without asking Redis.
func (f *following) check(ids []string) error {
	if len(ids) == 0 || len(ids) > live.MaxFollowed {
		return fmt.Errorf("%w: %d ids, want 1 to %d", streamhub.ErrInvalidArgument, len(ids), live.MaxFollowed)
	}
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return err
		}
		f.ids[id], f.open[id] = true, true
	}
	at, err := f.o.Cursor.Position()
	if err == nil && !at.IsZero() && at.Timeline.IsZero() {
		err = fmt.Errorf("%w: this is the cursor of one stream, and several are resumed with the cursor of an update", streamhub.ErrInvalidCursor)
	}
	return err
}

// begin finds the generations of the streams. It returns the time of the earliest one, or the zero Time if there are
// none. It starts a wait for each stream that has not begun.
func (f *following) begin(ctx context.Context, ids []string) (from time.Time, err error) {
	earliest := func(at time.Time) {
		if from.IsZero() || at.Before(from) {
			from = at
		}
	}
	for _, id := range ids {
		d, err := f.describe(ctx, id)
		switch {
		case errors.Is(err, streamhub.ErrNotFound):
			f.await(ctx, id)
		case err != nil:
			return from, err
		default:
			earliest(millis.Time(d.startedAt))
			f.meet(ctx, f.at(id, d.generation))
		}
		if !f.o.Generations || f.o.Cursor != "" {
			continue
		}
		if err := f.kept(ctx, id, earliest); err != nil {
			return from, err
		}
	}
	// The stored chunks of each generation count as given: replay yields them before any end is handled.
	for g, k := range f.known {
		status, err := f.log.Status(ctx, f.space, k.segment())
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return from, err
		}
		f.known[g].given = status.LastSequence
	}
	return from, nil
}

// kept begins to follow the earlier generations of a stream that are kept. Their segments have names in order after
// "<id>~".
func (f *following) kept(ctx context.Context, id string, earliest func(time.Time)) error {
	for after := id + "~"; ; {
		names, err := f.log.Segments(ctx, f.space, after, listPage)
		if err != nil {
			return err
		}
		for _, name := range names {
			// Names come in byte order, so the first one with another beginning ends the list.
			if len(name) <= len(id) || name[:len(id)+1] != id+"~" {
				return nil
			}
			after = name
			of, generation, ok := parseSegment(name)
			if !ok || of != id {
				continue
			}
			status, err := f.log.Status(ctx, f.space, name)
			if errors.Is(err, streamhub.ErrNotFound) {
				// It was removed after its name was read.
				continue
			}
			if err != nil {
				return err
			}
			if !status.FirstTimestamp.IsZero() {
				earliest(status.FirstTimestamp)
			}
			f.meet(ctx, f.at(id, generation))
		}
		if len(names) == 0 {
			return nil
		}
	}
}

// replay yields the stored chunks, and then starts the goroutine that follows the space: after the last entry of the
// replay, or after next if there was none.
func (f *following) replay(ctx context.Context, from time.Time, next streamhub.Cursor) error {
	read := streamhub.ReadOptions{Cursor: f.o.Cursor}
	if f.o.Cursor == "" && !from.IsZero() {
		read.After = from.Add(-clockSlack)
	}
	if f.o.Cursor != "" || !from.IsZero() {
		for e, err := range f.log.ConsumeSpace(ctx, f.space, &read) {
			if err != nil {
				return err
			}
			next = e.Cursor()
			if err := f.entry(ctx, &e); err != nil {
				return err
			}
		}
	}
	f.tasks.Go(func() {
		defer close(f.entries)
		for e, err := range f.m.watcher.FollowSpace(ctx, f.log, f.space, &streamhub.FollowOptions{Cursor: next}) {
			if err != nil {
				f.failed = err
				return
			}
			// ids may be read here without a lock: only check writes it, before there is any goroutine.
			if id, _, ok := parseSegment(e.Segment); !ok || !f.ids[id] {
				continue
			}
			select {
			case f.entries <- e:
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// entry yields a chunk. Its position is in the segment; the cursor of the space is a field of the update.
func (f *following) entry(ctx context.Context, e *streamhub.Entry) error {
	id, number, ok := parseSegment(e.Segment)
	if !ok || !f.open[id] {
		return nil
	}
	k := f.known[generation{id, number}]
	if k == nil {
		if f.o.Cursor == "" && !f.o.Generations && f.passed(id, number) {
			return nil // of an earlier generation than the first one of this call
		}
		// The chunk is the first sign of this generation: it began after this call, or is an earlier one with chunks
		// after the cursor.
		f.meet(ctx, f.at(id, number))
		k = f.known[generation{id, number}]
	}
	k.given = max(k.given, e.Sequence)
	f.cursor = e.Cursor()
	chunk := live.Chunk{Generation: number, Sequence: e.Sequence, Timestamp: e.Timestamp, Data: e.Payload, Replayed: 1, Position: e.Position}
	chunk.Position.Timeline, chunk.Position.Trimmed, chunk.Position.Mark = streamhub.TimelineID{}, streamhub.TimelineID{}, 0
	if !f.yield(live.Update{ID: id, Chunk: chunk, Cursor: f.cursor}, nil) {
		return errEnough
	}
	return f.giveEnd(ctx, k)
}

// passed reports whether a later generation of the stream is known.
func (f *following) passed(id string, number uint64) bool {
	for g := range f.known {
		if g.id == id && g.number > number {
			return true
		}
	}
	return false
}

// meet begins to follow a generation: it starts a goroutine that waits for the end, and counts this call as a reader.
func (f *following) meet(ctx context.Context, s *Stream) {
	g := generation{s.id, s.generation}
	if f.known[g] != nil || !f.open[s.id] {
		return
	}
	f.known[g] = &followed{Stream: s, release: f.m.use(s, true)}
	f.tasks.Go(func() {
		end := conclusion{generation: g}
		for pauses := (pause.Backoff{First: firstPause, Longest: longestPause}); ; {
			var closed *streamhub.ClosedError
			closed, end.err = s.closing(ctx)
			if closed != nil {
				end.last, end.verdict, end.err = closed.LastSequence, &closed.Verdict, nil
			}
			if !streamhub.Retryable(end.err) || !pauses.Wait(ctx) {
				break
			}
		}
		select {
		case f.ended <- end:
		case <-ctx.Done():
		}
	})
}

// await waits for the first generation of a stream in a goroutine. It finds a generation without
// chunks, which the timeline read does not. A stream that cannot be waited for is a conclusion without a generation.
func (f *following) await(ctx context.Context, id string) {
	f.tasks.Go(func() {
		for pauses := (pause.Backoff{First: firstPause, Longest: longestPause}); ; {
			s, err := f.Await(ctx, id)
			if err == nil {
				select {
				case f.begun <- s.(*Stream):
				case <-ctx.Done():
				}
				return
			}
			if streamhub.Retryable(err) && pauses.Wait(ctx) {
				continue
			}
			select {
			case f.ended <- conclusion{generation: generation{id: id}, err: err}:
			case <-ctx.Done():
			}
			return
		}
	})
}

// finish records the end of a generation, which giveEnd gives when its turn comes. An error that is not about one
// generation ends the call: a reader would take it for the end of the stream.
func (f *following) finish(ctx context.Context, end *conclusion) error {
	k := f.known[end.generation]
	if k == nil || errors.Is(end.err, streamhub.ErrShutdown) {
		return end.err
	}
	k.end = end
	return f.giveEnd(ctx, k)
}

// giveEnd yields the end of a generation after all of its chunks. The end of a later generation waits for the ends of
// the earlier ones. If the verdict names a successor, giveEnd begins to follow it, so that no chunk between the two is
// missed.
func (f *following) giveEnd(ctx context.Context, k *followed) error {
	if k.end == nil || k.over || k.end.err == nil && k.given < k.end.last || f.precedes(k) {
		return nil
	}
	k.over = true
	var next *Stream
	if v := k.end.verdict; v != nil && v.Kind == streamhub.VerdictSuperseded {
		var by successor
		if json.Unmarshal(v.Output, &by) == nil {
			next = f.at(k.id, by.Generation)
		}
	}
	if next != nil {
		f.meet(ctx, next)
	} else if !f.o.Generations && !f.passed(k.id, k.generation) {
		delete(f.open, k.id)
	}
	u := live.Update{ID: k.id, Chunk: live.Chunk{Generation: k.generation}, Cursor: f.cursor, Verdict: k.end.verdict, Err: k.end.err}
	if u.Err != nil {
		u.Err = f.fail("follow", k.id, u.Err)
	}
	if !f.yield(u, nil) {
		return errEnough
	}
	for g, later := range f.known {
		if g.id == k.id && !later.over {
			if err := f.giveEnd(ctx, later); err != nil {
				return err
			}
		}
	}
	return nil
}

// precedes reports whether the end of an earlier generation of the stream must be yielded first.
func (f *following) precedes(k *followed) bool {
	for g, earlier := range f.known {
		if g.id == k.id && g.number < k.generation && !earlier.over {
			return true
		}
	}
	return false
}

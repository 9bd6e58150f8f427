package livestream

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// Subscribe implements [live.Stream].
func (s *Stream) Subscribe(ctx context.Context, o *live.SubscribeOptions) iter.Seq2[live.Chunk, error] {
	if o == nil {
		o = &live.SubscribeOptions{}
	}
	return func(yield func(live.Chunk, error) bool) {
		if err := s.subscribe(ctx, o, yield); err != nil {
			yield(live.Chunk{}, s.fail("subscribe", s.id, err))
		}
	}
}

func (s *Stream) subscribe(ctx context.Context, o *live.SubscribeOptions, yield func(live.Chunk, error) bool) error {
	follow := streamhub.FollowOptions{}
	if o.Cursor != "" {
		generation, cursor, err := o.Cursor.Split()
		if err != nil {
			return err
		}
		// Read the generation of the cursor, not that of s: the reader first gets the rest of its earlier generation.
		s, follow.Cursor = s.at(s.id, generation), cursor
	}
	defer s.m.use(s, true)()
	// end is the last chunk of a replay that comes in one batch, 0 if each chunk comes alone.
	var end uint64
	if o.Cursor == "" || o.BatchReplay {
		status, err := s.begin(ctx)
		if err != nil {
			return ending(err)
		}
		if o.BatchReplay {
			end = status.LastSequence
		}
		if o.Cursor == "" {
			// Begin at the start of this incarnation. Without it the follower would wait for a deleted segment as if it
			// were still to be created.
			follow.Cursor = start(status.Position).Cursor()
		}
	}
	var batch live.Chunk
	for entry, err := range s.m.watcher.FollowSegment(ctx, s.log, s.space, s.segment(), &follow) {
		if err != nil {
			// The batch is incomplete, but has the position of its last chunk, so that the reader can resume after it.
			if batch.Replayed > 0 && !yield(batch, nil) {
				return nil
			}
			return ending(err)
		}
		c := live.Chunk{
			Generation: s.generation, Sequence: entry.Sequence, Timestamp: entry.Timestamp,
			Data: entry.Payload, Replayed: 1, Position: entry.Position,
		}
		if entry.Sequence <= end {
			// The first append copies, because batch.Data is nil then: payloads are shared with other readers.
			c.Data, c.Replayed = append(batch.Data, c.Data...), batch.Replayed+1
			batch = c
			if entry.Sequence < end {
				continue
			}
			batch = live.Chunk{}
		}
		if !yield(c, nil) {
			return nil
		}
	}
	return nil
}

// begin returns the status of the segment of the generation. For a registered generation without a segment it is zero,
// so that a follower waits for the segment.
func (s *Stream) begin(ctx context.Context) (streamhub.Status, error) {
	if err := s.m.checkOpen(); err != nil {
		return streamhub.Status{}, err
	}
	status, err := s.log.Status(ctx, s.space, s.segment())
	if err == nil || !errors.Is(err, streamhub.ErrNotFound) || errors.As(err, new(*streamhub.DeletedError)) {
		return status, err
	}
	d, missing := s.describe(ctx, s.id)
	if missing == nil && d.generation == s.generation && !d.ended {
		return status, nil
	}
	return status, err
}

// start is the position before the first entry of a segment that has the position p.
func start(p streamhub.Position) streamhub.Position {
	return streamhub.Position{Incarnation: p.Incarnation, Lineage: p.Lineage}
}

// errGone is the error for a generation that has expired after its end: its verdict is no longer known.
var errGone = fmt.Errorf("%w: the generation is kept no more: its EndedTTL is over", streamhub.ErrNotFound)

// ending converts the error of a follower for a reader: a deleted generation ends with a verdict too.
func ending(err error) error {
	var deleted *streamhub.DeletedError
	if errors.As(err, &deleted) && deleted.Verdict.Kind == streamhub.VerdictExpired {
		return errGone
	}
	return removal(err)
}

// removal converts the error of a removed segment to a ClosedError with the verdict of the removal.
func removal(err error) error {
	var deleted *streamhub.DeletedError
	if errors.As(err, &deleted) {
		return &streamhub.ClosedError{Verdict: deleted.Verdict}
	}
	return err
}

// Channel implements [live.Stream]. Its goroutine ends with ctx, with the subscription or with the manager, which waits
// for it. Close does not wait for a reader that has left its channel.
func (s *Stream) Channel(ctx context.Context, o *live.SubscribeOptions) <-chan live.Event {
	if o == nil {
		o = &live.SubscribeOptions{}
	}
	events := make(chan live.Event, max(o.Buffer, 0))
	started := s.m.tasks.Go(func() {
		defer close(events)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.m.ctx, cancel)()
		for c, err := range s.Subscribe(ctx, o) {
			select {
			case events <- live.Event{Chunk: c, Err: err}:
			case <-ctx.Done():
				return
			}
		}
	})
	if !started {
		close(events)
	}
	return events
}

// Wait implements [live.Stream].
func (s *Stream) Wait(ctx context.Context) (streamhub.Verdict, error) {
	verdict, err := s.wait(ctx)
	return verdict, s.fail("wait", s.id, err)
}

func (s *Stream) wait(ctx context.Context) (streamhub.Verdict, error) {
	// A caller that only waits for the end is no viewer. It still needs the heartbeat that finds a dead producer.
	defer s.m.use(s, false)()
	closed, err := s.closing(ctx)
	if err != nil {
		return streamhub.Verdict{}, err
	}
	return closed.Verdict, nil
}

// closing waits for the end of the generation.
func (s *Stream) closing(ctx context.Context) (*streamhub.ClosedError, error) {
	closed, status, err := s.ended(ctx)
	if closed != nil || err != nil {
		return closed, err
	}
	// Follow from the current end, so that no stored chunk is read only to be dropped.
	for _, err = range s.m.watcher.FollowSegment(ctx, s.log, s.space, s.segment(), &streamhub.FollowOptions{Cursor: status.Cursor()}) {
		if err != nil {
			break
		}
	}
	if err = ending(err); errors.As(err, &closed) {
		return closed, nil
	}
	return nil, err
}

// ended returns how the generation has ended, or nil and its current status.
func (s *Stream) ended(ctx context.Context) (closed *streamhub.ClosedError, now streamhub.Status, err error) {
	now, err = s.begin(ctx)
	if err == nil && now.Verdict != nil {
		return &streamhub.ClosedError{Verdict: *now.Verdict, LastSequence: now.LastSequence}, now, nil
	}
	if err = ending(err); errors.As(err, &closed) {
		return closed, now, nil
	}
	return nil, now, err
}

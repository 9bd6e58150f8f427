package live

import (
	"context"
	"errors"
	"iter"

	"github.com/seed-147127fe/streamhub"
)

// A Chunk is what one call of Publish has stored, with its place.
type Chunk struct {
	Generation uint64 `json:"generation"`
	// Sequence numbers the chunks of a generation 1, 2, 3, …
	Sequence  uint64 `json:"sequence"`
	Timestamp int64  `json:"timestamp"` // Unix milliseconds
	// Data may share memory with what others get and must not be changed.
	Data []byte `json:"data"`
	// Replayed is how many chunks Data holds, one behind the other, the last of which has this
	// sequence. It is 1 but for the first chunk of a batch replay.
	Replayed uint64 `json:"replayed"`

	position streamhub.Position
}

// Cursor returns the text that resumes behind the chunk.
func (c *Chunk) Cursor() Cursor { return cursorAt(c.Generation, c.position) }

// SubscribeOptions say where a subscription begins; nil stands for the first chunk.
type SubscribeOptions struct {
	// Cursor resumes behind a chunk. If that is of another generation than the stream, the
	// subscription is to that one: its reader gets the rest of it and its verdict first.
	Cursor Cursor
	// BatchReplay joins what is there when the subscription begins into one chunk.
	BatchReplay bool
	// Buffer is the capacity of the channel that [Stream.Channel] returns.
	Buffer int
}

// Subscribe replays the generation and goes on live: every chunk once, in order. It ends with one
// last error: the [streamhub.ClosedError] that carries the verdict, or what stood in the way. A
// Redis that does not answer is waited for. Chunks are taken from the log, so a slow reader loses
// none and delays nobody; it has them for as long as the generation is kept.
//
// The sequence runs in the caller's goroutine, and can be ranged over again.
func (s *Stream) Subscribe(ctx context.Context, o *SubscribeOptions) iter.Seq2[Chunk, error] {
	if o == nil {
		o = &SubscribeOptions{}
	}
	return func(yield func(Chunk, error) bool) {
		if err := s.subscribe(ctx, o, yield); err != nil {
			yield(Chunk{}, s.fail("subscribe", s.id, err))
		}
	}
}

func (s *Stream) subscribe(ctx context.Context, o *SubscribeOptions, yield func(Chunk, error) bool) error {
	follow := streamhub.FollowOptions{}
	if o.Cursor != "" {
		generation, cursor, err := o.Cursor.split()
		if err != nil {
			return err
		}
		s, follow.Cursor = s.at(s.id, generation), cursor
	}
	defer s.m.use(s, true)()
	var end uint64 // of the replay, if that comes in one batch
	if o.Cursor == "" || o.BatchReplay {
		status, err := s.begin(ctx)
		if err != nil {
			return ending(err)
		}
		if o.BatchReplay {
			end = status.LastSequence
		}
		if o.Cursor == "" {
			// The start of this life, so that one that is deleted meanwhile is not waited for.
			start := streamhub.Position{Incarnation: status.Position.Incarnation, Lineage: status.Position.Lineage}
			follow.Cursor = start.Cursor()
		}
	}
	var batch Chunk
	for entry, err := range s.m.watcher.Follow(ctx, s.log, s.space, s.segment(), &follow) {
		if err != nil {
			if batch.Replayed > 0 && !yield(batch, nil) {
				return nil
			}
			return ending(err)
		}
		c := Chunk{
			Generation: s.generation, Sequence: entry.Sequence, Timestamp: entry.Timestamp,
			Data: entry.Payload, Replayed: 1, position: entry.Position,
		}
		if entry.Sequence <= end {
			c.Data, c.Replayed = append(batch.Data, c.Data...), batch.Replayed+1
			batch = c
			if entry.Sequence < end {
				continue
			}
			batch = Chunk{}
		}
		if !yield(c, nil) {
			return nil
		}
	}
	return nil
}

// begin returns where the generation is now. One that is registered and has no segment yet is at
// the zero position, where it is waited for.
func (s *Stream) begin(ctx context.Context) (streamhub.Status, error) {
	status, err := s.log.Status(ctx, s.space, s.segment())
	if err == nil || !errors.Is(err, streamhub.ErrNotFound) || errors.As(err, new(*streamhub.DeletedError)) {
		return status, err
	}
	d, missing := s.describe(ctx, s.id)
	if missing == nil && d.generation == s.generation && !d.over {
		return status, nil
	}
	return status, err
}

// ending turns what a follower ends with into what a reader is told: one that is deleted has a
// verdict too.
func ending(err error) error {
	var deleted *streamhub.DeletedError
	if errors.As(err, &deleted) {
		return &streamhub.ClosedError{Verdict: deleted.Verdict}
	}
	return err
}

// An Event is a chunk, or the error that a subscription ends with.
type Event struct {
	Chunk
	Err error
}

// Channel is Subscribe for programs that select. The channel is closed behind the event that has
// the error; who stops reading before has to end ctx.
func (s *Stream) Channel(ctx context.Context, o *SubscribeOptions) <-chan Event {
	if o == nil {
		o = &SubscribeOptions{}
	}
	events := make(chan Event, max(o.Buffer, 0))
	started := s.m.start(func() {
		defer close(events)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.m.ctx, cancel)()
		for c, err := range s.Subscribe(ctx, o) {
			select {
			case events <- Event{c, err}:
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

// Wait returns the verdict of the generation when it has one.
func (s *Stream) Wait(ctx context.Context) (streamhub.Verdict, error) {
	verdict, err := s.wait(ctx)
	return verdict, s.fail("wait", s.id, err)
}

func (s *Stream) wait(ctx context.Context) (streamhub.Verdict, error) {
	defer s.m.use(s, false)()
	status, err := s.begin(ctx)
	if err == nil && status.Verdict != nil {
		return *status.Verdict, nil
	}
	if err == nil {
		for _, err = range s.m.watcher.Follow(ctx, s.log, s.space, s.segment(), &streamhub.FollowOptions{Cursor: status.Cursor()}) {
			if err != nil {
				break
			}
		}
	}
	var closed *streamhub.ClosedError
	if err = ending(err); errors.As(err, &closed) {
		return closed.Verdict, nil
	}
	return streamhub.Verdict{}, err
}

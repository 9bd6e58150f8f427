package genkit

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/core/x/streaming"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// Options configure a [StreamManager]; nil stands for the defaults.
type Options struct {
	// IdleTTL ends a stream to which nothing was written for so long, and TTL is how long it is kept
	// after its end; the defaults are those of the live streams, 10 and 5 minutes.
	IdleTTL, TTL time.Duration
}

// A StreamManager is a [streaming.StreamManager] on the live streams of a space. It holds nothing
// and is safe for concurrent use.
type StreamManager struct {
	streams live.Streams
	opt     Options
}

var _ streaming.StreamManager = (*StreamManager)(nil)

// NewStreamManager returns the manager of a space.
func NewStreamManager(streams live.Streams, o *Options) *StreamManager {
	m := &StreamManager{streams: streams}
	if o != nil {
		m.opt = *o
	}
	return m
}

// goodbye bounds the end of a writer that is closed without one.
const goodbye = 5 * time.Second

// Open begins a stream. An id that is taken, also by a stream that has ended and is still kept, is
// ALREADY_EXISTS.
func (m *StreamManager) Open(ctx context.Context, id string) (streaming.StreamInput, error) {
	p, err := m.open(ctx, id, nil, nil)
	if err != nil {
		return nil, err
	}
	return &input{p: p, ctx: context.WithoutCancel(ctx)}, nil
}

func (m *StreamManager) open(ctx context.Context, id string, metadata any, onCancel func(error)) (live.Producer, error) {
	p, _, err := m.streams.Register(ctx, id, &live.RegisterOptions{
		Once: true, IdleTTL: m.opt.IdleTTL, EndedTTL: m.opt.TTL, Metadata: metadata, OnCancel: onCancel, ContentType: "application/json",
	})
	if err != nil {
		return nil, publicError(err)
	}
	if p == nil {
		return nil, core.NewPublicError(core.ALREADY_EXISTS, "stream already exists", nil)
	}
	return p, nil
}

// An input is a [streaming.StreamInput].
type input struct {
	p   live.Producer
	ctx context.Context

	mu     sync.Mutex
	closed bool
}

// Write stores a chunk a moment later, together with others; Done waits for all of them. While Redis
// does not answer chunks wait, and Write once a megabyte of them does.
func (in *input) Write(ctx context.Context, chunk json.RawMessage) error {
	in.mu.Lock()
	closed := in.closed
	in.mu.Unlock()
	if closed {
		return errWriterClosed()
	}
	return publicError(in.p.Publish(ctx, chunk))
}

// Done ends the stream with its output.
func (in *input) Done(ctx context.Context, output json.RawMessage) error {
	if err := in.once(); err != nil {
		return err
	}
	return publicError(in.p.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictDone, Output: output}))
}

// Error ends the stream with an error, whose status its readers get as well.
func (in *input) Error(ctx context.Context, err error) error {
	if failed := in.once(); failed != nil {
		return failed
	}
	return publicError(in.p.End(ctx, failure(err)))
}

// Close gives the writer up. A stream that has not ended is then failed for its readers: nobody will
// end it any more.
func (in *input) Close() error {
	if in.once() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(in.ctx, goodbye)
	defer cancel()
	return publicError(in.p.Close(ctx))
}

func (in *input) once() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return errWriterClosed()
	}
	in.closed = true
	return nil
}

func errWriterClosed() error {
	return core.NewPublicError(core.FAILED_PRECONDITION, "stream writer is closed", nil)
}

// Subscribe replays a stream and follows it to its end: every chunk, then the output or the error. A
// slow reader loses nothing and delays nobody. The channel is closed behind the last event, or when
// ctx ends or unsubscribe is called, which may be repeated.
func (m *StreamManager) Subscribe(ctx context.Context, id string) (<-chan streaming.StreamEvent, func(), error) {
	s, err := m.streams.Get(ctx, id)
	if err != nil {
		return nil, nil, publicError(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan streaming.StreamEvent)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(events)
		defer cancel()
		for chunk, err := range s.Subscribe(ctx, nil) {
			if ctx.Err() != nil {
				return
			}
			e := streaming.StreamEvent{Type: streaming.StreamEventChunk, Chunk: chunk.Data}
			if err != nil {
				e = lastEvent(err)
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, func() {
		cancel()
		<-ended
	}, nil
}

// lastEvent is the event that stands for the end of a subscription.
func lastEvent(err error) streaming.StreamEvent {
	var closed *streamhub.ClosedError
	if errors.As(err, &closed) && closed.Verdict.Kind == streamhub.VerdictDone {
		return streaming.StreamEvent{Type: streaming.StreamEventDone, Output: closed.Verdict.Output}
	}
	return streaming.StreamEvent{Type: streaming.StreamEventError, Err: publicError(err)}
}

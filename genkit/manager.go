package genkit

import (
	"context"
	"time"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/core/x/streaming"

	"github.com/seed-147127fe/streamhub/live"
)

// Options configure a [StreamManager]; nil stands for the defaults.
type Options struct {
	// IdleTTL ends a stream to which nothing was written for that long. TTL is how long a stream is kept after its end.
	// The defaults are those of live streams, 10 and 5 minutes.
	IdleTTL, TTL time.Duration
	// MaxBytes limits one chunk and one output, which readers hold in memory; the default is 256 MiB.
	// A larger one ends its stream as failed.
	MaxBytes int
	// HideErrors hides the texts of errors other than *core.UserFacingError: readers and clients of [Handler] get
	// "internal error" instead. Without it readers get the text of the error, as from the manager of Genkit.
	HideErrors bool
}

// A StreamManager is a [streaming.StreamManager] on the live streams of a space. It has no state of its own and is safe
// for concurrent use.
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
	if m.opt.MaxBytes <= 0 {
		m.opt.MaxBytes = 256 << 20
	}
	return m
}

// Open begins a stream. The error is ALREADY_EXISTS if a stream with this id is kept, ended or not.
func (m *StreamManager) Open(ctx context.Context, id string) (streaming.StreamInput, error) {
	p, err := m.open(ctx, id, nil, nil)
	if err != nil {
		return nil, err
	}
	return newInput(context.WithoutCancel(ctx), m, p), nil
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

// Subscribe replays a stream and follows it to its end: every chunk, then the output or the error. A slow reader loses
// nothing and does not delay the others. The channel is closed after the last event, or when ctx ends or unsubscribe is
// called. Unsubscribe may be called more than once.
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
		for e := range m.events(ctx, s, "") {
			select {
			case events <- e.StreamEvent:
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

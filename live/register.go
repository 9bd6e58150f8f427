package live

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// RegisterOptions say how a generation is begun; nil stands for the defaults.
type RegisterOptions struct {
	// Takeover ends a generation that is being produced with the verdict superseded and begins the
	// next one.
	Takeover bool
	// Once does not begin another generation as long as one is kept, finished or not. It makes
	// starting a job safe to repeat.
	Once bool
	// OnCancel is called at most once, when the producer has to stop before it has ended the
	// generation itself, with the reason: a [CancelError]; a [streamhub.FencedError] if another
	// took over; a [streamhub.ClosedError] if somebody wrote a verdict; [streamhub.ErrHistoryLost];
	// [streamhub.ErrShutdown]. It must return for the manager to close.
	OnCancel func(reason error)
	// Metadata is kept with the stream as JSON, at most 64 KiB; see [Producer.SetMetadata].
	Metadata any
	// ContentType is that of the segment of the chunks.
	ContentType string
	// CancelUnwatched cancels the generation when it had no reader on any instance for so long.
	// The default, 0, never does.
	CancelUnwatched time.Duration
	// IdleTTL and EndedTTL replace those of [Options].
	IdleTTL, EndedTTL time.Duration
}

// maxMetadata bounds what a stream keeps as metadata.
const maxMetadata = 64 << 10

// registerTries bounds how often a stream is found to end while it is registered.
const registerTries = 16

// Register makes the caller the producer of the next generation of a stream. If another one has it,
// created is false, and the Producer is good for reading only: what it publishes is refused with a
// [streamhub.FencedError] that names the generation in force.
//
// The generation outlives ctx, which bounds the registration only. Its producer has to end it, with
// Done, Fail, End or Close.
func (s *Streams) Register(ctx context.Context, id string, o *RegisterOptions) (p *Producer, created bool, err error) {
	p, created, err = s.register(ctx, id, o)
	return p, created, s.fail("register", id, err)
}

func (s *Streams) register(ctx context.Context, id string, options *RegisterOptions) (*Producer, bool, error) {
	o := RegisterOptions{}
	if options != nil {
		o = *options
	}
	fallback(&o.IdleTTL, s.m.opt.IdleTTL)
	fallback(&o.EndedTTL, s.m.opt.EndedTTL)
	o.EndedTTL = max(o.EndedTTL, minTTL)
	if err := errors.Join(checkID(id), streamhub.CheckName("space", s.space)); err != nil {
		return nil, false, err
	}
	mode := "free"
	switch {
	case o.Once && o.Takeover:
		return nil, false, fmt.Errorf("%w: Once and Takeover exclude each other", streamhub.ErrInvalidArgument)
	case o.Once:
		mode = "once"
	case o.Takeover:
		mode = "takeover"
	}
	metadata, err := encodeMetadata(o.Metadata)
	if err != nil {
		return nil, false, err
	}
	owner := rand.Text()
	for range registerTries {
		code, n, err := s.ask(ctx, registerScript, id,
			redisx.Escape(id), owner, mode, s.m.opt.silence().Milliseconds(), o.EndedTTL.Milliseconds(), metadata)
		if err != nil {
			return nil, false, err
		}
		if code == "NEW" {
			p, err := s.produce(ctx, s.at(id, n[0]), n[1], owner, o)
			if errors.Is(err, streamhub.ErrConflict) {
				if d, missing := s.describe(ctx, id); missing == nil && d.generation != n[0] {
					return refused(s.at(id, d.generation)), false, nil // somebody took over already
				}
			}
			return p, err == nil, err
		}
		current := s.at(id, n[0])
		status, err := s.log.Status(ctx, s.space, current.segment())
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return nil, false, err
		}
		ended := err == nil && status.Verdict != nil || errors.As(err, new(*streamhub.DeletedError))
		if !ended || o.Once {
			s.m.touch(s)
			return refused(current), false, nil
		}
		// It has its verdict, and whoever wrote it did not get further than that.
		if _, err := current.finish(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost}); err != nil {
			return nil, false, err
		}
	}
	return nil, false, fmt.Errorf("%w: the stream ended %d times while it was registered", streamhub.ErrConflict, registerTries)
}

// produce makes what a new generation consists of, and ends the one that it takes over from.
func (s *Streams) produce(ctx context.Context, stream *Stream, before uint64, owner string, o RegisterOptions) (_ *Producer, err error) {
	defer func() {
		if err != nil { // nobody will produce it
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			defer cancel()
			_, _ = stream.finish(bye, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "it was not begun"})
		}
	}()
	if before != 0 {
		if _, err := s.at(stream.id, before).finish(ctx, supersededBy(stream.generation)); err != nil {
			s.m.opt.Logger.Warn("a superseded live stream has no verdict yet", "id", stream.id, "error", err)
		}
	}
	create := streamhub.CreateOptions{Generation: stream.generation, ContentType: o.ContentType}
	if _, _, err := s.log.Create(ctx, s.space, stream.segment(), &create); err != nil {
		return nil, err
	}
	create.ContentType = ""
	back, _, err := s.log.Create(ctx, s.space, stream.backLane(), &create)
	if err != nil {
		return nil, err
	}
	p := newProducer(stream, owner, o)
	if !s.m.attach(p, back.Position) {
		return nil, streamhub.ErrShutdown
	}
	return p, nil
}

func encodeMetadata(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%w: metadata: %w", streamhub.ErrInvalidArgument, err)
	}
	if len(b) > maxMetadata {
		return "", fmt.Errorf("%w: metadata of %d bytes, the limit is %d", streamhub.ErrTooLarge, len(b), maxMetadata)
	}
	return string(b), nil
}

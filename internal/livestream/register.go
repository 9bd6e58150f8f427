package livestream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// maxMetadata bounds what a stream keeps as metadata.
const maxMetadata = 64 << 10

// registerTries bounds how often a stream is found to end while it is registered.
const registerTries = 16

// Register is that of [live.Streams].
func (s *Streams) Register(ctx context.Context, id string, o *live.RegisterOptions) (live.Producer, live.Stream, error) {
	p, current, err := s.register(ctx, id, o)
	switch {
	case err != nil:
		return nil, nil, s.fail("register", id, err)
	case p != nil:
		return p, nil, nil
	}
	return nil, current, nil
}

// register returns the new producer, or the generation that stands in its way.
func (s *Streams) register(ctx context.Context, id string, options *live.RegisterOptions) (*Producer, *Stream, error) {
	o := live.RegisterOptions{}
	if options != nil {
		o = *options
	}
	fallback(&o.IdleTTL, s.m.opt.IdleTTL)
	fallback(&o.EndedTTL, s.m.opt.EndedTTL)
	o.EndedTTL = max(o.EndedTTL, minTTL)
	if err := errors.Join(checkID(id), streamhub.CheckName("space", s.space)); err != nil {
		return nil, nil, err
	}
	mode := "free"
	switch {
	case o.Once && o.Takeover:
		return nil, nil, fmt.Errorf("%w: Once and Takeover exclude each other", streamhub.ErrInvalidArgument)
	case o.Once:
		mode = "once"
	case o.Takeover:
		mode = "takeover"
	}
	metadata, err := encodeMetadata(o.Metadata)
	if err != nil {
		return nil, nil, err
	}
	owner := rand.Text()
	for range registerTries {
		code, n, err := s.ask(ctx, registerScript, id,
			redisx.Escape(id), owner, mode, s.m.silence().Milliseconds(), o.EndedTTL.Milliseconds(), metadata)
		if err != nil {
			return nil, nil, err
		}
		if code == "NEW" {
			p, err := s.produce(ctx, s.at(id, n[0]), n[1], owner, o)
			if errors.Is(err, streamhub.ErrConflict) {
				if d, missing := s.describe(ctx, id); missing == nil && d.generation != n[0] {
					return nil, s.at(id, d.generation), nil // somebody took over already
				}
			}
			return p, nil, err
		}
		current := s.at(id, n[0])
		status, err := s.log.Status(ctx, s.space, current.segment())
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return nil, nil, err
		}
		ended := err == nil && status.Verdict != nil || errors.As(err, new(*streamhub.DeletedError))
		if !ended || o.Once {
			s.m.touch(s)
			return nil, current, nil
		}
		// It has its verdict, and whoever wrote it did not get further than that.
		if _, err := current.finish(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost}); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("%w: the stream ended %d times while it was registered", streamhub.ErrConflict, registerTries)
}

// produce makes what a new generation consists of, and ends the one that it takes over from.
func (s *Streams) produce(ctx context.Context, stream *Stream, before uint64, owner string, o live.RegisterOptions) (_ *Producer, err error) {
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

package livestream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

// maxMetadata is the largest metadata of a stream, in bytes of JSON. Get and every status read all of it.
const maxMetadata = 64 << 10

// validKey matches the valid values of [live.RegisterOptions.Key]. A key becomes the part of a token after the dot, so
// it holds no dot and is not longer than resume accepts.
var validKey = regexp.MustCompile(`^[A-Za-z0-9]{16,64}$`)

// maxBy is the longest name, in bytes, of a producer, of a caller that asks to stop, and of a sender of a message.
const maxBy = 256

// checkBy refuses a name that is too long, or that no JSON could hold.
func checkBy(by string) error { return checkText("By", by, maxBy) }

func checkText(what, text string, limit int) error {
	switch {
	case len(text) > limit:
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d", streamhub.ErrTooLarge, what, len(text), limit)
	case !utf8.ValidString(text):
		return fmt.Errorf("%w: %s is %.64q, which is not UTF-8", streamhub.ErrInvalidArgument, what, text)
	}
	return nil
}

// registerTries bounds the attempts to register a stream that keeps ending meanwhile, and the attempts of finish while
// a segment is created or removed.
const registerTries = 16

// Register implements [live.Streams].
func (s *Streams) Register(ctx context.Context, id string, options *live.RegisterOptions) (live.Producer, live.Stream, error) {
	o := live.RegisterOptions{}
	if options != nil {
		o = *options
	}
	// The heartbeat of this process renews the deadline, so a silence of a few heartbeats means that it has died.
	begun, current, err := s.register(ctx, id, &o, s.m.silence())
	switch {
	case err != nil:
		return nil, nil, s.fail("register", id, err)
	case current != nil:
		return nil, current, nil
	}
	p := newProducer(begun.Stream, begun.owner, o)
	if !s.m.attach(p, begun.back) {
		begun.abandon(ctx)
		return nil, nil, s.fail("register", id, streamhub.ErrShutdown)
	}
	return p, nil, nil
}

// A beginning is a generation that has just been registered.
type beginning struct {
	*Stream
	owner string
	back  streamhub.Position // where its back lane begins
}

// abandon ends a generation that will have no producer.
func (s *Stream) abandon(ctx context.Context) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_, _ = s.finish(bye, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "it was not begun"})
}

// register begins a generation whose producer may be silent for the given time, or returns the generation that prevents
// it. It fills in the defaults of o.
//
// The session is written first, by a script, and decides between concurrent registrations. The segments are created
// after it. A failure in between leaves a session without segments, whose producer is silent: any instance ends it with
// the verdict lost, like any other silent generation.
func (s *Streams) register(ctx context.Context, id string, o *live.RegisterOptions, silence time.Duration) (*beginning, *Stream, error) {
	if s.m.isClosing() {
		return nil, nil, streamhub.ErrShutdown // refused before anything exists that no caller could end
	}
	option.Default(&o.IdleTTL, s.m.opt.IdleTTL)
	option.Default(&o.EndedTTL, s.m.opt.EndedTTL)
	// Redis stores whole milliseconds, and less than one would become 0.
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
	if err := checkBy(o.By); err != nil {
		return nil, nil, err
	}
	metadata, err := encodeMetadata(o.Metadata)
	if err != nil {
		return nil, nil, err
	}
	owner := o.Key
	if owner == "" {
		owner = rand.Text()
	} else if !validKey.MatchString(owner) {
		return nil, nil, fmt.Errorf("%w: a key has 16 to 64 letters and digits", streamhub.ErrInvalidArgument)
	}
	for range registerTries {
		code, n, err := s.ask(ctx, registerScript, id, "",
			redisx.Escape(id), owner, mode, silence.Milliseconds(), o.EndedTTL.Milliseconds(), metadata, o.By)
		if err != nil {
			return nil, nil, err
		}
		if code == "NEW" {
			b, err := s.produce(ctx, s.at(id, n[0]), n[1], owner, o)
			err = redisx.Unsure(err) // the session exists, and an earlier generation may have ended
			// The segment exists and differs: the generation was ended before this call could create it, or this is a
			// repeat with another content type.
			if errors.Is(err, streamhub.ErrConflict) {
				if d, missing := s.describe(ctx, id); missing == nil && d.generation != n[0] {
					return nil, s.at(id, d.generation), nil // another producer took over already
				}
				if status, missing := s.log.Status(ctx, s.space, s.at(id, n[0]).segment()); missing == nil && status.Verdict != nil {
					err = &streamhub.ClosedError{Verdict: *status.Verdict, LastSequence: status.LastSequence} // this call was a late repeat
				}
			}
			return b, nil, err
		}
		// Another generation is current. Its segment says whether it has ended: the session may not be settled yet.
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
		// Its segment is closed, and the process that closed it did not settle the session: finish does the rest.
		if _, err := current.finish(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost}); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("%w: the stream ended %d times while it was registered", streamhub.ErrConflict, registerTries)
}

// produce ends the superseded generation, and creates the segments of the new one. The old one ends first: a reader
// that continues from the verdict superseded waits for the new segment. Each step may be made again by a repeat of the
// registration under the same key.
func (s *Streams) produce(ctx context.Context, stream *Stream, before uint64, owner string, o *live.RegisterOptions) (_ *beginning, err error) {
	defer func() {
		// A caller with its own key may repeat the registration; otherwise the generation is lost by its silence.
		if err != nil && (o.Key == "" || ctx.Err() == nil && !streamhub.Retryable(err)) {
			stream.abandon(ctx)
		}
	}()
	// A failure here is not fatal: the script has made the old generation due, so the next heartbeat of an instance
	// that watches the space ends it.
	if before != 0 {
		if _, err := s.at(stream.id, before).finish(ctx, supersededBy(stream.generation)); err != nil {
			s.m.opt.Logger.Warn("a superseded live stream has no verdict yet", "id", stream.id, "error", err)
		}
	}
	create := streamhub.CreateOptions{Generation: stream.generation, ContentType: o.ContentType}
	if _, _, err := s.log.Create(ctx, s.space, stream.segment(), &create); err != nil {
		return nil, err
	}
	// The content type applies to chunks. Messages of readers have none.
	create.ContentType = ""
	back, _, err := s.log.Create(ctx, s.space, stream.backLane(), &create)
	if err != nil {
		return nil, err
	}
	// The back lane is read from its first entry, so that a repeat of the registration finds the messages since the
	// first attempt.
	return &beginning{stream, owner, start(back.Position)}, nil
}

func encodeMetadata(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	b, err := verdict.JSON("metadata", v)
	if err != nil {
		return "", err
	}
	if len(b) > maxMetadata {
		return "", fmt.Errorf("%w: metadata of %d bytes, the limit is %d", streamhub.ErrTooLarge, len(b), maxMetadata)
	}
	return string(b), nil
}

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

// maxMetadata bounds what a stream keeps as metadata, in bytes of JSON. Get and every status read all of it.
const maxMetadata = 64 << 10

// validKey is what [live.RegisterOptions.Key] may be. A key becomes the part of a token after the dot, so it holds
// no dot and is not longer than resume accepts.
var validKey = regexp.MustCompile(`^[A-Za-z0-9]{16,64}$`)

// maxBy bounds what a stream keeps as the name of its producer, of one who asks to stop, and of one who sends a
// message.
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

// registerTries bounds how often a stream is found to end while it is registered, and how often finish finds that a
// segment came or went meanwhile.
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

// register begins a generation whose producer may say nothing for so long, or returns the generation
// that stands in its way. It fills o.
//
// The session is written first, by a script, and decides between several that register at once. The segments come
// after it. Whatever fails or dies in between leaves a session without segments, whose producer is silent: any
// instance ends that with the verdict lost, as it does for one that had begun.
func (s *Streams) register(ctx context.Context, id string, o *live.RegisterOptions, silence time.Duration) (*beginning, *Stream, error) {
	if s.m.isClosing() {
		return nil, nil, streamhub.ErrShutdown // before anything is left that no caller could end
	}
	option.Default(&o.IdleTTL, s.m.opt.IdleTTL)
	option.Default(&o.EndedTTL, s.m.opt.EndedTTL)
	// Redis is told whole milliseconds, and less than one would be 0.
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
			err = redisx.Unsure(err) // the session is there, and a generation before it is over
			// The segment is there and differs: the generation was ended before this call came to create it, or this
			// is a repeat with another content type.
			if errors.Is(err, streamhub.ErrConflict) {
				if d, missing := s.describe(ctx, id); missing == nil && d.generation != n[0] {
					return nil, s.at(id, d.generation), nil // another producer took over already
				}
				if status, missing := s.log.Status(ctx, s.space, s.at(id, n[0]).segment()); missing == nil && status.Verdict != nil {
					err = &streamhub.ClosedError{Verdict: *status.Verdict, LastSequence: status.LastSequence} // this was a late repeat
				}
			}
			return b, nil, err
		}
		// Another generation is in force. Its segment says whether it has ended: the session may not know yet.
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

// produce makes what a new generation consists of, and ends the one that it takes over from. The old one ends first:
// a reader that goes on from its verdict, superseded, waits for the segment of the new one. Each step may be made
// again by a repeat of the registration under the same key.
func (s *Streams) produce(ctx context.Context, stream *Stream, before uint64, owner string, o *live.RegisterOptions) (_ *beginning, err error) {
	defer func() {
		// A caller that has named its key may come again, and is lost by its silence otherwise.
		if err != nil && (o.Key == "" || ctx.Err() == nil && !streamhub.Retryable(err)) {
			stream.abandon(ctx)
		}
	}()
	// A failure here ends nothing: the script has made the old generation due, so the next heartbeat of any instance
	// that watches the space gives it its verdict.
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
	// From its first entry on: a repeat of the registration finds what readers have sent since the first attempt.
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

package genkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/firebase/genkit/go/core"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// goodbye bounds the write of the verdict when a writer is closed without Done or Error.
const goodbye = 5 * time.Second

// closePause is the delay before writing that verdict is retried.
const closePause = 250 * time.Millisecond

// verdictBytes is the largest output, in bytes, that a verdict contains; a larger one is in frames before it.
const verdictBytes = 64 << 10

// An input is a [streaming.StreamInput].
type input struct {
	m    *StreamManager
	p    live.Producer
	ctx  context.Context // never ends
	turn chan struct{}   // holds one token: a write takes it, so that its parts stay together, and waits for it until its ctx ends
	size int             // of parts, guarded by turn

	later sync.Once // starts closeLater

	mu     sync.Mutex
	ending bool  // Done or Error was called: nothing can be written any more
	closed bool  // the stream has ended
	reason error // why the stream was ended as failed: something could not be stored
}

func newInput(ctx context.Context, m *StreamManager, p live.Producer) *input {
	in := &input{m: m, p: p, ctx: ctx, turn: make(chan struct{}, 1), size: partBytes}
	in.turn <- struct{}{}
	return in
}

// Write buffers a chunk, which is stored together with others; Done waits for all of them. While Redis does not answer,
// chunks stay buffered, and Write blocks once they reach one megabyte. A chunk that can never be stored ends the stream
// as failed, so that readers do not take the rest for the whole.
func (in *input) Write(ctx context.Context, chunk json.RawMessage) error {
	in.mu.Lock()
	over := in.ending || in.closed
	in.mu.Unlock()
	if over {
		return errWriterClosed()
	}
	if err := in.hold(ctx); err != nil {
		return err
	}
	defer in.release()
	return in.check(ctx, "chunk", in.write(ctx, chunk))
}

func (in *input) write(ctx context.Context, chunk []byte) error {
	if err := in.fits(chunk); err != nil {
		return err
	}
	if len(chunk) == 0 || chunk[0] != frameMark {
		if err := in.p.Publish(ctx, chunk); !errors.Is(err, streamhub.ErrTooLarge) {
			return err
		}
	}
	return publish(ctx, in.p, chunkFrame, chunk, &in.size)
}

func (in *input) fits(data []byte) error {
	if limit := in.m.opt.MaxBytes; len(data) > limit {
		return fmt.Errorf("%w: %d bytes, the limit is %d", streamhub.ErrTooLarge, len(data), limit)
	}
	return nil
}

// hold waits for earlier writes and takes the turn.
func (in *input) hold(ctx context.Context) error {
	select {
	case <-in.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (in *input) release() { in.turn <- struct{}{} }

// check converts an error of storing what to the type that users of Genkit expect. If the data can never be stored, it
// ends the stream as failed.
func (in *input) check(ctx context.Context, what string, err error) error {
	if !errors.Is(err, streamhub.ErrTooLarge) && !errors.Is(err, streamhub.ErrInvalidArgument) {
		return publicError(err)
	}
	refused := core.NewPublicError(core.INVALID_ARGUMENT, "the "+what+" cannot be stored: "+err.Error(), nil)
	in.mu.Lock()
	in.ending, in.reason = true, refused
	in.mu.Unlock()
	// If this fails, a later Error, Done or Close ends the stream.
	_ = in.fail(ctx, refused)
	return refused
}

// framed is the output of a verdict whose real output is in frames. end puts an equal output of a flow into frames too.
var framed = mustJSON(map[string]string{"streamhub.genkit": inFrames})

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// end writes the verdict. The output goes into frames unless a verdict would keep its bytes unchanged.
func (in *input) end(ctx context.Context, v streamhub.Verdict, kind byte, output []byte) error {
	v.Output = output
	// A verdict is JSON, which makes the JSON inside it compact and escapes it. Readers get back the bytes of the
	// flow, so an output that would change goes into frames.
	text, err := json.Marshal(json.RawMessage(output))
	if err != nil || len(output) > verdictBytes || !bytes.Equal(text, output) || bytes.Equal(output, framed) {
		if err := publish(ctx, in.p, kind, output, &in.size); err != nil {
			return err
		}
		v.Output = framed
	}
	if err := in.p.End(ctx, v); err != nil {
		return err
	}
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	return nil
}

// Done ends the stream with its output. If the output can never be stored, the stream ends as failed. After any other
// error Done can be repeated, and Error and Close end the stream.
func (in *input) Done(ctx context.Context, output json.RawMessage) error {
	if err := in.begin(); err != nil {
		return err
	}
	if err := in.hold(ctx); err != nil {
		return err
	}
	defer in.release()
	if reason := in.refused(); reason != nil {
		_ = in.fail(ctx, reason)
		return reason
	}
	err := in.fits(output)
	if err == nil && output == nil {
		if err = in.p.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictDone}); err == nil {
			in.mu.Lock()
			in.closed = true
			in.mu.Unlock()
		}
	} else if err == nil {
		err = in.end(ctx, streamhub.Verdict{Kind: streamhub.VerdictDone}, outputFrame, output)
	}
	return in.check(ctx, "output", err)
}

// Error ends the stream with an error, whose kind, status and text its readers get as well. A stream that
// has failed already, for something that could not be stored, keeps that reason.
func (in *input) Error(ctx context.Context, err error) error {
	reason := in.refused()
	if failed := in.begin(); failed != nil {
		if reason != nil {
			return nil
		}
		return failed
	}
	if failed := in.hold(ctx); failed != nil {
		return failed
	}
	defer in.release()
	if reason != nil {
		err = reason
	}
	return publicError(in.fail(ctx, err))
}

// maxReason bounds the text of a verdict. Readers of the stream get all of it.
const maxReason = 1 << 10

// fail writes the verdict failed. The caller holds the turn.
func (in *input) fail(ctx context.Context, err error) error {
	f := failure(err, in.m.opt.HideErrors)
	reason := strings.ToValidUTF8(f.Message, "\ufffd") // a verdict that is not UTF-8 would be refused
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	text := f.text()
	if len(text) > in.m.opt.MaxBytes {
		text = flowFailure{Status: f.Status, Message: reason, Internal: f.Internal}.text()
	}
	return in.end(ctx, streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: reason}, errorFrame, text)
}

// Close gives the writer up. It ends an unfinished stream as failed, because no writer will end it any more. If Redis
// does not answer in time, Close returns an error, and the stream is ended in the background once Redis answers. The
// handler of Genkit calls Close only once and drops its error.
func (in *input) Close() error {
	ctx, cancel := context.WithTimeout(in.ctx, goodbye)
	defer cancel()
	err := in.close(ctx)
	if transient(err) {
		in.later.Do(func() { go in.closeLater() })
	}
	return publicError(err)
}

// closeLater retries Close until Redis answers or the hub is closed.
func (in *input) closeLater() {
	for err := context.DeadlineExceeded; transient(err); {
		ctx, cancel := context.WithTimeout(in.ctx, time.Minute)
		err = in.close(ctx)
		if transient(err) {
			<-time.After(closePause)
		}
		cancel()
	}
}

// transient reports whether ending the stream may succeed later.
func transient(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, streamhub.ErrUnknownOutcome) || streamhub.Retryable(err)
}

func (in *input) close(ctx context.Context) error {
	if in.begin() != nil {
		return nil
	}
	if reason := in.refused(); reason != nil {
		if in.hold(ctx) == nil {
			err := in.fail(ctx, reason)
			in.release()
			if err == nil {
				return nil
			}
		}
	}
	err := in.p.Close(ctx)
	if err == nil {
		in.mu.Lock()
		in.closed = true
		in.mu.Unlock()
	}
	return err
}

// begin marks that the stream is being ended, and returns an error if it has ended already.
func (in *input) begin() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return errWriterClosed()
	}
	in.ending = true
	return nil
}

func (in *input) refused() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.reason
}

func errWriterClosed() error {
	return core.NewPublicError(core.FAILED_PRECONDITION, "stream writer is closed", nil)
}

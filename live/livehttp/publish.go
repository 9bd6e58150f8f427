package livehttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// farewell bounds the verdict of a producer that is gone.
const farewell = 5 * time.Second

// lingering is how long a client may go on to send what is no longer wanted.
const lingering = time.Second

// errCutOff is the reason of the verdict lost: the connection broke before the end of the body, so
// the producer may not have been done.
var errCutOff = errors.New("the connection of the producer was cut off")

// A body is that of a request. It may be cut from another goroutine while it is read: when the
// producer is asked to stop, or when the gateway ends.
type body struct {
	io.Reader
	w       http.ResponseWriter
	control *http.ResponseController
	http1   bool

	// mu guards the fields below, and orders cut before leave: a deadline that cut sets later would
	// hit the next request of the connection.
	mu    sync.Mutex
	ended bool // it was read to its end
	// left says that the body is not used any more.
	left bool
}

// takeBody keeps net/http from reading the rest of an HTTP/1 body before it sends the answer, which a body
// without end would hold up. The caller calls leave before it answers.
func takeBody(w http.ResponseWriter, r *http.Request) *body {
	b := &body{Reader: r.Body, w: w, control: http.NewResponseController(w), http1: r.ProtoMajor == 1}
	_ = b.control.EnableFullDuplex() // HTTP/2 always is
	return b
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended = true
	}
	return n, err
}

// cut ends a Read under way and those to come.
func (b *body) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.left {
		_ = b.control.SetReadDeadline(time.Now())
	}
}

// leave ends the use of the body. A connection with a rest of it is closed after the answer: it is
// not known where the next request begins, and net/http panics when it finds that out itself
// (https://go.dev/issue/68560).
func (b *body) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left {
		return
	}
	b.left = true
	if b.ended || !b.http1 {
		_ = b.control.SetReadDeadline(time.Time{})
		return
	}
	b.w.Header().Set("Connection", "close")
	_ = b.control.SetReadDeadline(time.Now().Add(lingering))
}

// publish makes the client the producer of the next generation: each line of the body is a chunk, as
// it comes, and the end of the body is the end of the generation. It answers with the verdict, early
// if another process ended the generation or asked to stop, and with an error if there is no verdict
// because the generation was lost.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request, c *call) error {
	if !h.clients.Begin() {
		return streamhub.ErrShutdown
	}
	defer h.clients.Done()
	if encoded(r) {
		return errEncoded
	}
	in := takeBody(w, r)
	defer in.leave()
	// OnCancel is called at most once, so it never waits for room.
	stopped := make(chan error, 1)
	p, current, err := c.streams.Register(r.Context(), c.id, &live.RegisterOptions{
		Takeover: c.flag("takeover"), By: nameOf(c.subject),
		OnCancel: func(reason error) {
			stopped <- reason
			in.cut()
		},
	})
	if err != nil {
		return err
	}
	if p == nil {
		in.leave()
		return h.taken(w, r, current, false)
	}
	// The request's context ends when its body is cut, and when the client hangs up after its end.
	// What has come is stored all the same.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(h.clients.Context(), func() {
		in.cut()
		time.AfterFunc(farewell, cancel) // a Redis that does not answer must not hold up the gateway
	})()
	err = publishLines(ctx, p, in, h.opt.MaxChunkBytes)
	in.leave()
	bye, done := context.WithTimeout(context.WithoutCancel(r.Context()), farewell)
	defer done()
	if err != nil && h.clients.Context().Err() != nil && streamhub.CodeOf(err) == streamhub.CodeInternal {
		return moved(bye, w, p)
	}
	select {
	case reason := <-stopped:
		err = reason
		if errors.As(reason, new(*live.CancelError)) {
			// The producer was asked to stop and does: Close ends the generation as cancelled.
			err = p.Close(bye)
		}
	default:
		switch {
		// The end of the body is the end of the work.
		case err == nil:
			err = p.Done(bye, nil)
		// The body broke off: an error without a code of the hub is one of the connection.
		case streamhub.CodeOf(err) == streamhub.CodeInternal, errors.Is(err, context.Canceled):
			err = p.End(bye, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: errCutOff.Error()})
		default:
			err = errors.Join(err, p.Fail(bye, err))
		}
	}
	if err != nil && !errors.Is(err, streamhub.ErrClosed) && !errors.Is(err, streamhub.ErrFenced) {
		return err
	}
	verdict, err := p.Wait(bye)
	if errors.Is(err, streamhub.ErrNotFound) { // it was there
		err = &streamhub.HistoryLostError{FirstLost: 1}
	}
	if err == nil {
		reply(w, http.StatusOK, verdict)
	}
	return err
}

// moved hands the generation over to the client, because this gateway ends. The client goes on at
// another one with the token and with the chunks from next on. If that fails, the generation is lost.
func moved(ctx context.Context, w http.ResponseWriter, p live.Producer) error {
	token, next, err := p.HandOver(ctx)
	if err != nil {
		return errors.Join(err, p.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: errCutOff.Error()}))
	}
	w.Header().Set("Retry-After", "1")
	reply(w, http.StatusServiceUnavailable, failure{
		Code: "moved", Message: "this gateway ends: go on at another one, with POST /v1/live/{id}/chunks",
		Generation: p.Generation(), Producer: token, Next: next,
	})
	return nil
}

// publishLines publishes each line of up to most bytes without its end, \n or \r\n.
func publishLines(ctx context.Context, p live.Producer, body io.Reader, most int) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := readLine(lines, most)
		// A line without its end was cut off and does not count.
		if err == nil || errors.Is(err, io.EOF) && len(line) > 0 {
			if published := p.Publish(ctx, line); published != nil {
				return published
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return p.Flush(ctx)
		case err != nil:
			return err
		}
	}
}

// readLine reads a line of any length up to most. ReadSlice returns it in parts of the buffer's
// size. At the end of the body it returns what is left, with io.EOF.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > most+2 {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", streamhub.ErrTooLarge, most)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if trimmed, ok := bytes.CutSuffix(line, []byte("\n")); ok {
				line = bytes.TrimSuffix(trimmed, []byte("\r"))
			}
			return line, err
		}
	}
}

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

// farewell bounds the writing of the verdict after the producer has gone.
const farewell = 5 * time.Second

// lingering is how long a client may continue to send a body that is no longer read.
const lingering = time.Second

// errCutOff is the reason of the verdict lost: the connection broke before the end of the body, so
// the producer may not have been done.
var errCutOff = errors.New("the connection of the producer was cut off")

// A body is the body of a producer's request. Another goroutine may cut it while it is read: when the producer is asked
// to stop, or when the gateway shuts down.
type body struct {
	io.Reader
	w       http.ResponseWriter
	control *http.ResponseController
	http1   bool

	// mu guards the fields below, and orders cut before leave: a deadline that cut sets after leave would hit the next
	// request of the connection.
	mu    sync.Mutex
	ended bool // it was read to its end
	// left says that the body is no longer read.
	left bool
}

// takeBody keeps net/http from reading the rest of an HTTP/1 body before it sends the answer, which a body
// without end would hold up. The caller calls leave before it answers.
func takeBody(w http.ResponseWriter, r *http.Request) *body {
	b := &body{Reader: r.Body, w: w, control: http.NewResponseController(w), http1: r.ProtoMajor == 1}
	_ = b.control.EnableFullDuplex() // fails for HTTP/2, which is always full duplex
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

// cut ends the present Read and all later ones.
func (b *body) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.left {
		_ = b.control.SetReadDeadline(time.Now())
	}
}

// leave ends the use of the body. If a part of it is unread, the connection is closed after the response: the server
// does not know where the next request begins. net/http would panic when it detects that itself
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

// publish makes the client the producer of the next generation: each line of the body is published when it arrives, and
// the end of the body ends the generation. It answers with the verdict, before the end of the body if another process
// ended the generation or asked to stop it. If the generation was lost, so that there is no verdict, it answers with an
// error.
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
	// OnCancel is called at most once, so its send never blocks.
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
	// The request's context ends when the body is cut, and when the client disconnects after the end of the body. The
	// lines that have arrived are stored all the same.
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
			// The producer was asked to stop, and the body was cut: Close ends the generation as cancelled.
			err = p.Close(bye)
		}
	default:
		switch {
		// The body was read to its end, so the producer is done.
		case err == nil:
			err = p.Done(bye, nil)
		// The body broke off: an error that has no code of the hub is an error of the connection.
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
	if errors.Is(err, streamhub.ErrNotFound) { // the generation was lost after the registration
		err = &streamhub.HistoryLostError{FirstLost: 1}
	}
	if err == nil {
		reply(w, http.StatusOK, verdict)
	}
	return err
}

// moved hands the generation over to the client, because this gateway shuts down. The client continues on another
// gateway with the token and with the chunks from next on. If that fails, the generation is lost.
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

// publishLines publishes each line, of up to most bytes, without its line ending (\n or \r\n).
func publishLines(ctx context.Context, p live.Producer, body io.Reader, most int) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := readLine(lines, most)
		// A line that a cut left incomplete is not published; the last line of a complete body needs no line ending.
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

// readLine reads a line of up to most bytes, which may be longer than the buffer of r. At the end of the body it
// returns what is left, with io.EOF.
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

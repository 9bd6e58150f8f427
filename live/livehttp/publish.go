package livehttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// farewell bounds the verdict of a producer that is gone.
const farewell = 5 * time.Second

// errCutOff is why the producer's end of the body is not the end of its work.
var errCutOff = errors.New("the connection of the producer was cut off")

// publish makes the client the producer of the next generation: each line of the body is a chunk, as
// it comes, and the end of the body is the end of the generation. It answers with the verdict, early
// if somebody else ended the generation or asked to stop.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request, c *call) error {
	if !h.clients.Begin() {
		return streamhub.ErrShutdown
	}
	defer h.clients.Done()
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 always is
	stop := func() { _ = control.SetReadDeadline(time.Now()) }
	stopped := make(chan error, 1)
	p, created, err := c.streams.Register(r.Context(), c.id, &live.RegisterOptions{
		Takeover: r.URL.Query().Get("takeover") == "1",
		OnCancel: func(reason error) {
			stopped <- reason
			stop()
		},
	})
	if err != nil {
		return err
	}
	if !created {
		return fmt.Errorf("%w: generation %d is being produced", streamhub.ErrConflict, p.Generation())
	}
	defer context.AfterFunc(h.clients.Context(), stop)()
	err = publishLines(r.Context(), p, r.Body)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), farewell)
	defer cancel()
	select {
	case reason := <-stopped:
		var cancelled *live.CancelError
		if errors.As(reason, &cancelled) {
			err = p.Close(ctx)
		} else {
			err = nil // it has a verdict
		}
	default:
		switch {
		case err == nil:
			err = p.Done(ctx, nil)
		case streamhub.CodeOf(err) == streamhub.CodeInternal:
			err = p.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: errCutOff.Error()})
		default:
			err = errors.Join(err, p.Fail(ctx, err))
		}
	}
	if err != nil && !errors.Is(err, streamhub.ErrClosed) && !errors.Is(err, streamhub.ErrFenced) {
		return err
	}
	_ = control.SetReadDeadline(time.Time{})
	verdict, err := p.Wait(ctx)
	if err == nil {
		reply(w, http.StatusOK, verdict)
	}
	return err
}

// publishLines publishes each line without its end, \n or \r\n.
func publishLines(ctx context.Context, p *live.Producer, body io.Reader) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := readLine(lines)
		if len(line) > 0 || err == nil {
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

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxBody+2 {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", streamhub.ErrTooLarge, maxBody)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if trimmed, ok := bytes.CutSuffix(line, []byte("\n")); ok {
				line = bytes.TrimSuffix(trimmed, []byte("\r"))
			}
			return line, err
		}
	}
}

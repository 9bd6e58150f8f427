// Package sse writes event streams, as the HTML standard describes them
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
package sse

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"
)

// PingEvery is the longest that an event stream is silent; proxies close what says nothing for longer.
const PingEvery = 15 * time.Second

// pingAfter is the silence after which a ping is due. What is left is for a machine that is busy.
const pingAfter = PingEvery - 2*time.Second

var (
	ping     = []byte(": ping\n\n")
	lineEnds = []byte("\r\n")
)

// AppendData appends data as the lines of an event. Every line end begins another line, so that no
// data can end the event or begin one.
func AppendData(b, data []byte) []byte {
	for more := true; more; {
		line := data
		i := bytes.IndexAny(data, "\r\n")
		if more = i >= 0; more {
			line = data[:i]
			if bytes.HasPrefix(data[i:], lineEnds) {
				i++
			}
			data = data[i+1:]
		}
		b = append(b, "data:"...)
		if len(line) > 0 && line[0] == ' ' {
			b = append(b, ' ') // one is taken off
		}
		b = append(append(b, line...), '\n')
	}
	return b
}

// A Writer writes one event stream. It is safe for concurrent use.
type Writer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration

	mu     sync.Mutex
	wrote  time.Time
	failed error
}

// Begin answers with an event stream. A client that does not read what is sent within the timeout is
// let go.
func Begin(w http.ResponseWriter, timeout time.Duration) *Writer {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	return &Writer{w: w, control: http.NewResponseController(w), timeout: timeout, wrote: time.Now()}
}

// Send writes whole events at once.
func (s *Writer) Send(events []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.wrote = time.Now()
	_ = s.control.SetWriteDeadline(s.wrote.Add(s.timeout))
	if _, s.failed = s.w.Write(events); s.failed == nil {
		s.failed = s.control.Flush()
	}
	return s.failed
}

// KeepOpen says something while nothing comes, until ctx ends or what it returns is called, which
// waits for that. If renew is not nil it is called as often as every says.
func (s *Writer) KeepOpen(ctx context.Context, renew func(context.Context), every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	if renew != nil {
		keeper.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					renew(ctx)
				}
			}
		})
	}
	keeper.Go(func() {
		timer := time.NewTimer(pingAfter)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				left := s.untilPing(time.Now())
				if left <= 0 {
					_ = s.Send(ping) // the next write returns the error
					left = pingAfter
				}
				timer.Reset(left)
			}
		}
	})
	return func() {
		cancel()
		keeper.Wait()
	}
}

// untilPing is how long the stream may still be silent.
func (s *Writer) untilPing(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrote.Add(pingAfter).Sub(now)
}

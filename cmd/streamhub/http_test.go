package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listen has a server listen until the test ends, and returns host:port.
func listen(t *testing.T, s *http.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestHeaderLimits sends headers that are too long, and headers that do not end.
func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	s := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	address := listen(t, s)
	ask := func(text string) string {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil && len(answer) == 0 {
			t.Fatalf("no answer and no end: %v", err)
		}
		return string(answer)
	}
	if answer := ask("GET / HTTP/1.0\r\nX: " + strings.Repeat("x", maxHeaderBytes-1000) + "\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.0 404") {
		t.Errorf("headers that fit: %.100q", answer)
	}
	if answer := ask("GET / HTTP/1.0\r\nX: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 431") {
		t.Errorf("headers that are too long: %.100q", answer)
	}
	begun := time.Now()
	if answer := ask("GET / HTTP/1.0\r\nX: "); answer != "" || time.Since(begun) < readHeaderTimeout-time.Second {
		t.Errorf("headers that do not end: %.100q after %v", answer, time.Since(begun))
	}
}

// A counting is a body without an end.
type counting struct{ taken atomic.Int64 }

func (c *counting) Read(b []byte) (int, error) { c.taken.Add(int64(len(b))); return len(b), nil }

// TestUnread sends a body over HTTP/2 that is not read yet: so much of it is taken and no more.
func TestUnread(t *testing.T) {
	t.Parallel()
	body := &counting{}
	s := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for last := int64(0); ; { // as much as comes
			<-time.After(200 * time.Millisecond)
			now := body.taken.Load()
			if now == last && now >= maxUnread || r.Context().Err() != nil {
				return
			}
			last = now
		}
	}), slog.New(slog.DiscardHandler))
	s.Protocols = new(http.Protocols)
	s.Protocols.SetUnencryptedHTTP2(true)
	address := listen(t, s)
	transport := &http.Transport{Protocols: s.Protocols}
	t.Cleanup(transport.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if taken := body.taken.Load(); taken < maxUnread || taken > maxUnread+512<<10 {
		t.Errorf("%d bytes were taken, %d may be", taken, maxUnread)
	}
}

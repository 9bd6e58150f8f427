package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHeaderLimits sends headers that are too long, and headers that do not end.
func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	s := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
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
	ask := func(text string) string {
		conn, err := net.Dial("tcp", listener.Addr().String())
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

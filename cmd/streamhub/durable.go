package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
)

// durableFlags are about Durable Streams.
type durableFlags struct {
	LongPollTimeout  time.Duration `default:"20s" placeholder:"D" help:"How long a long-poll of a Durable Stream waits."`
	LoopbackWebhooks bool          `help:"Let webhooks of subscriptions call this machine with --auth or beyond the loopback, too."`
}

// handler serves Durable Streams. Webhooks may call this machine only where everybody who makes them
// is on it and may do everything: behind a token are tenants, and a proxy makes them look near.
func (f *durableFlags) handler(ctx context.Context, h *hub.Hub, g gate, at net.Addr, log *slog.Logger) (*durable.Handler, error) {
	if f.LongPollTimeout <= 0 {
		return nil, usagef("--long-poll-timeout %v: want more than nothing", f.LongPollTimeout)
	}
	o := &durable.Options{LongPollTimeout: f.LongPollTimeout, CheckOrigin: g.checkOrigin, Logger: log}
	o.LoopbackWebhooks = f.LoopbackWebhooks
	if tcp, ok := at.(*net.TCPAddr); ok && g.authorize == nil {
		o.LoopbackWebhooks = o.LoopbackWebhooks || tcp.IP.IsLoopback()
	}
	if g.authorize != nil {
		o.Authorize = func(r *http.Request, store uuid.UUID, space string, write bool) error {
			_, err := g.authorize(r, store, space, write)
			return err
		}
	}
	return durable.New(ctx, h, o)
}

// An owner serves paths that no mux may clean.
type owner interface {
	http.Handler
	Owns(path string) bool
}

// uncleaned sends what one of the owners owns there, and everything else to next.
func uncleaned(next http.Handler, owners ...owner) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, o := range owners {
			if o.Owns(r.URL.Path) {
				o.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

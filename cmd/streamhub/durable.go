package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// durableFlags are about Durable Streams.
type durableFlags struct {
	LongPollTimeout time.Duration `default:"20s" placeholder:"D" help:"How long a long-poll of a Durable Stream waits."`
}

// handler serves Durable Streams. Webhooks may call this machine only while nobody else can reach
// the listener. Where no token says who is there, only pages of the named origins may use it.
func (f *durableFlags) handler(
	ctx context.Context, h *hub.Hub, verifier wsgateway.Authenticator, allowed []string, at net.Addr, log *slog.Logger,
) (*durable.Handler, error) {
	if f.LongPollTimeout <= 0 {
		return nil, usagef("--long-poll-timeout %v: want more than nothing", f.LongPollTimeout)
	}
	o := &durable.Options{LongPollTimeout: f.LongPollTimeout, Logger: log}
	if tcp, ok := at.(*net.TCPAddr); ok {
		o.LoopbackWebhooks = tcp.IP.IsLoopback()
	}
	if verifier == nil {
		origins, err := auth.NewOrigins(allowed)
		if err != nil {
			return nil, usagef("--origin: %w", err)
		}
		o.CheckOrigin = func(r *http.Request) error { return origins.Check(r, false) }
	} else {
		o.Authorize = func(r *http.Request, store uuid.UUID, space string, write bool) error {
			principal, err := verifier.Verify(r.Context(), auth.Bearer(r))
			switch {
			case err != nil:
				return fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
			case !principal.Allows(store, space, write):
				return streamhub.ErrPermissionDenied
			}
			return nil
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

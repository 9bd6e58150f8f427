package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/front"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// Limits bound the HTTP requests in flight and the bytes of their bodies. 0 is the default; a negative value is no
// limit. Requests from a loopback address have no limit per IP address, because a proxy sends them for many clients.
type Limits struct {
	// Requests, RequestsPerSubject and RequestsPerIP limit the requests of the process, of one subject and of one IP
	// address; the defaults are 20,000, 1,000 and 1,000. An event stream is a request for as long as it lasts.
	Requests, RequestsPerSubject, RequestsPerIP int
	// BodyBytes and BodyBytesPerSubject limit the bytes of request bodies in flight, of the process and of one subject;
	// the defaults are 512 MiB and 128 MiB. A WebSocket message of more than 64 KiB counts too, until its calls have
	// ended.
	BodyBytes, BodyBytesPerSubject int
	// BodyPause is how long a body, or such a message, may take to arrive, plus one second for each 32 KiB; the default
	// is 30 s.
	BodyPause time.Duration
}

// Options configure a [Server]; nil stands for the defaults.
type Options struct {
	// Auth checks tokens; [wsgateway.NewJWT] returns an authenticator. Without it every client that
	// reaches the server has every right.
	Auth streamhub.Authenticator
	// CloseExpiredStreamkit is [wsgateway.Options.CloseExpiredStreamkit].
	CloseExpiredStreamkit bool
	// Origins are the web origins that browsers may connect from, as scheme://host[:port], besides the
	// server's own.
	Origins []string
	// Hosts are the names of the server, besides those of the loopback and of Origins. Without Auth a request with any
	// other host name gets 421: the page of an attacker could have made its own name resolve to the server's address.
	Hosts []string
	// Cookie names a cookie that may hold the token of a page of the server's own origin, which an
	// EventSource can send; the default is none.
	Cookie string
	// TicketKey signs the tickets of POST /v1/tickets. It has 32 bytes or more, and all servers that
	// accept the tickets share it. By default the servers share a key in Redis, which is replaced daily.
	TicketKey []byte
	// Connections limits WebSocket connections, and Requests limits HTTP requests; nil stands for the defaults.
	Connections *wsgateway.Limits
	Requests    *Limits
	// PublicURL is where clients reach the server, as scheme://host[:port]. Every URL that the server sends
	// begins with it, and its host counts as one of Hosts. The default is taken from each request.
	PublicURL string
	// LongPollTimeout is how long a long-poll of a Durable Stream waits; the default is 20 s.
	LongPollTimeout time.Duration
	// LoopbackWebhooks lets the webhooks of subscriptions use loopback addresses.
	LoopbackWebhooks bool
	// Metrics answers /metrics of [Server.Admin]; without it there is no such path.
	Metrics http.Handler
	// AdminToken is the bearer token that [Server.Admin] asks for. Without it the admin handler answers every client,
	// but only if the host name of the request is a loopback name or one of Hosts. OpenAdmin allows every host name.
	AdminToken string
	OpenAdmin  bool
	// AdminWrite lets the admin handler end leases and subscriptions. By default it is read-only.
	AdminWrite bool
	// Logger receives the failures that no client sees; the default discards them. Payloads and
	// tokens are never logged.
	Logger *slog.Logger
	// AccessLog writes a line to Logger for each request and each connection that has ended, without
	// query, headers and body. The default is false.
	AccessLog bool
	// MeterProvider defaults to the global one of OpenTelemetry, and so does Propagator.
	MeterProvider metric.MeterProvider
	Propagator    propagation.TextMapPropagator
}

// A Server serves a hub with every transport. It is safe for concurrent use.
type Server struct {
	hub        *hub.Hub
	opt        Options
	gate       *front.Gate
	hosts      *front.Hosts
	gateway    *wsgateway.Gateway
	transports []transport
	handler    http.Handler
	observing  metric.Registration
	viewing    context.Context // the context of the views that pages of the console share
	endViews   context.CancelFunc
}

// A transport is one way to reach the hub, with the methods that the server calls on each.
type transport interface {
	Shutdown(ctx context.Context) error
}

// New makes a server on h, which stays the caller's. Call [Server.Shutdown] before h is closed.
func New(h *hub.Hub, o *Options) (*Server, error) {
	s := &Server{hub: h}
	if o != nil {
		s.opt = *o
	}
	option.Logger(&s.opt.Logger)
	// The goroutines of the transports end with Shutdown, not with a context of the caller.
	if err := s.assemble(context.Background()); err != nil {
		return nil, errors.Join(err, s.stop(context.Background()))
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.ServeHTTP(w, r)
	front.LeaveBody(w, r)
}

// Shutdown drains the server. It refuses new connections, makes /readyz fail, ends readers with a cursor to resume
// from, waits for appends in flight, and closes the connections. When ctx ends it closes the remaining connections at
// once. Call it before http.Server.Shutdown.
func (s *Server) Shutdown(ctx context.Context) error { return s.stop(ctx) }

func (s *Server) stop(ctx context.Context) error {
	s.endViews()
	failed := make([]error, len(s.transports), len(s.transports)+1)
	var ending sync.WaitGroup
	for i, t := range s.transports {
		ending.Go(func() { failed[i] = t.Shutdown(ctx) })
	}
	ending.Wait()
	if s.observing != nil {
		failed = append(failed, s.observing.Unregister())
	}
	return errors.Join(failed...)
}

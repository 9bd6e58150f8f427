package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/front"
	"github.com/seed-147127fe/streamhub/internal/openapi"
	"github.com/seed-147127fe/streamhub/internal/operate"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/webclient"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
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

func (s *Server) assemble(ctx context.Context) error {
	s.viewing, s.endViews = context.WithCancel(ctx)
	o := &s.opt
	if o.PublicURL != "" { // an origin and a host name; its errors are reported below
		o.Origins = append(slices.Clip(o.Origins), strings.TrimSuffix(o.PublicURL, "/"))
	}
	tickets, err := s.ticketKeys()
	if err != nil {
		return err
	}
	gateOptions := &front.Options{
		Auth: o.Auth, Origins: o.Origins, Hosts: o.Hosts, Cookie: o.Cookie, Tickets: tickets, Limits: (*front.Limits)(o.Requests), Connections: (*auth.Limits)(o.Connections),
		Logger: o.Logger, MeterProvider: o.MeterProvider,
	}
	if o.AccessLog {
		gateOptions.AccessLog = o.Logger
	}
	if s.gate, err = front.New(ctx, gateOptions); err != nil {
		return err
	}
	if s.hosts, err = front.NewHosts(o.Origins, o.Hosts); err != nil {
		return err
	}
	s.gateway, err = wsgateway.New(ctx, s.hub, &wsgateway.Options{
		CloseExpiredStreamkit: o.CloseExpiredStreamkit, Logger: o.Logger, MeterProvider: o.MeterProvider, Propagator: o.Propagator,
	})
	if err != nil {
		return err
	}
	s.transports = append(s.transports, s.gateway)
	streamOptions := &durable.Options{
		PublicURL: strings.TrimSuffix(o.PublicURL, "/"), LongPollTimeout: o.LongPollTimeout, LoopbackWebhooks: o.LoopbackWebhooks, CheckOrigin: s.gate.CheckOrigin, Logger: o.Logger,
	}
	if o.Auth != nil { // without Auth every client may read, so shared caches may store the responses
		streamOptions.Authorize = func(r *http.Request, right streamhub.Right) error {
			_, err := s.gate.Authorize(r, right)
			return err
		}
	}
	streams, err := durable.New(ctx, s.hub, streamOptions)
	if err != nil {
		return err
	}
	s.transports = append(s.transports, streams)
	lives := livehttp.New(ctx, func(id uuid.UUID, space string) live.Streams { return s.hub.Store(id).Live(space) }, &livehttp.Options{
		Authorize:   s.gate.Authorize,
		CheckOrigin: s.gate.CheckOrigin,
		Logger:      o.Logger,

		MaxChunkBytes: port.Of(s.hub.Store(uuid.Nil)).MaxChunkBytes(),
	})
	s.transports = append(s.transports, lives)

	operations := operate.NewHandler(operate.New(s.hub), &operate.HandlerOptions{
		Authorize: func(r *http.Request, right streamhub.Right) error {
			_, err := s.gate.Authorize(r, right)
			return err
		},
		AuthorizeAll: s.gate.AuthorizeAll, CheckOrigin: s.gate.CheckOrigin, Logger: o.Logger,
	})
	s.hub.CountConnections(func() int { return s.gateway.Connections() + s.gate.Open() })

	mux := http.NewServeMux()
	mux.HandleFunc("GET /streamz", func(w http.ResponseWriter, r *http.Request) { s.gateway.ServeHTTP(w, s.gate.Bring(r)) })
	mux.HandleFunc("GET /{$}", welcome)
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET "+webclient.Path, webclient.Serve)
	mux.HandleFunc("GET "+openapi.Path, openapi.Serve)
	durables := s.gate.Wrap("durable", streams, front.Ways{})
	livings := s.gate.Wrap("live", lives, front.Ways{Endless: lives.Endless, Busy: lives.Busy})
	ticketing := s.gate.Wrap("tickets", http.HandlerFunc(s.gate.ServeTickets), front.Ways{})
	operating := s.gate.Wrap("operate", operations, front.Ways{})
	// Names may contain any bytes, so these two handlers come before the mux, which would clean their paths.
	s.handler = s.gate.Hosts(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // a URL may carry a ticket
		switch {
		case front.OwnsTickets(r.URL.Path):
			ticketing.ServeHTTP(w, r)
		case streams.Owns(r.URL.Path):
			durables.ServeHTTP(w, r)
		case lives.Owns(r.URL.Path):
			livings.ServeHTTP(w, r)
		case operate.Owns(r.URL.Path):
			operating.ServeHTTP(w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	return s.observe()
}

// ticketKeys returns the keys that sign tickets, or nil if the server requires no token.
func (s *Server) ticketKeys() (auth.TicketKeys, error) {
	switch key := s.opt.TicketKey; {
	case len(key) > 0 && len(key) < ticketKeySize:
		return nil, fmt.Errorf("the key of tickets has %d bytes; %d are the least that is safe", len(key), ticketKeySize)
	case s.opt.Auth == nil:
		return nil, nil
	case len(key) > 0:
		return fixedKey{newTicketKey(key, time.Time{})}, nil
	}
	return newRedisKeys(s.hub), nil
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

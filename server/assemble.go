package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/front"
	"github.com/seed-147127fe/streamhub/internal/openapi"
	"github.com/seed-147127fe/streamhub/internal/operate"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/webclient"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// assemble makes the gate, each transport, and the handler of all. After an error, stop ends what was made.
func (s *Server) assemble(ctx context.Context) error {
	s.viewing, s.endViews = context.WithCancel(ctx)
	o := &s.opt
	if o.PublicURL != "" { // an origin and a host name; its errors are reported below
		o.Origins = append(slices.Clip(o.Origins), strings.TrimSuffix(o.PublicURL, "/"))
	}
	if err := s.newGate(ctx); err != nil {
		return err
	}
	if err := s.newGateway(ctx); err != nil {
		return err
	}
	streams, err := s.newStreams(ctx)
	if err != nil {
		return err
	}
	s.hub.CountConnections(func() int { return s.gateway.Connections() + s.gate.Open() })
	s.handler = s.gate.Hosts(s.routes(streams, s.newLives(ctx)))
	return s.observe()
}

// newGate makes what every request passes.
func (s *Server) newGate(ctx context.Context) error {
	o := &s.opt
	tickets, err := s.ticketKeys()
	if err != nil {
		return err
	}
	gate := &front.Options{
		Auth: o.Auth, Origins: o.Origins, Hosts: o.Hosts, Cookie: o.Cookie, Tickets: tickets, Limits: (*front.Limits)(o.Requests), Connections: (*auth.Limits)(o.Connections),
		Logger: o.Logger, MeterProvider: o.MeterProvider,
	}
	if o.AccessLog {
		gate.AccessLog = o.Logger
	}
	if s.gate, err = front.New(ctx, gate); err != nil {
		return err
	}
	s.hosts, err = front.NewHosts(o.Origins, o.Hosts)
	return err
}

// newGateway makes the transport of WebSocket.
func (s *Server) newGateway(ctx context.Context) (err error) {
	o := &s.opt
	s.gateway, err = wsgateway.New(ctx, s.hub, &wsgateway.Options{
		CloseExpiredStreamkit: o.CloseExpiredStreamkit, Logger: o.Logger, MeterProvider: o.MeterProvider, Propagator: o.Propagator,
	})
	if err == nil {
		s.transports = append(s.transports, s.gateway)
	}
	return err
}

// newStreams makes the transport of Durable Streams.
func (s *Server) newStreams(ctx context.Context) (*durable.Handler, error) {
	o := &s.opt
	options := &durable.Options{
		PublicURL: strings.TrimSuffix(o.PublicURL, "/"), LongPollTimeout: o.LongPollTimeout, LoopbackWebhooks: o.LoopbackWebhooks, CheckOrigin: s.gate.CheckOrigin, Logger: o.Logger,
	}
	if o.Auth != nil { // without Auth every client may read, so shared caches may store the responses
		options.Authorize = s.authorize
	}
	streams, err := durable.New(ctx, s.hub, options)
	if err == nil {
		s.transports = append(s.transports, streams)
	}
	return streams, err
}

// newLives makes the transport of live streams over HTTP.
func (s *Server) newLives(ctx context.Context) *livehttp.Handler {
	lives := livehttp.New(ctx, func(id uuid.UUID, space string) live.Streams { return s.hub.Store(id).Live(space) }, &livehttp.Options{
		Authorize: s.gate.Authorize, CheckOrigin: s.gate.CheckOrigin, Logger: s.opt.Logger,
		MaxChunkBytes: port.Of(s.hub.Store(uuid.Nil)).MaxChunkBytes(),
	})
	s.transports = append(s.transports, lives)
	return lives
}

// newOperations makes what operators ask over HTTP.
func (s *Server) newOperations() http.Handler {
	return operate.NewHandler(operate.New(s.hub), &operate.HandlerOptions{
		Authorize: s.authorize, AuthorizeAll: s.gate.AuthorizeAll, CheckOrigin: s.gate.CheckOrigin, Logger: s.opt.Logger,
	})
}

func (s *Server) authorize(r *http.Request, right streamhub.Right) error {
	_, err := s.gate.Authorize(r, right)
	return err
}

// routes leads each request to what owns its path.
func (s *Server) routes(streams *durable.Handler, lives *livehttp.Handler) http.Handler {
	// Names may contain any bytes, so these handlers come before the mux, which would clean their paths.
	owners := []struct {
		owns    func(path string) bool
		handler http.Handler
	}{
		{front.OwnsTickets, s.gate.Wrap("tickets", http.HandlerFunc(s.gate.ServeTickets), front.Ways{})},
		{streams.Owns, s.gate.Wrap("durable", streams, front.Ways{})},
		{lives.Owns, s.gate.Wrap("live", lives, front.Ways{Endless: lives.Endless, Busy: lives.Busy})},
		{operate.Owns, s.gate.Wrap("operate", s.newOperations(), front.Ways{})},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /streamz", func(w http.ResponseWriter, r *http.Request) { s.gateway.ServeHTTP(w, s.gate.Bring(r)) })
	mux.HandleFunc("GET /{$}", welcome)
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET "+webclient.Path, webclient.Serve)
	mux.HandleFunc("GET "+openapi.Path, openapi.Serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // a URL may carry a ticket
		for i := range owners {
			if owners[i].owns(r.URL.Path) {
				owners[i].handler.ServeHTTP(w, r)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

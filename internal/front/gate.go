package front

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/option"
)

// Options configure a [Gate]; nil stands for the defaults.
type Options struct {
	// Auth checks tokens. Without it every client has every right, but only under the gateway's own host names.
	Auth streamhub.Authenticator
	// Origins are the web origins, besides the gateway's own, whose pages may call. Hosts are further host names of the
	// gateway, see [Hosts].
	Origins, Hosts []string
	// Cookie names a cookie that may hold the token; see [auth.CookieToken].
	Cookie string
	// Tickets sign and check tickets; without them the gate knows no tickets.
	Tickets auth.TicketKeys
	// Limits bound the requests in flight, and Connections the open connections; nil stands for the defaults.
	Limits      *Limits
	Connections *auth.Limits
	// Logger receives the reasons for which tokens are refused; the default discards it. Tokens are never logged.
	Logger *slog.Logger
	// AccessLog receives a line for each request and each connection that has ended; nil for none. A line holds no
	// query, header or body.
	AccessLog *slog.Logger
	// MeterProvider defaults to the global one of OpenTelemetry.
	MeterProvider metric.MeterProvider
}

// A Gate admits or refuses the requests and the connections of the transports. It is safe for concurrent use.
type Gate struct {
	verifier    streamhub.Authenticator
	cookie      string
	tickets     auth.TicketKeys // nil without tickets
	origins     *auth.Origins
	hosts       *Hosts
	limits      Limits
	waiting     *auth.Limiter // counts requests in flight
	connections *auth.Limiter
	bodies      *budget
	metrics     *metrics
	log         *slog.Logger
	access      *slog.Logger // nil without an access log
	strangers   *Sparse      // logs refused tokens, at a bounded rate
}

// New returns a gate, or an error if the options are invalid. It uses only the values of ctx.
func New(ctx context.Context, o *Options) (*Gate, error) {
	if o == nil {
		o = &Options{}
	}
	g := &Gate{verifier: o.Auth, cookie: o.Cookie, tickets: o.Tickets, connections: auth.NewLimiter(o.Connections), access: o.AccessLog, limits: o.Limits.withDefaults(), log: o.Logger}
	option.Logger(&g.log)
	g.strangers = NewSparse(g.log)
	var err error
	if g.origins, err = auth.NewOrigins(o.Origins); err != nil {
		return nil, err
	}
	if g.hosts, err = NewHosts(o.Origins, o.Hosts); err != nil {
		return nil, err
	}
	if g.metrics, err = newMetrics(context.WithoutCancel(ctx), o.MeterProvider); err != nil {
		return nil, err
	}
	g.waiting = auth.NewLimiter(&auth.Limits{
		Connections: g.limits.Requests, PerSubject: g.limits.RequestsPerSubject, PerIP: g.limits.RequestsPerIP,
		// Requests have no rate limit: only the number in flight counts.
		Handshakes: -1, HandshakesPerIP: -1,
	})
	g.bodies = newBudget(g.limits.BodyBytes, g.limits.BodyBytesPerSubject)
	return g, nil
}

// Open returns how many requests are in flight.
func (g *Gate) Open() int { return g.waiting.Open() }

// CheckOrigin returns an error for a request of a web page that may not use the gateway. If the gateway requires
// tokens, every page may call: a page cannot have the token of another user.
func (g *Gate) CheckOrigin(r *http.Request) error {
	if g.verifier != nil {
		return nil
	}
	err := g.origins.Check(r, false)
	if err != nil {
		g.refused(r, "origin")
	}
	return err
}

// Authorize returns the subject of a request that has a right, or an error of package streamhub. After this call the
// request ends when its token expires.
func (g *Gate) Authorize(r *http.Request, right streamhub.Right) (subject string, err error) {
	if g.verifier == nil {
		return "", nil
	}
	p := passOf(r)
	principal, err := p.identify(r, g)
	if err != nil {
		return "", err
	}
	if !principal.Allows(right) {
		g.refused(r, "permission")
		return "", auth.Denied(right)
	}
	return principal.Subject, nil
}

// AuthorizeAll returns an error unless the sender of a request may read, or write, everything in every store, like a
// token with the scope streamhub::*::*::*; see [Gate.Authorize].
func (g *Gate) AuthorizeAll(r *http.Request, write bool) error {
	if g.verifier == nil {
		return nil
	}
	principal, err := passOf(r).identify(r, g)
	if err != nil {
		return err
	}
	if !principal.AllowsAll(write) {
		g.refused(r, "permission")
		return fmt.Errorf("%w: this is about all stores, and wants a token with the scope streamhub::*::*::*", streamhub.ErrPermissionDenied)
	}
	return nil
}

func (g *Gate) refused(r *http.Request, reason string) {
	g.metrics.refused(r.Context(), passOf(r).transport, reason)
}

var errExpired = fmt.Errorf("%w: the token has expired", streamhub.ErrUnauthenticated)

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
	// Auth checks tokens. Without it everybody may do everything, under the gateway's own names.
	Auth streamhub.Authenticator
	// Origins are the web origins whose pages may call, besides the gateway's own; Hosts are further
	// names of the gateway, see [Hosts].
	Origins, Hosts []string
	// Cookie names a cookie that may hold the token; see [auth.CookieToken].
	Cookie string
	// Tickets sign and check tickets; without them there are none.
	Tickets auth.TicketKeys
	// Limits bound the requests that are under way, and Connections the connections; nil stands for the
	// defaults.
	Limits      *Limits
	Connections *auth.Limits
	// Logger gets why tokens are refused; the default discards it. Tokens are never logged.
	Logger *slog.Logger
	// AccessLog gets a line for each request and each connection that has ended; nil for none. A line holds
	// no query, header or body.
	AccessLog *slog.Logger
	// MeterProvider defaults to the global one of OpenTelemetry.
	MeterProvider metric.MeterProvider
}

// A Gate decides over the requests and the connections of the transports. It is safe for concurrent use.
type Gate struct {
	verifier    streamhub.Authenticator
	cookie      string
	tickets     auth.TicketKeys // nil for none
	origins     *auth.Origins
	hosts       *Hosts
	limits      Limits
	waiting     *auth.Limiter // requests
	connections *auth.Limiter
	bodies      *budget
	metrics     *metrics
	log         *slog.Logger
	access      *slog.Logger // nil for none
	strangers   *Sparse      // log about refused tokens
}

// New returns a gate, or an error that says what is wrong with the options. Of ctx only the values are
// used.
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
		// Requests have no rate: only those under way count.
		Handshakes: -1, HandshakesPerIP: -1,
	})
	g.bodies = newBudget(g.limits.BodyBytes, g.limits.BodyBytesPerSubject)
	return g, nil
}

// Open returns how many requests are under way.
func (g *Gate) Open() int { return g.waiting.Open() }

// CheckOrigin returns an error for a request of a web page that may not use the gateway. Where tokens
// are asked for no page has the token of another user, so every page may ask.
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

// Authorize says whether the sender of a request has a right, and who it is. The error is one of package
// streamhub. From here on the request ends when the token does.
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

// AuthorizeAll says whether the sender of a request may read, or write, everything in every store, as a
// token with the scope streamhub::*::*::* may; see [Gate.Authorize].
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

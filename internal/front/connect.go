package front

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// A Dialect describes a protocol over connections to the gate.
type Dialect struct {
	// Transport is the name of the protocol in metrics.
	Transport string
	// Later says that a client may authenticate in its first message instead of the handshake.
	Later bool
	// AnyLocalhost admits clients with the Origin http://localhost, which clients of this protocol always send.
	AnyLocalhost bool
	// Op is one operation of the protocol. Its metrics series exist from the start.
	Op string
	// Refusals are the reasons for which the protocol itself refuses clients, for metrics.
	Refusals []string
}

// A Guest is a connection that the gate has admitted.
type Guest struct {
	gate    *Gate
	dialect *Dialect
	request *http.Request // only for the access log
	// Principal is the client: nil if the gateway asks for no token, and [auth.Anonymous] before the client has
	// authenticated.
	Principal *auth.Principal
	releases  []func() // release the places that the guest takes in the limits; called by Leave
}

type gateKey struct{}

// Bring returns a copy of r that carries the gate, so that the transport uses the same one.
func (g *Gate) Bring(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), gateKey{}, g))
}

// Of returns the gate that a request came through, and g if it came through none.
func (g *Gate) Of(r *http.Request) *Gate {
	if other, ok := r.Context().Value(gateKey{}).(*Gate); ok {
		return other
	}
	return g
}

// errRefused is the error of a refused handshake, with the HTTP status and the text of the answer.
type errRefused struct {
	status int
	text   string
}

func (e *errRefused) Error() string { return e.text }

// statusOf returns the HTTP status for a refused handshake. An outage of Redis is the only reason for which the gate
// cannot decide.
func statusOf(err error) int {
	if refused := (*errRefused)(nil); errors.As(err, &refused) {
		return refused.status
	}
	return http.StatusServiceUnavailable
}

// Refuse answers a handshake that [Gate.Connect] has refused.
func Refuse(w http.ResponseWriter, err error) {
	refused := &errRefused{statusOf(err), "Service Unavailable"}
	errors.As(err, &refused)
	switch refused.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, refused.text, refused.status)
}

// Connect admits or refuses the handshake of a connection. The caller calls [Guest.Leave] when the connection has
// ended. The limits of the address are checked first, because that costs less than verifying a token.
func (g *Gate) Connect(r *http.Request, d *Dialect) (_ *Guest, err error) {
	begun := time.Now()
	guest := &Guest{gate: g, dialect: d, request: r}
	defer func() {
		if err != nil {
			guest.Leave()
			guest.logConnection(statusOf(err), time.Since(begun))
		}
	}()
	place, err := g.connections.Acquire(r, nil)
	if err != nil {
		g.metrics.refused(r.Context(), d.Transport, "limit")
		return nil, &errRefused{http.StatusTooManyRequests, "Too Many Requests"}
	}
	guest.releases = append(guest.releases, place)
	switch {
	case g.verifier == nil:
	case d.Later && !g.presents(r):
		guest.Principal = auth.Anonymous
	default:
		if guest.Principal, err = g.verify(r, d.Transport); errors.Is(err, streamhub.ErrUnauthenticated) {
			return nil, &errRefused{http.StatusUnauthorized, "Unauthorized"}
		}
		if err != nil {
			return nil, err
		}
	}
	if guest.Principal == nil || guest.Principal == auth.Anonymous {
		if g.origins.Check(r, d.AnyLocalhost) != nil {
			g.metrics.refused(r.Context(), d.Transport, "origin")
			return nil, &errRefused{http.StatusForbidden, "Forbidden"}
		}
		return guest, nil
	}
	leave, err := g.connections.AcquireSubject(guest.Principal)
	if err != nil {
		g.metrics.refused(r.Context(), d.Transport, "limit")
		return nil, &errRefused{http.StatusTooManyRequests, "Too Many Requests"}
	}
	guest.releases = append(guest.releases, leave)
	return guest, nil
}

// Leave releases the places of a guest in the limits.
func (g *Guest) Leave() {
	for _, release := range g.releases {
		release()
	}
}

// Replace verifies a token that is to replace the token of p on an open connection, and returns its principal. Calls
// for one guest must not be concurrent. The error is [streamhub.ErrUnauthenticated] or [streamhub.ErrLimitExceeded].
func (g *Guest) Replace(ctx context.Context, p *auth.Principal, token string) (*auth.Principal, error) {
	if g.gate.verifier == nil {
		return p, nil
	}
	next, err := auth.Identify(ctx, g.gate.verifier, token)
	if err == nil {
		err = p.Succeed(next)
	}
	if err != nil {
		return nil, g.gate.unproven(ctx, g.dialect.Transport, g.request, err)
	}
	// Any other p has the same subject, which was counted before.
	if p == auth.Anonymous {
		leave, err := g.gate.connections.AcquireSubject(next)
		if err != nil {
			g.gate.metrics.refused(ctx, g.dialect.Transport, "limit")
			return nil, fmt.Errorf("%w: connections of one subject", streamhub.ErrLimitExceeded)
		}
		g.releases = append(g.releases, leave)
	}
	g.Principal = next
	return next, nil
}

// Refused counts a refusal by the protocol itself.
func (g *Gate) Refused(ctx context.Context, d *Dialect, reason string) {
	g.metrics.refused(ctx, d.Transport, reason)
}

// A Load is the share of the byte budget that a message of a connection holds; bodies and messages share one budget. It
// begins with one holder, the goroutine that reads the message. The nil Load holds nothing.
type Load struct {
	gate *Gate
	// subject is the subject of the first Hold, so that the bytes are released from the budget from which they were
	// taken.
	subject string
	size    int // in bytes
	holders atomic.Int32
}

// holdPatience is how long a message waits for room in the budget.
const holdPatience = 5 * time.Second

// Hold grows l, which is nil at first, to size bytes, and waits for room in the budget if there is none. It is called
// by the goroutine that reads the message. The error is [streamhub.ErrLimitExceeded]. After an error the returned Load
// still holds its earlier size, until Done.
func (g *Guest) Hold(ctx context.Context, l *Load, size int) (*Load, error) {
	if l == nil {
		l = &Load{gate: g.gate, subject: g.Principal.CountedAs()}
		l.holders.Store(1)
	}
	if more := size - l.size; more > 0 {
		if !g.gate.bodies.await(ctx, l.subject, more, holdPatience) {
			g.gate.metrics.refused(ctx, g.dialect.Transport, "limit")
			return l, fmt.Errorf("%w: bytes of messages under way", streamhub.ErrLimitExceeded)
		}
		l.size = size
	}
	return l, nil
}

// Patience returns how long a message may take in all, after n bytes of it have arrived.
func (g *Guest) Patience(n int) time.Duration { return g.gate.limits.patience(n) }

// Share adds a holder, which must call Done too.
func (l *Load) Share() *Load {
	if l != nil {
		l.holders.Add(1)
	}
	return l
}

// Done is called once by each holder. The last one releases the bytes.
func (l *Load) Done() {
	if l != nil && l.holders.Add(-1) == 0 {
		l.gate.bodies.give(l.subject, l.size)
	}
}

// Opened counts a connection as open until closed is called.
func (g *Guest) Opened() (closed func()) {
	begun, counted := time.Now(), g.gate.metrics.opened(g.gate.metrics.ctx, g.dialect.Transport)
	return func() {
		counted()
		g.logConnection(http.StatusSwitchingProtocols, time.Since(begun))
	}
}

// Called counts a call on the connection that has ended. op is "" for a call that was not decoded. begun is zero for a
// call that lasts as long as a stream. err is an error of package streamhub, or nil.
func (g *Guest) Called(op string, err error, begun time.Time) {
	code := "ok"
	if err != nil {
		code = string(streamhub.CodeOf(err))
		if errors.Is(err, streamhub.ErrQuota) {
			g.gate.metrics.refused(g.gate.metrics.ctx, g.dialect.Transport, "quota")
		}
	}
	g.gate.metrics.called(g.dialect.Transport, op, code, begun)
}

// Serves creates the metrics series of a protocol, so that they exist before the first connection.
func (g *Gate) Serves(d *Dialect) {
	g.metrics.begin(d.Transport, d.Refusals...)
	g.metrics.requests.Add(g.metrics.ctx, 0, g.metrics.attributes(callKey{d.Transport, d.Op, "ok"}))
}

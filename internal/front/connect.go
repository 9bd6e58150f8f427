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

// A Dialect is what the gate has to know of a protocol over connections.
type Dialect struct {
	// Transport is its name in metrics.
	Transport string
	// Later says that a client may say who it is in its first message.
	Later bool
	// AnyLocalhost has its clients let in whose Origin is http://localhost: they always send that.
	AnyLocalhost bool
	// Op is one of its operations, whose series of metrics are there from the start.
	Op string
	// Refusals are what is refused besides what the gate does.
	Refusals []string
}

// A Guest is a connection that was let in.
type Guest struct {
	gate    *Gate
	dialect *Dialect
	request *http.Request // only for the log
	// Principal is the client: nil if the gateway asks for no token, and [auth.Anonymous] before the client has
	// authenticated.
	Principal *auth.Principal
	releases  []func() // of the places that it takes; Leave calls them
}

type gateKey struct{}

// Bring returns a request that tells the transport which gate it stands behind.
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

// errRefused is a handshake that is not let in: its status, and its text.
type errRefused struct {
	status int
	text   string
}

func (e *errRefused) Error() string { return e.text }

// statusOf is the status of a handshake that is refused. Only Redis can keep the gate from deciding.
func statusOf(err error) int {
	if refused := (*errRefused)(nil); errors.As(err, &refused) {
		return refused.status
	}
	return http.StatusServiceUnavailable
}

// Refuse answers a handshake that [Gate.Connect] did not let in.
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

// Connect decides over the handshake of a connection. The caller lets the guest leave when the connection has ended. The address
// is counted before anything else: to verify a token costs more than to count.
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

// Leave gives back the places of a guest.
func (g *Guest) Leave() {
	for _, release := range g.releases {
		release()
	}
}

// Replace returns who presents a token that is to take the place of the one of p, on an open connection
// of the guest. Calls for one guest are not made at once. The error is [streamhub.ErrUnauthenticated] or
// [streamhub.ErrLimitExceeded].
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
	// Any other p is the same subject, whose place was counted when it came.
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

// Refused counts a refusal of the dialect's own.
func (g *Gate) Refused(ctx context.Context, d *Dialect, reason string) {
	g.metrics.refused(ctx, d.Transport, reason)
}

// A Load is what a message of a connection holds of the room that bodies and messages have together. It
// begins with one holder, the goroutine that reads the message. The nil Load holds nothing.
type Load struct {
	gate *Gate
	// subject stays that of the first Hold, so that the room is given back where it was taken.
	subject string
	size    int // in bytes
	holders atomic.Int32
}

// holdPatience is how long a message waits for room.
const holdPatience = 5 * time.Second

// Hold makes l, nil at first, as large as size, and waits for room if there is none. It is called by the
// goroutine that reads the message. The error is [streamhub.ErrLimitExceeded]. The Load that comes with it still holds
// what it held before, until Done.
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

// Patience is how long a message may take after n bytes of it have come.
func (g *Guest) Patience(n int) time.Duration { return g.gate.limits.patience(n) }

// Share adds a holder, which calls Done as well.
func (l *Load) Share() *Load {
	if l != nil {
		l.holders.Add(1)
	}
	return l
}

// Done is called once by each holder. The last one gives the room back.
func (l *Load) Done() {
	if l != nil && l.holders.Add(-1) == 0 {
		l.gate.bodies.give(l.subject, l.size)
	}
}

// Opened counts a connection that is open, until what it returns is called.
func (g *Guest) Opened() (closed func()) {
	begun, counted := time.Now(), g.gate.metrics.opened(g.gate.metrics.ctx, g.dialect.Transport)
	return func() {
		counted()
		g.logConnection(http.StatusSwitchingProtocols, time.Since(begun))
	}
}

// Called counts a call over the connection that has ended. Op is "" for one that was not read. Begun is
// zero for one that lasts as a stream does. The error is one of package streamhub, or nil.
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

// Serves has the series of a dialect there before anything happens.
func (g *Gate) Serves(d *Dialect) {
	g.metrics.begin(d.Transport, d.Refusals...)
	g.metrics.requests.Add(g.metrics.ctx, 0, g.metrics.attributes(callKey{d.Transport, d.Op, "ok"}))
}

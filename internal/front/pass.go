package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
)

// A pass is one request that passes through a gate: its principal, its expiry, and the limits that it uses.
type pass struct {
	gate      *Gate
	transport string
	control   *http.ResponseController
	cancel    context.CancelCauseFunc

	// mu guards the fields below: the timer and the handler run concurrently.
	mu        sync.Mutex
	principal *auth.Principal // nil until the token was verified
	timer     *time.Timer     // ends the request when its token expires
	expired   bool
	slow      bool   // the body did not arrive in time
	release   func() // releases the place of the subject
	subject   string // the subject for which the bytes of the body count
	held      int
}

type passKey struct{}

// outside is the pass of a request that did not go through a gate.
var outside = &pass{transport: "none"}

func passOf(r *http.Request) *pass {
	if p, ok := r.Context().Value(passKey{}).(*pass); ok {
		return p
	}
	return outside
}

// identify returns the principal of the request. It verifies the token only once.
func (p *pass) identify(r *http.Request, g *Gate) (*auth.Principal, error) {
	if p == outside {
		return g.verify(r, p.transport)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.principal != nil {
		return p.principal, nil
	}
	principal, err := g.verify(r, p.transport)
	if err != nil {
		return nil, err
	}
	release, err := g.waiting.AcquireSubject(principal)
	if err != nil {
		g.refused(r, "limit")
		return nil, fmt.Errorf("%w: %w", streamhub.ErrLimitExceeded, err)
	}
	p.principal, p.release = principal, release
	p.subject = principal.CountedAs()
	if !principal.Expires.IsZero() {
		p.timer = time.AfterFunc(time.Until(principal.Expires), p.expire)
	}
	return principal, nil
}

// expire ends the request when its token expires: it cancels the context, and makes reads of the body fail.
func (p *pass) expire() {
	p.mu.Lock()
	// Set before the deadline below: a Read that the deadline ends checks expired for the reason.
	p.expired = true
	p.mu.Unlock()
	p.cancel(errExpired)
	_ = p.control.SetReadDeadline(time.Now())
}

func (p *pass) hasExpired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expired
}

// giveBack releases everything that the request used. It returns the HTTP status if the gate has ended the request, and
// 0 otherwise.
func (p *pass) giveBack() (status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.release != nil {
		p.release()
	}
	p.gate.bodies.give(p.subject, p.held)
	p.held = 0
	switch {
	case p.expired:
		return http.StatusUnauthorized
	case p.slow:
		return http.StatusRequestTimeout
	}
	return 0
}

// A body is the body of a request, with a time limit and a byte budget.
type body struct {
	io.ReadCloser
	pass  *pass
	start time.Time
	read  int
	// open is set for a body that streams: it may last as long as the sender wants, and does not count against the
	// budget.
	open bool
}

// codeTimeout is the code for a body that did not arrive in time.
const codeTimeout = streamhub.Code("timeout")

// errSlow is the error of a body that does not arrive in time. Transports answer 408.
var errSlow = fmt.Errorf("%w: the body comes too slowly", os.ErrDeadlineExceeded)

func (b *body) Read(data []byte) (int, error) {
	p := b.pass
	if !b.open {
		// The deadline is set before expired is checked. expire sets expired before it sets its own deadline. So either
		// this Read sees expired, or the deadline of expire is the last one.
		_ = p.control.SetReadDeadline(b.start.Add(p.gate.limits.patience(b.read)))
	}
	if p.hasExpired() {
		return 0, errExpired
	}
	n, err := b.ReadCloser.Read(data)
	b.read += n
	if err == io.EOF && !b.open {
		_ = p.control.SetReadDeadline(time.Time{}) // the deadline bounds the body, not the response
	}
	if err != nil && p.hasExpired() {
		return n, errExpired
	}
	if !b.open && n > 0 && !p.hold(n) {
		p.gate.metrics.refused(p.gate.metrics.ctx, p.transport, "limit")
		return 0, fmt.Errorf("%w: bytes of bodies under way", streamhub.ErrLimitExceeded)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !b.open {
		p.mu.Lock()
		p.slow = true
		p.mu.Unlock()
		err = errSlow
	}
	return n, err
}

// leavePatience is how long the unread rest of a body may take to arrive after its handler has returned.
const leavePatience = time.Second

// LeaveBody is called when the handler of a request has returned. Package net/http reads a short rest of the body
// before it sends the response. Without a deadline a client that does not send the rest would keep its connection
// beyond every limit.
func LeaveBody(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leavePatience))
	}
}

// hold takes n bytes of the body from the budget.
func (p *pass) hold(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gate.bodies.take(p.subject, n) {
		return false
	}
	p.held += n
	return true
}

// A writer records the status and the size of a response.
type writer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(data)
	w.bytes += int64(n)
	return n, err
}

// code returns the status of the response.
func (w *writer) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Ways describe how the requests of a transport differ from others. The zero value means that they do not.
type Ways struct {
	// Endless reports whether the body of a request streams for as long as the sender wants.
	Endless func(*http.Request) bool
	// Busy answers a request over a limit whose client would take 429 as final. It reports whether it has answered.
	Busy func(http.ResponseWriter, *http.Request) bool
}

// Wrap returns a handler that lets the requests of a transport through the gate: it counts them, bounds them and their
// bodies, and ends them with their token. The transport itself calls [Gate.CheckOrigin] and [Gate.Authorize], because
// only it knows which right a request needs.
func (g *Gate) Wrap(transport string, next http.Handler, ways Ways) http.Handler {
	g.metrics.beginHTTP(transport)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		runtime.Gosched() // a client that sends requests without pause takes turns with the others
		start := time.Now()
		w := &writer{ResponseWriter: rw}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		p := &pass{gate: g, transport: transport, control: http.NewResponseController(rw), cancel: cancel}
		r = r.WithContext(context.WithValue(ctx, passKey{}, p))
		defer func() {
			took := time.Since(start)
			g.metrics.ended(ctx, transport, r.Method, w, took)
			g.logRequest(p, r, w, took)
		}()
		release, err := g.waiting.Acquire(r, nil)
		if err != nil {
			g.refused(r, "limit")
			w.Header().Set("Connection", "close")
			if ways.Busy != nil && ways.Busy(w, r) {
				return
			}
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusTooManyRequests, streamhub.CodeOf(streamhub.ErrLimitExceeded), "too many requests")
			return
		}
		defer release()
		defer g.metrics.opened(ctx, transport)()
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &body{ReadCloser: r.Body, pass: p, start: start, open: ways.Endless != nil && ways.Endless(r)}
		}
		// finished stays false if the handler panics. Package net/http then closes the connection, so that no client
		// takes a partial response for a complete one.
		finished := false
		defer func() {
			status := p.giveBack()
			if finished && w.status == 0 {
				answerEnded(w, status, ctx.Err() != nil)
			}
		}()
		next.ServeHTTP(w, r)
		finished = true
	})
}

// answerEnded answers a request that the gate has ended, if status is not 0, or whose client gave up. A transport whose
// context has ended assumes that its client is gone and may not answer. A client that has closed only its own direction
// of the connection would then receive 200.
func answerEnded(w http.ResponseWriter, status int, gaveUp bool) {
	code, message := codeTimeout, strings.ToLower(http.StatusText(status))
	switch {
	case status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
		code = streamhub.CodeOf(streamhub.ErrUnauthenticated)
	case status != 0:
	case gaveUp:
		status, code, message = httpstatus.GivenUp, streamhub.CodeOf(context.Canceled), "the client gave up before the answer"
	default:
		return
	}
	w.Header().Set("Connection", "close")
	answer(w, status, code, message)
}

// answer answers a request that the gate refuses or ends.
func answer(w http.ResponseWriter, status int, code streamhub.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": string(code), "message": message}) // an error means that the client is gone
}

// Hosts wraps next so that it answers only under the gateway's own host names, unless the gateway requires tokens; see
// [Hosts.Wrap].
func (g *Gate) Hosts(next http.Handler) http.Handler {
	if g.verifier != nil {
		return next
	}
	return g.hosts.Wrap(next)
}

package wsgateway

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// Close codes besides those of RFC 6455.
const (
	closeUnauthorized = websocket.StatusCode(4401)
	closeExhausted    = websocket.StatusCode(4429)
)

// A Gateway serves a hub over WebSocket. It is safe for concurrent use.
type Gateway struct {
	hub     *hub.Hub
	opt     Options
	origins *auth.Origins
	limiter *auth.Limiter
	metrics *metrics
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	// steady is for writes: to watch a context that can end costs more than the rest of a write.
	// Closing the connection ends it too, and every end of a link does.
	steady context.Context

	mu       sync.Mutex
	links    map[*link]struct{}
	workers  map[workerKey]*muxChannel
	draining bool
	empty    chan struct{} // closed when draining and the last link is gone
}

// New makes a gateway to h, which stays the caller's. Close it before h.
func New(ctx context.Context, h *hub.Hub, o *Options) (*Gateway, error) {
	g := &Gateway{hub: h, opt: o.withDefaults(), links: map[*link]struct{}{}, workers: map[workerKey]*muxChannel{}, empty: make(chan struct{})}
	g.limiter = auth.NewLimiter((*auth.Limits)(g.opt.Limits))
	var err error
	if g.origins, err = auth.NewOrigins(g.opt.Origins); err != nil {
		return nil, err
	}
	if g.metrics, err = newMetrics(context.WithoutCancel(ctx), g.opt.MeterProvider); err != nil {
		return nil, err
	}
	g.steady = context.WithoutCancel(ctx)
	g.ctx, g.cancel = context.WithCancel(g.steady)
	g.tasks.Go(g.watch)
	return g, nil
}

// ServeHTTP makes a connection and returns: the connection has a goroutine of the gateway, whose
// stack is smaller than that of the handshake.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked []string
	for _, header := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(header, ",") {
			asked = append(asked, strings.TrimSpace(name))
		}
	}
	ours := slices.Contains(asked, wire.Subprotocol)
	switch {
	case g.Draining():
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the gateway is stopping", http.StatusServiceUnavailable)
		return
	case len(asked) > 0 && !ours:
		g.metrics.refused(r.Context(), ours, "protocol")
		http.Error(w, "the only subprotocol is "+wire.Subprotocol, http.StatusBadRequest)
		return
	}
	principal, expires, release, err := g.enter(r, ours)
	switch {
	case errors.Is(err, auth.ErrForbiddenOrigin):
		g.metrics.refused(r.Context(), ours, "origin")
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	case errors.Is(err, auth.ErrTooMany):
		g.metrics.refused(r.Context(), ours, "limit")
		w.Header().Set("Retry-After", "1")
		http.Error(w, "Too Many Requests", http.StatusTooManyRequests)
		return
	case err != nil:
		g.metrics.refused(r.Context(), ours, "token")
		g.opt.Logger.Info("a token was refused", "remote", r.RemoteAddr, "error", err)
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	g.accept(w, r, ours, principal, expires, release)
}

// enter says who the client is and until when, and counts its connection until release is called. The
// address is counted first: to verify a token costs more than to count.
func (g *Gateway) enter(r *http.Request, ours bool) (principal *auth.Principal, expires time.Time, release func(), err error) {
	place, err := g.limiter.Acquire(r, nil)
	if err != nil {
		return nil, expires, nil, err
	}
	leave := func() {}
	if principal, expires, err = g.admit(r, ours); err == nil {
		leave, err = g.limiter.AcquireSubject(principal)
	}
	if err != nil {
		place()
		return nil, expires, nil, err
	}
	return principal, expires, func() { place(); leave() }, nil
}

// accept makes a connection of a handshake that has a place. release gives the place back; whatever
// happens here, it is called, unless the connection's own goroutine has taken it over.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request, ours bool, principal *auth.Principal, expires time.Time, release func()) {
	serving := false
	defer func() {
		if !serving {
			release()
		}
	}()
	// The origin was checked where the token is known.
	accept := &websocket.AcceptOptions{InsecureSkipVerify: true}
	if ours {
		accept.Subprotocols = []string{wire.Subprotocol}
	}
	socket := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(socket, r, accept)
	if err != nil {
		g.metrics.refused(r.Context(), ours, "protocol")
		return // it has answered
	}
	l := newLink(g, ws, socket.conn, principal, expires)
	l.ours = ours
	// Whole before others see it.
	var d dialect
	if ours {
		ws.SetReadLimit(g.opt.MaxMessageBytes)
		d = newConn(l)
	} else {
		d = newMuxer(l)
	}
	if !g.add(l) {
		l.end()
		_ = ws.CloseNow()
		return
	}
	serving = true
	go g.serve(l, d, release)
}

// A hijacked keeps the connection of a handshake: a close handshake has no limit of its own while the
// client is in the middle of a frame.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// A dialect serves a connection.
type dialect interface{ serve() }

// serve serves a connection until it ends. Shutdown waits for it.
func (g *Gateway) serve(l *link, d dialect, release func()) {
	defer g.remove(l)
	defer release()
	defer func() { _ = l.ws.CloseNow() }()
	d.serve()
}

// firstMessage is how long a client of ours may take to say who it is, if its handshake did not.
const firstMessage = 5 * time.Second

// admit says who the client is and until when.
func (g *Gateway) admit(r *http.Request, ours bool) (p *auth.Principal, expires time.Time, err error) {
	token := auth.Token(r, g.opt.Cookie)
	if g.opt.Auth != nil && (token != "" || !ours) {
		if p, err = auth.Identify(r.Context(), g.opt.Auth, token); err != nil {
			return nil, expires, err
		}
		if ours || g.opt.CloseExpiredStreamkit {
			expires = p.Expires
		}
	} else if g.opt.Auth != nil {
		p, expires = auth.Anonymous, time.Now().Add(firstMessage)
	}
	if p == nil || p == auth.Anonymous {
		err = g.origins.Check(r, !ours)
	}
	return p, expires, err
}

// add is false when the gateway is draining.
func (g *Gateway) add(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return false
	}
	g.links[l] = struct{}{}
	g.metrics.connections.Add(g.ctx, 1)
	g.metrics.opened(g.ctx, l.ours, 1)
	return true
}

func (g *Gateway) remove(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.links, l)
	g.metrics.connections.Add(g.ctx, -1)
	g.metrics.opened(g.ctx, l.ours, -1)
	if g.draining && len(g.links) == 0 {
		close(g.empty)
	}
}

// Draining reports whether [Gateway.Shutdown] was called: new connections are refused.
func (g *Gateway) Draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}

// Shutdown lets no one in any more, ends readers with the cursor to go on from, waits for what is
// being stored and closes the connections. What is left when ctx ends is cut off. It waits for
// every goroutine of the gateway and may be called twice.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	first := !g.draining
	g.draining = true
	all := make([]*link, 0, len(g.links))
	for l := range g.links {
		all = append(all, l)
	}
	if first && len(all) == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	for _, l := range all {
		l.drain()
	}
	var err error
	select {
	case <-g.empty:
	case <-ctx.Done():
		err = ctx.Err()
		for _, l := range all {
			l.fail(websocket.StatusServiceRestart, "the gateway is stopping")
			l.cut()
		}
		<-g.empty
	}
	g.cancel()
	g.tasks.Wait()
	return err
}

// watch serves all connections once a second: one timer for all of them.
func (g *Gateway) watch() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			g.mu.Lock()
			all := make([]*link, 0, len(g.links))
			for l := range g.links {
				all = append(all, l)
			}
			g.mu.Unlock()
			for _, l := range all {
				l.tick(now)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

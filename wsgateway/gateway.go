package wsgateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/front"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// Close codes besides those of RFC 6455, which leaves 4000 to 4999 to applications. The last three digits are the HTTP
// status with the same meaning.
const (
	closeUnauthorized = websocket.StatusCode(4401)
	closeExhausted    = websocket.StatusCode(4429)
)

// A Gateway serves a hub over WebSocket. It is safe for concurrent use.
type Gateway struct {
	hub     *hub.Hub
	opt     Options
	gate    *front.Gate // used for handshakes that did not pass the gate of package server
	metrics *metrics
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup

	// mu guards the fields below.
	mu    sync.Mutex
	conns map[*baseConn]struct{}
	// workers has the open streams of streamkit workers. A worker that connects again ends its earlier stream.
	workers  map[workerKey]*muxChannel
	draining bool
	empty    chan struct{} // closed when draining and the last connection is gone
}

// New makes a gateway to h, which stays the caller's. The gateway runs until [Gateway.Shutdown], which must be called
// before h is closed; the end of ctx does not stop it.
func New(ctx context.Context, h *hub.Hub, o *Options) (*Gateway, error) {
	g := &Gateway{hub: h, opt: o.withDefaults(), conns: map[*baseConn]struct{}{}, workers: map[workerKey]*muxChannel{}, empty: make(chan struct{})}
	var err error
	g.gate, err = front.New(ctx, &front.Options{
		Auth: g.opt.Auth, Origins: g.opt.Origins, Cookie: g.opt.Cookie, Connections: (*auth.Limits)(g.opt.Limits),
		Logger: g.opt.Logger, MeterProvider: g.opt.MeterProvider,
	})
	if err != nil {
		return nil, err
	}
	g.gate.Serves(&ours)
	g.gate.Serves(&streamkit)
	if g.metrics, err = newMetrics(context.WithoutCancel(ctx), g.opt.MeterProvider); err != nil {
		return nil, err
	}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.tasks.Go(g.watch)
	return g, nil
}

// ours is the protocol of this project, and streamkit the one of streamkit clients.
var (
	ours      = front.Dialect{Transport: "websocket", Later: true, Op: "append", Refusals: []string{"protocol"}}
	streamkit = front.Dialect{Transport: "streamkit", AnyLocalhost: true, Op: "produce", Refusals: []string{"protocol"}}
)

// ServeHTTP accepts a connection and returns. The connection runs in another goroutine, because the
// stack of the handshake is large and would stay.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gate := g.gate.Of(r)
	var asked []string
	for _, header := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(header, ",") {
			asked = append(asked, strings.TrimSpace(name))
		}
	}
	d := &streamkit
	if slices.Contains(asked, wire.Subprotocol) {
		d = &ours
	}
	switch {
	case g.Draining():
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the gateway is stopping", http.StatusServiceUnavailable)
		return
	case len(asked) > 0 && d != &ours:
		gate.Refused(r.Context(), d, "protocol")
		http.Error(w, "the only subprotocol is "+wire.Subprotocol, http.StatusBadRequest)
		return
	}
	guest, err := gate.Connect(r, d)
	if err != nil {
		front.Refuse(w, err)
		return
	}
	if !g.accept(w, r, d, guest) {
		guest.Leave()
	}
}

// firstMessage is how long a streamhub.v1 client whose handshake had no token may take to authenticate.
const firstMessage = 5 * time.Second

// until returns when the connection of a guest ends unless its token is renewed; the zero Time means never.
func (g *Gateway) until(d *front.Dialect, guest *front.Guest) time.Time {
	switch p := guest.Principal; {
	case p == auth.Anonymous:
		return time.Now().Add(firstMessage)
	case p != nil && (d == &ours || g.opt.CloseExpiredStreamkit):
		return p.Expires
	}
	return time.Time{}
}

// accept upgrades the request of a guest to a connection. If it returns true, the goroutine of the connection calls
// guest.Leave.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request, d *front.Dialect, guest *front.Guest) bool {
	l, err := g.upgrade(w, r, d, guest)
	if err != nil {
		g.gate.Of(r).Refused(r.Context(), d, "protocol")
		return false // the handshake was answered with an error
	}
	// The dialect is complete before other goroutines see the connection.
	var served dialect
	if d == &ours {
		l.ws.SetReadLimit(g.opt.MaxMessageBytes)
		served = newConn(l)
	} else {
		served = newMuxer(l)
	}
	if !g.add(l) {
		l.end()
		_ = l.ws.CloseNow()
		return false
	}
	go g.serve(l, served)
	return true
}

// upgrade makes the WebSocket handshake and sets up the connection.
func (g *Gateway) upgrade(w http.ResponseWriter, r *http.Request, d *front.Dialect, guest *front.Guest) (*baseConn, error) {
	// The gate has checked the origin, which depends on the token.
	accept := &websocket.AcceptOptions{InsecureSkipVerify: true}
	if d == &ours {
		accept.Subprotocols = []string{wire.Subprotocol}
	}
	socket := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(socket, r, accept)
	if err != nil {
		return nil, err
	}
	l := newBaseConn(g, ws, socket.incoming, guest, g.until(d, guest))
	socket.control.Reset(&l.out)
	return l, nil
}

// A dialect serves a connection in one of the two protocols.
type dialect interface{ serve() }

// serve serves a connection until it ends. Shutdown waits for it.
func (g *Gateway) serve(l *baseConn, d dialect) {
	// remove runs last: Shutdown takes a removed connection for one that has ended.
	defer g.remove(l)
	defer l.guest.Leave()
	defer l.guest.Opened()()
	defer func() { _ = l.ws.CloseNow() }()
	d.serve()
}

// add registers a connection. It returns false if the gateway is draining.
func (g *Gateway) add(l *baseConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return false
	}
	g.conns[l] = struct{}{}
	g.metrics.connections.Add(g.ctx, 1)
	return true
}

func (g *Gateway) remove(l *baseConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, l)
	g.metrics.connections.Add(g.ctx, -1)
	if g.draining && len(g.conns) == 0 {
		close(g.empty)
	}
}

// Connections returns how many connections are open.
func (g *Gateway) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Draining reports whether [Gateway.Shutdown] was called: new connections are refused.
func (g *Gateway) Draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}

// Shutdown refuses new connections, ends readers with the cursor to resume from, waits for appends in flight and closes
// the connections. When ctx ends it closes the remaining connections at once. It waits for every goroutine of the
// gateway and may be called twice.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	first := !g.draining
	g.draining = true
	all := make([]*baseConn, 0, len(g.conns))
	for l := range g.conns {
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
			l.closeNow()
		}
		<-g.empty
	}
	g.cancel()
	g.tasks.Wait()
	return err
}

// watch calls tick on all connections once a second, with one timer for all.
func (g *Gateway) watch() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			g.mu.Lock()
			all := make([]*baseConn, 0, len(g.conns))
			for l := range g.conns {
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

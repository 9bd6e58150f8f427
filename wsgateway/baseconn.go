package wsgateway

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/front"
)

// A baseConn is the common part of the connections of both dialects: the principal, the expiry and the outbox. The
// ticker of the Gateway calls tick, and the reader goroutine of the dialect calls read. Any goroutine may call fail and
// closeNow.
type baseConn struct {
	g      *Gateway
	guest  *front.Guest
	ws     *websocket.Conn
	in     *incoming // below ws, which reads and closes it
	socket net.Conn  // below in; out writes to it
	out    outbox
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	load     *front.Load // holds the size of the message that is read or handled; used by the reader goroutine only
	unproven int         // bytes that an unauthenticated client may still send; used by the reader goroutine only

	heard   atomic.Int64 // when the last frame arrived, in Unix nanoseconds
	pinging atomic.Bool
	// Set by the dialect before it serves: drained ends readers; probe is called with the time since
	// the last frame.
	drained func()
	probe   func(silence time.Duration)

	// mu guards the fields below.
	mu sync.Mutex
	// principal is nil if the gateway requires no token, and auth.Anonymous until the client has authenticated.
	principal   *auth.Principal
	expires     time.Time // zero for never
	leaving     bool      // a task closes the connection
	noMoreTasks bool      // no goroutine may be started any more
}

func newBaseConn(g *Gateway, ws *websocket.Conn, in *incoming, guest *front.Guest, expires time.Time) *baseConn {
	l := &baseConn{g: g, guest: guest, ws: ws, in: in, socket: in.Conn, principal: guest.Principal, expires: expires, drained: func() {}, unproven: unprovenBytes}
	l.probe = l.pingAfter
	l.ctx, l.cancel = context.WithCancel(g.ctx)
	l.out.init(l)
	l.heard.Store(time.Now().UnixNano())
	return l
}

const (
	// unprovenBytes is how many bytes a client may send before it has authenticated. Each message counts messageCost
	// bytes in addition to its length.
	unprovenBytes = 16 << 10
	messageCost   = 64
)

var errUnproven = errors.New("more than 16 KiB were sent before a token")

// handled releases the memory that the last message counts for, except for the shares of calls that still use it.
func (l *baseConn) handled() {
	l.load.Done()
	l.load = nil
}

// read returns the next message. After an error the connection is unusable. The read limit of an unauthenticated client
// is small: it comes from a budget that every message reduces.
func (l *baseConn) read() (websocket.MessageType, []byte, error) {
	l.handled()
	if l.closing() {
		return 0, nil, context.Canceled // fail reads the rest
	}
	nobody := l.anonymous()
	if nobody {
		// The rest of the budget is the read limit, so a larger message is not read to its end.
		l.ws.SetReadLimit(int64(l.unproven))
	}
	typ, data, err := l.message()
	if nobody && err == nil {
		if l.unproven -= len(data) + messageCost; l.unproven < 0 {
			l.fail(websocket.StatusMessageTooBig, errUnproven.Error())
			return 0, nil, errUnproven
		}
	}
	if err == nil {
		l.heard.Store(time.Now().UnixNano())
		l.g.metrics.received(l.ctx, len(data))
	}
	return typ, data, err
}

// smallMessage is the size in bytes up to which a message is not counted against the limits.
const smallMessage = 64 << 10

// message reads a message. A message above smallMessage counts against the limits of the subject as it grows. It must
// arrive within a time that grows with the bytes received.
func (l *baseConn) message() (websocket.MessageType, []byte, error) {
	typ, r, err := l.ws.Reader(l.ctx)
	if err != nil {
		return typ, nil, err
	}
	var late *time.Timer
	begun, data := time.Now(), make([]byte, 0, 512)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case errors.Is(err, io.EOF):
			if late != nil && !late.Stop() {
				return typ, nil, errLate
			}
			return typ, data, nil
		case err != nil:
			return typ, nil, err
		}
		if len(data) > smallMessage {
			if l.load, err = l.guest.Hold(l.ctx, l.load, cap(data)); err != nil {
				l.fail(websocket.StatusTryAgainLater, "too many bytes of messages are under way")
				return typ, nil, err
			}
			patience := time.Until(begun.Add(l.guest.Patience(len(data))))
			if late == nil {
				late = time.AfterFunc(patience, func() { l.fail(websocket.StatusPolicyViolation, errLate.Error()) })
				defer late.Stop()
			} else {
				late.Reset(patience)
			}
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

var errLate = errors.New("the message comes too slowly")

// start runs f in a goroutine of the connection, which end waits for. It returns false if the connection has ended.
func (l *baseConn) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noMoreTasks {
		return false
	}
	l.tasks.Go(f)
	return true
}

// end marks the connection as ended, ends all waits for the outbox, and waits for the goroutines of the connection.
func (l *baseConn) end() {
	l.mu.Lock()
	l.noMoreTasks = true
	leaving := l.leaving
	l.mu.Unlock()
	l.cancel()
	// The goroutines include calls that wait for room in the outbox.
	l.out.fail(context.Canceled)
	if !leaving { // nothing else would end a blocked write
		_ = l.ws.CloseNow()
	}
	l.tasks.Wait()
}

// closeNow ends the connection at once, without a close frame.
func (l *baseConn) closeNow() { _ = l.in.Close() }

const (
	// goodbye is how long a client may take to answer the close frame; unprovenGoodbye is that time for an
	// unauthenticated client. The gateway drops the data that arrives meanwhile; see incoming.
	goodbye         = 5 * time.Second
	unprovenGoodbye = time.Second
)

// fail closes the connection with a code. It does not wait, because the close handshake may take long: the outbox may
// be full, and the client must answer. Only the first call counts.
func (l *baseConn) fail(code websocket.StatusCode, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving || l.noMoreTasks {
		return
	}
	l.leaving = true
	l.in.leave()
	l.g.metrics.closed(l.ctx, int(code))
	patience := goodbye
	if l.principal == auth.Anonymous {
		patience = unprovenGoodbye
	}
	l.tasks.Go(func() { // in a goroutine, because a client that reads nothing blocks the close frame
		defer time.AfterFunc(patience, l.closeNow).Stop()
		_ = l.ws.Close(code, reason)
		l.cancel()
	})
}

// Allows reports whether the client has a right at this moment; see [auth.Principal].
func (l *baseConn) Allows(right streamhub.Right) bool {
	l.mu.Lock()
	p := l.principal
	l.mu.Unlock()
	return !auth.Reserved(right.Store) && (p == nil || p.Allows(right))
}

// closing reports whether the connection has ended or is being closed, so that no further message is handled.
func (l *baseConn) closing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaving || l.noMoreTasks
}

// anonymous reports whether the client has yet to authenticate.
func (l *baseConn) anonymous() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.principal == auth.Anonymous
}

// traced returns the context of the connection with the trace that a client has sent, if any.
func (l *baseConn) traced(carried map[string]string) context.Context {
	if len(carried) == 0 {
		return l.ctx
	}
	p := l.g.opt.Propagator
	if p == nil {
		p = otel.GetTextMapPropagator()
	}
	return p.Extract(l.ctx, propagation.MapCarrier(carried))
}

// renew takes a new token for the connection. Only the goroutine that reads calls it, so the
// principal does not change between the two locks.
func (l *baseConn) renew(token string) error {
	l.mu.Lock()
	had := l.principal
	l.mu.Unlock()
	p, err := l.guest.Replace(l.ctx, had, token)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.principal = p; p != nil {
		l.expires = p.Expires
	}
	return nil
}

// tick is called about once a second, for every connection. It ends a connection whose token has expired or whose
// client does not read, and probes a silent one.
func (l *baseConn) tick(now time.Time) {
	l.mu.Lock()
	expired, why := !l.expires.IsZero() && now.After(l.expires), "the token has expired"
	if l.principal == auth.Anonymous {
		why = "no token came in time"
	}
	l.mu.Unlock()
	opt := &l.g.opt
	stuck, writing := l.out.stuck(now)
	switch {
	case expired:
		l.fail(closeUnauthorized, why)
	case stuck > opt.WriteTimeout:
		l.g.metrics.closed(l.ctx, int(websocket.StatusPolicyViolation))
		l.closeNow() // a close frame would wait in the queue that is stuck
	case !writing:
		l.probe(now.Sub(time.Unix(0, l.heard.Load())))
	}
}

// pingAfter pings a connection that was silent for longer than PingInterval.
func (l *baseConn) pingAfter(silence time.Duration) {
	if silence > l.g.opt.PingInterval && l.pinging.CompareAndSwap(false, true) {
		l.start(l.ping)
	}
}

// ping closes the connection if no pong arrives, unless a write is in progress: the ping may then still be queued, and
// the write timeout decides.
func (l *baseConn) ping() {
	defer l.pinging.Store(false)
	ctx, cancel := context.WithTimeout(l.ctx, l.g.opt.PongTimeout)
	defer cancel()
	if err := l.ws.Ping(ctx); err != nil {
		if _, writing := l.out.stuck(time.Now()); !writing {
			l.closeNow()
		}
		return
	}
	l.heard.Store(time.Now().UnixNano())
}

// drain ends readers and then the connection.
func (l *baseConn) drain() {
	l.start(func() {
		l.drained()
		l.out.wait()
		l.fail(websocket.StatusServiceRestart, "the gateway is stopping")
	})
}

package client

import (
	"context"
	"errors"
	"sync"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/session"
)

// errLost is why calls end whose connection does.
var errLost = errors.New("the connection to the gateway was lost")

// A connection is one WebSocket with all calls on it. After it was lost, or its gateway said that it
// stops, it takes no new calls: these go over another one.
type connection struct {
	p      *WebSocketProvider
	conn   *session.Conn
	ctx    context.Context
	cancel context.CancelCauseFunc // with why the connection was lost
	token  string                  // that the gateway has taken last; guarded by WebSocketProvider.mu

	// writing is held while a message is written, so that channels are opened in order. It is taken before mu.
	writing sync.Mutex

	// mu guards the fields below.
	mu sync.Mutex
	// calls holds the open calls by channel; last is the highest channel opened so far.
	calls map[uint64]*call
	last  uint64
	// auths are the calls of auth that have no answer yet. Answers come in the order of the
	// questions. Each channel has a place, so that the reader never waits.
	auths []chan error
}

func newConnection(p *WebSocketProvider, conn *session.Conn, token string) *connection {
	l := &connection{p: p, conn: conn, token: token, calls: map[uint64]*call{}}
	l.ctx, l.cancel = context.WithCancelCause(p.ctx)
	return l
}

// A call is one channel: a request, then items, then the end. The goroutine of the caller takes what
// the goroutine of the connection receives.
type call struct {
	l  *connection
	id uint64
	// signal has a place for one: something was received.
	signal chan struct{}

	// mu guards queue and end. unpaid belongs to the caller's goroutine.
	mu     sync.Mutex
	queue  [][]byte // bodies of items
	end    *wire.End
	unpaid int64 // bytes that were handled and not credited
}

// lose ends the connection and every call on it. New calls go over another connection. The context ends first: calls
// that notice find the cause there.
func (l *connection) lose(cause error) {
	l.cancel(cause)
	_, expired := unauthorized(cause)
	l.p.lost(l, expired)
	l.conn.Reset()
}

// read passes on what comes until the connection ends. It serves all calls, so nothing in it waits for one of them.
func (l *connection) read() {
	for {
		data, err := l.conn.Receive(l.ctx)
		if err == nil {
			err = l.handle(data)
		}
		if err != nil {
			l.lose(err)
			return
		}
	}
}

// handle passes on the messages of one WebSocket message. A message for an unknown channel is
// dropped: its caller has left.
func (l *connection) handle(data []byte) error {
	for m, err := range wire.Messages(data) {
		if err != nil {
			return err
		}
		switch m.Type {
		case wire.TypeItems:
			l.mu.Lock()
			c := l.calls[m.Channel]
			l.mu.Unlock()
			if c != nil {
				c.receive(m.Body, nil)
			}
		case wire.TypeEnd:
			end, err := wire.DecodeEnd(m.Body)
			if err != nil {
				return err
			}
			l.mu.Lock()
			c := l.calls[m.Channel]
			delete(l.calls, m.Channel)
			l.mu.Unlock()
			if c != nil {
				c.receive(nil, end)
			}
		case wire.TypeAuthResult:
			end, err := wire.DecodeEnd(m.Body)
			if err != nil {
				return err
			}
			l.mu.Lock()
			if len(l.auths) > 0 {
				l.auths[0] <- end.Err
				l.auths = l.auths[1:]
			}
			l.mu.Unlock()
		case wire.TypeGoAway:
			l.p.lost(l, false) // open calls end by themselves; new ones use another connection
		}
	}
	return nil
}

// write sends one WebSocket message. If that fails, or takes longer than the wait for a pong, the
// connection is given up: half a message cannot be taken back.
func (l *connection) write(message []byte) error {
	if err := l.conn.SendBinary(message); err != nil {
		l.lose(err)
		return err
	}
	return nil
}

// open begins a call. sent is false if the gateway has certainly not seen it.
func (l *connection) open(ctx context.Context, store uuid.UUID, request wire.Request) (c *call, sent bool, err error) {
	calls, sent, err := l.openAll(ctx, store, []wire.Request{request})
	if err != nil {
		return nil, sent, err
	}
	return calls[0], true, nil
}

// openAll begins calls with one WebSocket message. Channel numbers must rise in the order of the
// messages, so the numbers are given under the lock that orders the writes. sent is false if the
// gateway has certainly seen none of the calls; after an error of the write it is true, since a part
// may have arrived.
func (l *connection) openAll(ctx context.Context, store uuid.UUID, requests []wire.Request) (calls []*call, sent bool, err error) {
	var carried map[string]string
	if trace.SpanContextFromContext(ctx).IsValid() {
		carried = map[string]string{}
		otel.GetTextMapPropagator().Inject(ctx, propagation.MapCarrier(carried))
	}
	bodies, size := make([][]byte, len(requests)), 0
	for i, r := range requests {
		o := wire.Open{Store: store, Credit: uint64(l.p.opt.Window), Trace: carried, Request: r}
		bodies[i] = o.Append(nil)
		// 16 bytes hold any header: a type, and channel and length as varints.
		size += len(bodies[i]) + 16
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.ctx.Err() != nil {
		return nil, false, errLost
	}
	calls = make([]*call, len(requests))
	message := make([]byte, 0, size)
	// Before the write, because an answer may come before it returns.
	l.mu.Lock()
	for i, body := range bodies {
		l.last++
		c := &call{l: l, id: l.last, signal: make(chan struct{}, 1)}
		l.calls[c.id] = c
		calls[i] = c
		message = append(wire.AppendHeader(message, wire.TypeOpen, c.id, len(body)), body...)
	}
	l.mu.Unlock()
	return calls, true, l.write(message)
}

// send sends a message that needs no place in the order.
func (l *connection) send(t wire.Type, channel uint64, body []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.write(wire.AppendMessage(nil, t, channel, body))
}

// auth presents a token and waits for the answer. It holds the lock of the writes, so that tokens are
// sent in the order of auths.
func (l *connection) auth(ctx context.Context, token string) error {
	answer := make(chan error, 1)
	l.writing.Lock()
	l.mu.Lock()
	l.auths = append(l.auths, answer)
	l.mu.Unlock()
	err := l.write(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, token)))
	l.writing.Unlock()
	if err != nil {
		return down(err)
	}
	select {
	case err := <-answer:
		return err
	case <-l.ctx.Done():
		return l.lostErr()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unauthorized returns the reason of a gateway that has closed a connection because it does not accept its
// token any more, which is close code 4401.
func unauthorized(cause error) (reason string, ok bool) {
	var closed websocket.CloseError
	if errors.As(cause, &closed) && closed.Code == 4401 {
		return closed.Reason, true
	}
	return "", false
}

// lostErr says why the connection is gone. An expired token ends calls for good only where there is no new
// one to present.
func (l *connection) lostErr() error {
	cause := context.Cause(l.ctx)
	if errors.Is(cause, streamhub.ErrShutdown) {
		return streamhub.ErrShutdown
	}
	if reason, ok := unauthorized(cause); ok && l.p.opt.Token == nil {
		return l.p.refused(errors.New(reason))
	}
	return down(errors.Join(errLost, cause))
}

// receive takes items or the end. It never blocks: credit bounds the items that may come.
func (c *call) receive(items []byte, end *wire.End) {
	c.mu.Lock()
	if end != nil {
		c.end = end
	} else {
		c.queue = append(c.queue, items)
	}
	c.mu.Unlock()
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// next returns items or, after the last of them, the end. An error says that there is neither:
// ctx has ended or the connection was lost.
func (c *call) next(ctx context.Context) (items []byte, end *wire.End, err error) {
	for {
		c.mu.Lock()
		if len(c.queue) > 0 {
			items = c.queue[0]
			c.queue = c.queue[1:]
			c.mu.Unlock()
			return items, nil, nil
		}
		end = c.end
		c.mu.Unlock()
		if end != nil {
			return nil, end, nil
		}
		select {
		// The signal may be left from items that were taken already. Then the loop waits again.
		case <-c.signal:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-c.l.ctx.Done():
			// What had come before the loss is still passed on.
			c.mu.Lock()
			empty := len(c.queue) == 0 && c.end == nil
			c.mu.Unlock()
			if empty {
				return nil, nil, c.l.lostErr()
			}
		}
	}
}

// An outcome says what is known of the effect of a call that has ended.
type outcome int

const (
	answered   outcome = iota // the gateway has sent the result
	unanswered                // it may have been made
	unmade                    // it was certainly not made
)

// answer returns the one answer of a call, and ends it. If err is nil the call was answered.
func (c *call) answer(ctx context.Context) (result []byte, o outcome, err error) {
	defer c.leave()
	_, end, err := c.next(ctx)
	switch {
	case err != nil && errors.Is(err, streamhub.ErrUnauthenticated) && c.l.p.opt.Token == nil:
		return nil, unmade, err // no connection was ever accepted
	case err != nil:
		return nil, unanswered, err
	case end == nil:
		return nil, unanswered, wire.ErrMalformed // items that were not asked for
	case errors.Is(end.Err, streamhub.ErrShutdown):
		return nil, unmade, down(end.Err) // of that gateway, not of this provider
	}
	return end.Result, answered, end.Err
}

// handled gives credit for items that were handled, a quarter of the window at a time: a credit for
// each item would be as many messages as items.
func (c *call) handled(bytes int) {
	if c.unpaid += int64(bytes); c.unpaid < c.l.p.opt.Window/4 {
		return
	}
	unpaid := c.unpaid
	c.unpaid = 0
	// If this fails the connection is lost, and next says so.
	_ = c.l.send(wire.TypeCredit, c.id, wire.AppendCredit(nil, uint64(unpaid)))
}

// leave ends a call that is no longer wanted. If it is still open, the gateway is asked to cancel
// it; what still comes is dropped.
func (c *call) leave() {
	c.l.mu.Lock()
	_, open := c.l.calls[c.id]
	delete(c.l.calls, c.id)
	c.l.mu.Unlock()
	if open && c.l.ctx.Err() == nil {
		// If this fails the connection is lost, which ends the call as well.
		_ = c.l.send(wire.TypeCancel, c.id, nil)
	}
}

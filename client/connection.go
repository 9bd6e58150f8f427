package client

import (
	"context"
	"errors"
	"fmt"
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

// errLost ends the calls of a connection that was lost.
var errLost = errors.New("the connection to the gateway was lost")

// A connection is one WebSocket with all calls on it. After it was lost, or after the gateway announced that it stops,
// new calls use another connection.
type connection struct {
	p      *WebSocketProvider
	conn   *session.Conn
	ctx    context.Context
	cancel context.CancelCauseFunc // its cause says why the connection was lost
	token  string                  // the last one that the gateway accepted; guarded by WebSocketProvider.mu

	// writing is held while a message is written, so that channels are opened in order. It is taken before mu.
	writing sync.Mutex

	// mu guards the fields below.
	mu sync.Mutex
	// calls holds the open calls by channel; last is the highest channel opened so far.
	calls map[uint64]*call
	last  uint64
	// auths are the pending calls of auth. The gateway answers them in order. Each channel is buffered, so that the
	// reader never blocks.
	auths []chan error
}

func newConnection(p *WebSocketProvider, conn *session.Conn, token string) *connection {
	l := &connection{p: p, conn: conn, token: token, calls: map[uint64]*call{}}
	l.ctx, l.cancel = context.WithCancelCause(p.ctx)
	return l
}

// A call is one channel: a request, then items, then the end. The caller's goroutine takes the messages that the
// connection's goroutine receives.
type call struct {
	l  *connection
	id uint64
	// signal has a buffer of one: it says that something was received.
	signal chan struct{}

	// mu guards queue and end. unpaid belongs to the caller's goroutine.
	mu     sync.Mutex
	queue  [][]byte // bodies of items
	end    *wire.End
	unpaid int64 // bytes of handled items that were not yet credited to the gateway
}

// lose ends the connection and every call on it. New calls use another connection. The context is cancelled first, so
// that every call that ends finds the cause.
func (l *connection) lose(cause error) {
	l.cancel(cause)
	_, expired := unauthorized(cause)
	l.p.lost(l, expired)
	l.conn.Reset()
}

// read handles incoming messages until the connection ends. It serves all calls, so it never waits for one of them.
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

// handle passes the protocol messages of one WebSocket message to their calls. A message for an unknown channel is
// dropped: the caller has left that call.
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
			l.p.lost(l, false) // open calls go on until the gateway ends them; new ones use another connection
		}
	}
	return nil
}

// write sends one WebSocket message. If the write fails, or takes longer than the timeout of a ping, the connection is
// closed: a partly written message cannot be completed or undone.
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

// openAll begins calls with one WebSocket message. Channel numbers must rise in the order of the messages, so the
// numbers are assigned under the lock that orders the writes. sent is false if the gateway has certainly seen none of
// the calls; after an error of the write it is true, since a part may have arrived. A message
// that no gateway takes is [streamhub.ErrTooLarge]: sent, it would end the connection, and every call on it.
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
	if size > wire.MaxMessage {
		return nil, false, fmt.Errorf("%w: a request of %d bytes, the limit is %d", streamhub.ErrTooLarge, size, wire.MaxMessage)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.ctx.Err() != nil {
		return nil, false, errLost
	}
	calls = make([]*call, len(requests))
	message := make([]byte, 0, size)
	// The calls are registered before the write, because an answer may arrive before the write returns.
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

// send sends a message whose order among other messages does not matter.
func (l *connection) send(t wire.Type, channel uint64, body []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.write(wire.AppendMessage(nil, t, channel, body))
}

// auth presents a token and waits for the answer. It holds the lock of the writes while it sends, so that tokens are
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

// unauthorized returns the reason that the gateway gave when it closed the connection with code 4401: it no longer
// accepts the token.
func unauthorized(cause error) (reason string, ok bool) {
	var closed websocket.CloseError
	if errors.As(cause, &closed) && closed.Code == 4401 {
		return closed.Reason, true
	}
	return "", false
}

// lostErr says why the connection was lost. An expired token is a final error only if there is no way to get a new one.
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

// receive queues items or the end for the caller. It never blocks: credit bounds the items that can arrive.
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

// next returns items or, after the last of them, the end. An error means that neither will come: ctx has ended or the
// connection was lost.
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
		// The signal may be for items that were already taken. If so, the loop waits again.
		case <-c.signal:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-c.l.ctx.Done():
			// Items that arrived before the loss are still passed on.
			c.mu.Lock()
			empty := len(c.queue) == 0 && c.end == nil
			c.mu.Unlock()
			if empty {
				return nil, nil, c.l.lostErr()
			}
		}
	}
}

// An outcome says what is known about the effect of a call that has ended.
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
		return nil, unmade, err // no connection was ever established
	case err != nil:
		return nil, unanswered, err
	case end == nil:
		return nil, unanswered, wire.ErrMalformed // the call has no items
	case errors.Is(end.Err, streamhub.ErrShutdown):
		return nil, unmade, down(end.Err) // the context that ended is the gateway's, not this provider's
	}
	return end.Result, answered, end.Err
}

// handled grants the gateway credit for handled items, a quarter of the window at a time. A credit for each item would
// double the number of messages.
func (c *call) handled(bytes int) {
	if c.unpaid += int64(bytes); c.unpaid < c.l.p.opt.Window/4 {
		return
	}
	unpaid := c.unpaid
	c.unpaid = 0
	// If this fails the connection is lost, and next says so.
	_ = c.l.send(wire.TypeCredit, c.id, wire.AppendCredit(nil, uint64(unpaid)))
}

// leave ends a call that the caller no longer wants. If it is still open, the gateway is asked to cancel it; messages
// that still arrive are dropped.
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

package wsgateway

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/front"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

const (
	// maxCalls is how many calls other than readers may be in flight on a connection. At the limit the connection is
	// not read until one of them has ended.
	maxCalls = 256
	// maxHeld is how many bytes the requests of calls other than readers may hold; a single larger call is allowed. At
	// the limit the connection is not read until some of them have ended.
	maxHeld = 32 << 20
	// maxTrips is how many batches of appends may be in flight. Appends that arrive meanwhile share the next batch.
	maxTrips = 8
)

// A conn is a connection that speaks streamhub.v1. One goroutine reads messages and starts calls;
// each call but an append has a goroutine of its own; appends travel in up to maxTrips goroutines.
type conn struct {
	*baseConn

	// mu guards the credit of every channel and the fields below, except those marked as the reader's own. If both are
	// taken, mu is taken before baseConn.mu.
	mu       sync.Mutex
	channels map[uint64]*channel
	readers  int
	calls    int
	held     int       // bytes of the requests of these calls
	room     sync.Cond // signals that calls or held has fallen
	last     uint64    // the highest channel that was opened
	appends  []*appendCall
	trips    int
	chain    dispatch.Chain // of the message that is being read; the reader's own
	tokens   *rate.Limiter  // limits auth messages; the reader's own
	ending   int            // channels that are closed and whose end is not sent yet
	draining bool
	idle     sync.Cond // signals that a channel ended while the gateway drains

	submitting sync.Mutex // held while appends are submitted to the hub; taken before mu
}

// A channel is one call, from its open until its end was sent. conn.mu guards credit and more; the other fields do not
// change after the start.
type channel struct {
	c      *conn
	id     uint64
	reader bool
	base   context.Context // the context of the connection, with the trace of the client
	ctx    context.Context
	cancel context.CancelCauseFunc
	credit int64
	more   chan struct{} // closed when a waiting reader gets credit
	size   int           // bytes of the request; 0 for a reader
	load   *front.Load   // counts the message of the request against the limits
	op     string        // name of the operation, "" for a call that was refused before it was decoded
	begun  time.Time     // zero for a reader
	open   *wire.Open    // the request, for the check of a renewed token; nil for an append, which is checked when it is submitted
}

// An appendCall is an append on its way to the hub.
type appendCall struct {
	ch      *channel
	open    *wire.Open
	request *wire.Append
	chain   dispatch.Chain // used under conn.submitting
}

// newConn prepares a connection. The end of its context wakes every waiter of its conditions, because a sync.Cond does
// not support contexts.
func newConn(l *baseConn) *conn {
	c := &conn{baseConn: l, channels: map[uint64]*channel{}}
	c.room.L, c.idle.L = &c.mu, &c.mu
	context.AfterFunc(l.ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.room.Broadcast()
		c.idle.Broadcast()
	})
	l.out.typ, l.out.joined = websocket.MessageBinary, true
	l.drained = c.drainReaders
	c.tokens = rate.NewLimiter(1, tokenBurst)
	return c
}

// serve reads and handles messages until the connection ends or the client breaks the protocol. It
// then waits for every call.
func (c *conn) serve() {
	defer c.endCalls()
	defer c.handled()
	for {
		typ, data, err := c.read()
		if err != nil {
			return
		}
		if typ != websocket.MessageBinary {
			c.fail(websocket.StatusUnsupportedData, "messages are binary")
			return
		}
		if err := c.handle(data); err != nil {
			c.fail(websocket.StatusProtocolError, reason(err))
			return
		}
	}
}

// reason returns the text of a close frame, cut to the 123 bytes that fit into one.
func reason(err error) string {
	text := err.Error()
	return text[:min(len(text), 120)]
}

// endCalls ends every call and waits for it.
func (c *conn) endCalls() {
	c.mu.Lock()
	for _, ch := range c.channels {
		ch.cancel(context.Canceled)
	}
	c.mu.Unlock()
	c.end()
}

// turn is how many messages of a connection are handled before the goroutine yields. Without it a hundred connections
// that never block would each run for ten milliseconds, one after the other.
const turn = 16

// handle handles the protocol messages of one WebSocket message. An error is a breach of the protocol and ends the
// connection.
func (c *conn) handle(data []byte) error {
	c.chain = nil
	defer c.sendAppends() // also after a malformed message: appends that were decoded before it are made
	n := -1               // starts at -1, so that each WebSocket message yields once
	for m, err := range wire.Messages(data) {
		if err != nil {
			return err
		}
		if c.closing() {
			return nil
		}
		if n++; n%turn == 0 {
			runtime.Gosched() // a client that sends without pause takes turns with the others
		}
		switch m.Type {
		case wire.TypeOpen:
			err = c.open(m)
		case wire.TypeCredit:
			err = c.credit(m)
		case wire.TypeCancel:
			c.mu.Lock()
			if ch := c.channels[m.Channel]; ch != nil {
				ch.cancel(context.Canceled)
			}
			c.mu.Unlock()
		case wire.TypeAuth:
			err = c.auth(m)
		default:
			err = fmt.Errorf("%w: type %d", wire.ErrMalformed, m.Type)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tokenBurst is how many tokens a connection may send at once; after that one per second is allowed. To verify a token
// takes up to a thousand times as long as to send it, and a client needs a new one only every few minutes.
const tokenBurst = 16

// auth replaces the token of the connection. It runs in the goroutine that reads, so the new token applies to requests
// that arrive after it, and the old token to those before.
func (c *conn) auth(m wire.Message) error {
	token, err := wire.DecodeToken(m.Body)
	if err != nil {
		return err
	}
	if !c.tokens.Allow() {
		c.fail(closeExhausted, "too many tokens")
		return nil // handle notices that the connection is being closed
	}
	// In order with the requests: a channel that is opened after the token is checked against it.
	end := wire.End{Err: c.renew(token)}
	code, why := closeUnauthorized, "the token is refused"
	if end.Err == nil {
		c.ws.SetReadLimit(c.g.opt.MaxMessageBytes)
		c.revise()
	} else if errors.Is(end.Err, streamhub.ErrLimitExceeded) {
		code, why = closeExhausted, "too many connections"
	} else { // the reason is logged only
		end.Err = streamhub.ErrUnauthenticated
	}
	_ = c.out.put(wire.AppendMessage(nil, wire.TypeAuthResult, 0, end.Append(nil)))
	if end.Err != nil && c.anonymous() {
		c.fail(code, why)
	}
	return nil
}

// revise ends the calls that the new token no longer allows: a reader may stay for days. Appends are checked when they
// are submitted.
func (c *conn) revise() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.channels {
		if ch.open == nil {
			continue
		}
		if err := dispatch.Allowed(c, ch.open.Store, ch.open.Request); err != nil {
			ch.cancel(err)
		}
	}
}

// credit lets a reader send more. Credit for a channel that has ended is ignored: it was sent before the client
// received the end.
func (c *conn) credit(m wire.Message) error {
	n, err := wire.DecodeCredit(m.Body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.channels[m.Channel]
	if ch == nil {
		return nil // the call has ended meanwhile, and its end is on the way
	}
	if n > uint64(maxCredit) || ch.credit > maxCredit-int64(n) {
		return fmt.Errorf("%w: credit beyond %d bytes", wire.ErrMalformed, maxCredit)
	}
	if ch.credit += int64(n); ch.more != nil && ch.credit > 0 {
		close(ch.more)
		ch.more = nil
	}
	return nil
}

// maxCredit is far more than a client needs, and small enough that sums do not overflow.
const maxCredit = int64(1) << 40

// open begins a call. If too many calls are in flight, it waits. Meanwhile the connection is not read, and TCP slows
// the client down.
func (c *conn) open(m wire.Message) error {
	var o *wire.Open
	var err error
	if c.anonymous() {
		err = streamhub.ErrUnauthenticated // the request is not even decoded
	} else if o, err = wire.DecodeOpen(m.Body); errors.Is(err, wire.ErrMalformed) {
		return err
	}
	c.mu.Lock()
	// Channel numbers only rise, so that a late message for a channel that has ended never reaches another one.
	if m.Channel <= c.last {
		c.mu.Unlock()
		return fmt.Errorf("%w: channel %d after %d", wire.ErrMalformed, m.Channel, c.last)
	}
	c.last = m.Channel
	if err == nil && o.Credit > uint64(maxCredit) {
		c.mu.Unlock()
		return fmt.Errorf("%w: credit beyond %d bytes", wire.ErrMalformed, maxCredit)
	}
	ch := &channel{c: c, id: m.Channel}
	if err == nil {
		operation := dispatch.Of(o.Request)
		ch.op, ch.reader = operation.Name, operation.Items
		if !ch.reader {
			ch.begun = time.Now()
		}
	}
	switch {
	case err != nil:
	case c.draining:
		err = streamhub.ErrShutdown
	case ch.reader && c.readers >= c.g.opt.MaxReaders:
		err = fmt.Errorf("%w: %d readers on one connection: open another one", streamhub.ErrLimitExceeded, c.readers)
	}
	if err != nil {
		c.mu.Unlock()
		ch.answer(nil, err)
		return nil
	}
	if !ch.reader {
		ch.size = len(m.Body)
	}
	// Readers do not count here: they may last for days, and MaxReaders bounds them.
	for !ch.reader && (c.calls >= maxCalls || c.calls > 0 && c.held+ch.size > maxHeld) && c.ctx.Err() == nil {
		// Earlier appends of this message must be submitted first: they may be the calls that use up the limit.
		c.sendAppendsLocked()
		c.room.Wait()
	}
	ch.credit = int64(o.Credit)
	ch.base = c.traced(o.Trace)
	ch.ctx, ch.cancel = context.WithCancelCause(ch.base)
	c.channels[ch.id] = ch
	if ch.reader {
		c.readers++
	} else {
		c.calls++
		c.held += ch.size
		// The message stays in memory until the last of its calls has ended.
		ch.load = c.load.Share()
	}
	c.g.metrics.calls.Add(c.ctx, 1)
	if a, ok := o.Request.(*wire.Append); ok {
		if c.chain == nil {
			c.chain = dispatch.Chain{}
		}
		c.appends = append(c.appends, &appendCall{ch, o, a, c.chain})
		c.mu.Unlock()
		return nil
	}
	ch.open = o
	c.mu.Unlock()
	c.start(func() { ch.run(o) })
	return nil
}

// close forgets a channel before its end is sent: a client that has read the end may open the next channel at once, and
// must not hit the limit. The caller sends the end and then calls finish.
func (c *conn) close(ch *channel) {
	c.mu.Lock()
	delete(c.channels, ch.id)
	c.ending++
	if ch.reader {
		c.readers--
	} else {
		c.calls--
		c.held -= ch.size
		c.room.Signal()
	}
	c.mu.Unlock()
	ch.cancel(nil)
	ch.load.Done()
	c.g.metrics.calls.Add(c.ctx, -1)
}

// finish records that the ends of n closed channels were sent. A drain waits for that.
func (c *conn) finish(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending -= n; c.draining {
		c.idle.Broadcast()
	}
}

// drainReaders ends readers, and waits for all calls in flight.
func (c *conn) drainReaders() {
	_ = c.out.put(wire.AppendMessage(nil, wire.TypeGoAway, 0, (&wire.GoAway{Reason: "the gateway is stopping"}).Append(nil)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	for _, ch := range c.channels {
		if ch.reader {
			ch.cancel(streamhub.ErrShutdown)
		}
	}
	for len(c.channels)+c.ending > 0 && c.ctx.Err() == nil {
		c.idle.Wait()
	}
}

// run makes the call of a channel.
func (ch *channel) run(o *wire.Open) {
	ch.end(dispatch.Run(ch.ctx, ch.c.g.hub.Store(o.Store), ch.c, o.Request, ch))
}

// end answers a call that has ended. A cancelled call ends with the cause: the client cancelled it, its token no longer
// allows it, or the gateway stops.
func (ch *channel) end(result wire.Result, err error) {
	if err != nil && ch.ctx.Err() != nil {
		err = context.Cause(ch.ctx)
	}
	ch.c.close(ch)
	ch.answer(result, err)
	ch.c.finish(1)
}

// answer sends the last message of a channel.
func (ch *channel) answer(result wire.Result, err error) {
	_ = ch.c.out.put(ch.encodeEnd(result, err)) // a connection that has ended needs no answer
}

// encodeEnd writes the end of a channel and counts the call. An error without a code is logged; the client gets the
// code of an internal error.
func (ch *channel) encodeEnd(result wire.Result, err error) []byte {
	ch.c.guest.Called(ch.op, err, ch.begun)
	if streamhub.CodeOf(err) == streamhub.CodeInternal {
		ch.c.g.opt.Logger.Error("a call failed", "error", err)
	}
	end := wire.End{Err: err}
	if result != nil {
		end.Result = wire.EncodeResult(result)
	}
	return wire.AppendMessage(nil, wire.TypeEnd, ch.id, end.Append(nil))
}

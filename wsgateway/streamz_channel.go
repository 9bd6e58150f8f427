package wsgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// errStopping ends channels of a gateway that drains.
var errStopping = errors.New(stopping)

// lastWord is how long a channel with one answer waits for the client to end it first. Released
// clients can lose an answer that is followed at once by the end.
const lastWord = 100 * time.Millisecond

// A muxChannel is one operation of a client. The goroutine of the operation takes what the client
// sends; the goroutine that reads the connection adds to it.
type muxChannel struct {
	m      *muxer
	key    muxKey
	store  *hub.Store
	ctx    context.Context
	cancel context.CancelCauseFunc

	kind    string    // the operation, "" before it is known
	begun   time.Time // zero for a subscription
	lasting bool      // the channel is a subscription
	cost    int       // bytes of the connection that it holds, see muxer.hold; the operation's own

	// What the client sends after the envelope. The queue is bounded by the reader of the connection: a
	// channel that takes nothing ends its operation, and one that takes slowly holds back the connection.
	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	hand   int           // bytes that the operation has taken and is looking at
	taking bool          // the operation takes what the client sends
	closed bool          // the client sends nothing more
	abort  string        // and why, if it gave up
	change chan struct{} // closed when one of these changes
}

// queueBytes is how much of what a client sends may wait in a channel.
const queueBytes = 4 << 20

// open begins a channel with an envelope. An envelope that names no operation begins one that ends
// with the error.
func (m *muxer) open(key muxKey, f *muxFrame) {
	ch := &muxChannel{m: m, key: key, store: m.g.hub.Store(key.store), change: make(chan struct{})}
	ch.ctx, ch.cancel = context.WithCancelCause(m.traced(f.trace()))
	run, err := ch.operation(f.Payload)
	if err != nil {
		run = func() error { return err }
	}
	limit := int64(maxHeldMux)
	if ch.lasting {
		limit = maxHeldSubscriptions
	}
	m.mu.Lock()
	if ch.lasting && m.lasting >= maxMuxSubscriptions || !m.hold(ch, channelCost+len(f.Payload), limit) {
		m.mu.Unlock()
		ch.cancel(nil)
		m.refuse(key, tooMany)
		return
	}
	m.channels[key] = ch
	if ch.lasting {
		m.lasting++
	}
	m.mu.Unlock()
	if !ch.lasting {
		ch.begun = time.Now()
	}
	m.g.metrics.calls.Add(m.ctx, 1)
	m.start(func() {
		err := run()
		// The operation sees only the end of its context; the client gets the cause.
		if cause := context.Cause(ch.ctx); cause != nil && err != nil {
			err = cause
		}
		ch.end(err)
	})
}

// end is the last message of a channel.
func (ch *muxChannel) end(err error) {
	ch.m.close(ch)
	defer ch.cancel(nil)
	counted := err
	if protocol := protocolError(""); errors.As(err, &protocol) {
		counted = streamhub.ErrInvalidArgument
	}
	ch.m.guest.Called(ch.kind, counted, ch.begun)
	var text string
	if err != nil {
		if text = ch.text(err); text == "internal error" {
			ch.m.g.opt.Logger.Error("a call failed", "error", err)
		}
	}
	payload, _ := json.Marshal(muxControl{muxClose, text}) // strings
	_ = ch.m.out.put(appendMuxFrame("data", ch.key, payload))
	ch.m.finish()
}

// receive takes a frame of the client, after the first. It waits while the queue is full: then the
// connection is not read. A frame after the close is taken as well: released clients send the close
// before records that they still have queued, once their queue has stalled.
func (ch *muxChannel) receive(payload []byte, control *muxControl) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if control != nil {
		if !ch.closed {
			ch.closed, ch.abort = true, control.Err
			ch.changed()
		}
		if !ch.taking {
			ch.cancel(context.Canceled)
		}
		return
	}
	if !ch.taking || ch.abort != "" {
		return
	}
	for ch.bytes > queueBytes && ch.ctx.Err() == nil {
		ch.await(ch.ctx)
	}
	for ch.m.queued.Load() > maxQueued && ch.ctx.Err() == nil {
		ch.mu.Unlock()
		select {
		case <-ch.m.taken:
		case <-ch.ctx.Done():
		}
		ch.mu.Lock()
	}
	// The operation may have ended while this waited.
	if !ch.taking {
		return
	}
	ch.queue = append(ch.queue, payload)
	ch.bytes += len(payload)
	ch.m.queued.Add(int64(len(payload)))
	ch.changed()
}

// empty returns what waits. The lock is held.
func (ch *muxChannel) empty() [][]byte {
	payloads := ch.queue
	ch.hand = ch.bytes
	ch.queue, ch.bytes = nil, 0
	ch.changed()
	return payloads
}

// looked says that the operation is done with what it took. Only now these bytes leave the count of
// the connection, so that records under way are bounded too. The lock is held.
func (ch *muxChannel) looked() {
	ch.m.queued.Add(-int64(ch.hand))
	ch.hand = 0
	select {
	case ch.m.taken <- struct{}{}:
	default: // the reader looks again anyway
	}
}

// stop drops what waits and takes nothing more.
func (ch *muxChannel) stop() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.taking = false
	// First what the operation has taken, then what was still in the queue.
	ch.looked()
	ch.empty()
	ch.looked()
}

// changed wakes those who wait. The lock is held.
func (ch *muxChannel) changed() {
	close(ch.change)
	ch.change = make(chan struct{})
}

// await gives up the lock until something changes.
func (ch *muxChannel) await(ctx context.Context) {
	change := ch.change
	ch.mu.Unlock()
	select {
	case <-change:
	case <-ctx.Done():
	}
	ch.mu.Lock()
}

// take returns everything that waits. It waits for the first of it; open is false after the last.
func (ch *muxChannel) take(ctx context.Context) (payloads [][]byte, open bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.looked()
	for len(ch.queue) == 0 && !ch.closed && ctx.Err() == nil {
		ch.await(ctx)
	}
	payloads = ch.empty()
	return payloads, len(payloads) > 0 && ctx.Err() == nil
}

// takeLate returns what comes after the close, nil if nothing does for as long as ctx.
func (ch *muxChannel) takeLate(ctx context.Context) [][]byte {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.looked()
	for len(ch.queue) == 0 && ch.abort == "" && ctx.Err() == nil {
		ch.await(ctx)
	}
	return ch.empty()
}

// aborted is the error that the client gave as the reason for its end.
func (ch *muxChannel) aborted() error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.abort == "" {
		return nil
	}
	return fmt.Errorf("%w: the client gave up: %s", context.Canceled, ch.abort)
}

// wait leaves the client time to end the channel itself; see lastWord.
func (ch *muxChannel) wait() {
	ctx, cancel := context.WithTimeout(ch.ctx, lastWord)
	defer cancel()
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for !ch.closed && ctx.Err() == nil {
		ch.await(ctx)
	}
}

// send sends a message of the operation.
func (ch *muxChannel) send(v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ch.sendBytes(payload)
}

func (ch *muxChannel) sendBytes(payload []byte) error {
	if ch.ctx.Err() != nil {
		return context.Cause(ch.ctx)
	}
	if len(payload) > maxAnswer {
		return fmt.Errorf("%w: the next message has %d bytes and does not fit in a frame", streamhub.ErrTooLarge, len(payload))
	}
	return ch.m.out.put(appendMuxFrame("data", ch.key, payload))
}

// allowed returns an error unless the client may make all of these calls. It stands before everything
// that an operation does for them: what is refused has no effect, not on others either.
func (ch *muxChannel) allowed(requests ...wire.Request) error {
	for _, r := range requests {
		if err := dispatch.Allowed(ch.m, ch.key.store, r); err != nil {
			return err
		}
	}
	return nil
}

// run makes a call.
func (ch *muxChannel) run(request wire.Request, reply dispatch.Reply) (wire.Result, error) {
	return dispatch.Run(ch.ctx, ch.store, ch.m, request, reply)
}

// text returns the error text for a client of streamkit. Programs search it for some of these
// words, and the client decides by them what to retry.
func (ch *muxChannel) text(err error) string {
	var sequence *streamhub.SequenceError
	var call *streamhub.Error
	var protocol protocolError
	if errors.As(err, &protocol) {
		return string(protocol)
	}
	if errors.As(err, &call) {
		err = call.Err
	}
	switch {
	case errors.As(err, &sequence):
		return fmt.Sprintf("sequence gap: expected %d, got %d", sequence.Expected, sequence.Got)
	case errors.Is(err, streamhub.ErrPermissionDenied):
		return "access denied"
	case errors.Is(err, streamhub.ErrInvalidName), errors.Is(err, streamhub.ErrInvalidArgument):
		return "invalid argument: " + err.Error()
	case errors.Is(err, streamhub.ErrTooLarge):
		return "payload too large: " + err.Error()
	case errors.Is(err, streamhub.ErrQuota):
		return "quota exceeded: " + err.Error()
	case errors.Is(err, streamhub.ErrUnavailable):
		return "store unavailable"
	case errors.Is(err, streamhub.ErrUnknownOutcome):
		return "store unavailable, the outcome is unknown"
	case errors.Is(err, streamhub.ErrShutdown), errors.Is(err, errStopping):
		return stopping
	case errors.Is(err, context.Canceled):
		return "context canceled"
	case streamhub.CodeOf(err) == streamhub.CodeInternal:
		return "internal error"
	}
	return err.Error()
}

// A protocolError is an error whose text is sent to a client of streamkit unchanged.
type protocolError string

func (e protocolError) Error() string { return string(e) }

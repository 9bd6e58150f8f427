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

// A muxChannel is one operation of a client. The goroutine that reads the connection queues the payloads of the client,
// and the goroutine of the operation takes them.
type muxChannel struct {
	m      *muxer
	key    muxKey
	store  *hub.Store
	ctx    context.Context
	cancel context.CancelCauseFunc

	kind    string    // the operation, "" before it is known
	begun   time.Time // zero for a subscription
	lasting bool      // the channel is a subscription
	cost    int       // bytes that it counts against the connection, see muxer.hold; used by the operation only

	// mu guards the fields below. queue has the payloads after the envelope. If the operation takes none, payloads are
	// not queued; if it takes them slowly, the reader of the connection waits.
	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	hand   int           // bytes that the operation has taken and is processing
	taking bool          // the operation takes payloads
	closed bool          // the client sends nothing more
	abort  string        // the error that the client gave when it closed the channel, if any
	change chan struct{} // closed and replaced when one of these changes
}

// queueBytes is how many bytes of payloads may be queued in a channel.
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
		// The operation returns the error of its context; the client gets the cause.
		if cause := context.Cause(ch.ctx); cause != nil && err != nil {
			err = cause
		}
		ch.end(err)
	})
}

// end sends the last message of a channel.
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
	payload, _ := json.Marshal(muxControl{muxClose, text}) // cannot fail: the fields are strings
	_ = ch.m.out.put(appendMuxFrame("data", ch.key, payload))
	ch.m.finish()
}

// receive queues a payload of the client. It blocks while the queue is full, so that the connection is not read. It
// accepts payloads after the close too: a released client whose queue has stalled sends the close before the queued
// records.
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
	// The operation may have ended while receive waited.
	if !ch.taking {
		return
	}
	ch.queue = append(ch.queue, payload)
	ch.bytes += len(payload)
	ch.m.queued.Add(int64(len(payload)))
	ch.changed()
}

// empty takes the queued payloads out and returns them. The lock is held.
func (ch *muxChannel) empty() [][]byte {
	payloads := ch.queue
	ch.hand = ch.bytes
	ch.queue, ch.bytes = nil, 0
	ch.changed()
	return payloads
}

// looked records that the operation has processed what it took. Only now does the count of the connection drop by these
// bytes, so that it bounds records in processing too. The lock is held.
func (ch *muxChannel) looked() {
	ch.m.queued.Add(-int64(ch.hand))
	ch.hand = 0
	select {
	case ch.m.taken <- struct{}{}:
	default: // the reader has a notification already
	}
}

// stop drops the queued payloads and accepts no more.
func (ch *muxChannel) stop() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.taking = false
	// Uncount the payloads that the operation has taken, then drop those that are still queued.
	ch.looked()
	ch.empty()
	ch.looked()
}

// changed wakes every goroutine in await. The lock is held.
func (ch *muxChannel) changed() {
	close(ch.change)
	ch.change = make(chan struct{})
}

// await releases the lock until a field changes or ctx ends. The lock is held before and after.
func (ch *muxChannel) await(ctx context.Context) {
	change := ch.change
	ch.mu.Unlock()
	select {
	case <-change:
	case <-ctx.Done():
	}
	ch.mu.Lock()
}

// take returns all queued payloads, and waits for the first one. open is false when the client has closed the channel
// and nothing is queued.
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

// takeLate returns payloads that arrive after the close, or nil if none does until ctx ends.
func (ch *muxChannel) takeLate(ctx context.Context) [][]byte {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.looked()
	for len(ch.queue) == 0 && ch.abort == "" && ctx.Err() == nil {
		ch.await(ctx)
	}
	return ch.empty()
}

// aborted returns the error with which the client gave up the channel, or nil.
func (ch *muxChannel) aborted() error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.abort == "" {
		return nil
	}
	return fmt.Errorf("%w: the client gave up: %s", context.Canceled, ch.abort)
}

// wait gives the client time to close the channel itself; see lastWord.
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

// allowed returns an error unless the client may make all of these calls. An operation calls it before anything else,
// so that a refused request has no effect.
func (ch *muxChannel) allowed(requests ...wire.Request) error {
	for _, r := range requests {
		if err := dispatch.Allowed(ch.m, ch.key.store, r); err != nil {
			return err
		}
	}
	return nil
}

// run makes a call through package dispatch.
func (ch *muxChannel) run(request wire.Request, reply dispatch.Reply) (wire.Result, error) {
	return dispatch.Run(ch.ctx, ch.store, ch.m, request, reply)
}

// text returns the error text for a client of streamkit. Programs search it for some of these words, and released
// clients decide by them what to retry.
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

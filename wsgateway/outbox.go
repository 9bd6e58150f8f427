package wsgateway

import (
	"sync"
	"time"

	"github.com/coder/websocket"
)

// outboxBytes is how much may wait to be written to one connection before those who write wait too.
const outboxBytes = 256 << 10

// An outbox writes messages to a connection. It has no goroutine: who finds it idle writes, and
// takes along what others add meanwhile.
type outbox struct {
	l      *link
	typ    websocket.MessageType
	joined bool // what waits is written as one WebSocket message

	mu      sync.Mutex
	room    sync.Cond
	pending [][]byte
	bytes   int
	writing bool
	since   time.Time // when the write under way began
	err     error
}

func (o *outbox) init(l *link) {
	o.l = l
	o.room.L = &o.mu
}

// put sends a message, in parts that must not change afterwards. It returns when the message is
// written or has its place in the queue, and waits while that is full. An error says that the
// connection is over.
func (o *outbox) put(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes > outboxBytes && o.err == nil {
		o.room.Wait()
	}
	if o.err != nil {
		return o.err
	}
	o.pending = append(o.pending, parts...)
	o.bytes += n
	if o.writing {
		return nil
	}
	o.writing = true
	for o.err == nil && len(o.pending) > 0 {
		batch, bytes := o.pending, o.bytes
		o.pending = nil
		o.since = time.Now()
		o.mu.Unlock()
		err := o.write(batch, bytes)
		o.mu.Lock()
		o.bytes -= bytes
		o.since = time.Time{}
		if err != nil && o.err == nil {
			o.err = err
			o.l.cancel()
		}
		o.room.Broadcast()
	}
	o.writing = false
	o.room.Broadcast()
	return o.err
}

// wait returns when all is written, or the connection is over.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && (o.writing || len(o.pending) > 0) {
		o.room.Wait()
	}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// write writes parts, of so many bytes together.
func (o *outbox) write(parts [][]byte, bytes int) error {
	messages := len(parts)
	if o.joined && messages > 1 {
		messages = 1
		buffer := buffers.Get().(*[]byte)
		joined := (*buffer)[:0]
		for _, part := range parts {
			joined = append(joined, part...)
		}
		if err := o.l.ws.Write(o.l.g.steady, o.typ, joined); err != nil {
			return err
		}
		if *buffer = joined; cap(joined) <= 1<<20 {
			buffers.Put(buffer)
		}
	} else {
		for _, part := range parts {
			if err := o.l.ws.Write(o.l.g.steady, o.typ, part); err != nil {
				return err
			}
		}
	}
	o.l.g.metrics.sent(o.l.ctx, messages, bytes)
	return nil
}

// fail ends every write and wait, and refuses later ones.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.room.Broadcast()
}

// stuck returns how long the write under way has taken, and whether there is one.
func (o *outbox) stuck(now time.Time) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return 0, false
	}
	return now.Sub(o.since), true
}

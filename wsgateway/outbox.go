package wsgateway

import (
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// outboxBytes is how many bytes of messages may be queued for one connection before put blocks.
	outboxBytes = 256 << 10
	// maxRaw is how many bytes of control frames may be queued before Write blocks.
	maxRaw = 4 << 10
	// copied is how many bytes of short messages are copied into one buffer for a single write.
	copied = 16 << 10
)

// An outbox is the only writer of a connection. It frames messages and accepts the control frames of the library, so
// that frames never interleave. It has no goroutine: a caller that finds it idle writes, and also writes the messages
// that others add meanwhile.
type outbox struct {
	l      *baseConn
	typ    websocket.MessageType
	joined bool // queued messages are sent as one WebSocket message

	direct *direct // nil if the connection has no non-blocking write; used under mu

	// mu guards the fields below. It is not held during a write that may block; writing says that one caller is using
	// the socket.
	mu      sync.Mutex
	room    sync.Cond
	raw     []byte   // queued control frames, already framed; they are written before pending
	pending [][]byte // queued messages
	bytes   int      // bytes of messages that are queued or being written
	writing bool
	since   time.Time // when the present write began; zero if there is none
	err     error     // why no further message is accepted
}

func (o *outbox) init(l *baseConn) {
	o.l = l
	o.direct = newDirect(l.socket)
	o.room.L = &o.mu
}

// put sends a message, in parts that must not change afterwards: several connections may write the same page. It
// returns when the message is written or queued, and waits while the queue is full: so a slow client slows down its own
// calls. An error means that the connection has ended.
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
	if !o.writing {
		o.writing = true
		for o.writeSome() {
		}
	}
	return o.err
}

// offer sends a short message, given in two parts, if that needs no wait; otherwise it does nothing and returns false.
// It writes under the lock, because this write does not block. If the socket accepts only a part, a goroutine writes
// the rest.
func (o *outbox) offer(header, body []byte) (taken bool) {
	size := len(header) + len(body)
	if o.direct == nil || size > copied {
		return false
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	frame := appendFrameHeader((*buffer)[:0], o.typ, size)
	frame = append(append(frame, header...), body...)
	*buffer = frame
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || o.writing {
		return false
	}
	n := o.direct.write(frame)
	if n == 0 {
		return false
	}
	o.l.g.metrics.sent(o.l.ctx, 1, size)
	if n < len(frame) {
		o.raw = append(o.raw, frame[n:]...)
		o.writing = o.handOver()
	}
	return true
}

// Write accepts a control frame of the library, which flushes each frame whole. For a close frame it returns after the
// frame was written; any other frame may still be queued.
func (o *outbox) Write(frame []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.raw) > maxRaw && o.writing {
		o.room.Wait()
	}
	o.raw = append(o.raw, frame...)
	if isClose(frame) {
		o.refuse(net.ErrClosed) // a close frame is the last frame
	}
	switch {
	case !o.writing:
		o.writing = true
		for o.writeSome() && !o.handOver() { // the caller is the reader of the connection: it does not stay to write what others add
		}
	case isClose(frame): // the library closes the connection after it has sent a close frame
		for o.writing {
			o.room.Wait()
		}
	}
	return len(frame), nil // no error: the library notices a broken connection itself
}

// handOver makes a goroutine of the connection write the queue, unless the connection has ended. The lock is held and
// writing is set.
func (o *outbox) handOver() bool {
	return o.l.start(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for o.writeSome() {
		}
	})
}

// writeSome writes the queue, and reports whether something was added meanwhile. If nothing was, the outbox is idle.
// The lock is held and writing is set.
func (o *outbox) writeSome() (more bool) {
	var batch [][]byte
	var bytes int
	if o.err == nil {
		batch, bytes = o.pending, o.bytes
	}
	raw := o.raw
	o.raw, o.pending = nil, nil
	if len(raw)+len(batch) > 0 {
		o.since = time.Now()
		o.mu.Unlock()
		err := o.write(raw, batch, bytes)
		o.mu.Lock()
		o.bytes -= bytes
		o.since = time.Time{}
		if err != nil {
			o.raw = nil
			o.refuse(err)
			o.l.closeNow() // a frame may be half written, so the connection is unusable
			o.l.cancel()
		}
	}
	o.writing = len(o.raw) > 0 || o.err == nil && len(o.pending) > 0
	o.room.Broadcast()
	return o.writing
}

// wait returns when the queue is written or the connection has ended.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && o.writing {
		o.room.Wait()
	}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// write writes raw, and then parts, which have the given number of bytes in all. Short parts are copied into one buffer
// and written together. A long part is written in place: many connections may share it.
func (o *outbox) write(raw []byte, parts [][]byte, bytes int) error {
	buffer := buffers.Get().(*[]byte)
	frames := append((*buffer)[:0], raw...)
	messages := len(parts)
	if o.joined && messages > 0 {
		messages = 1
		frames = appendFrameHeader(frames, o.typ, bytes)
	}
	for _, part := range parts {
		if !o.joined {
			frames = appendFrameHeader(frames, o.typ, len(part))
		}
		if len(frames)+len(part) <= copied {
			frames = append(frames, part...)
			continue
		}
		for _, p := range [][]byte{frames, part} {
			if _, err := o.l.socket.Write(p); err != nil {
				return err
			}
		}
		frames = frames[:0]
	}
	if len(frames) > 0 {
		if _, err := o.l.socket.Write(frames); err != nil {
			return err
		}
	}
	*buffer = frames
	buffers.Put(buffer)
	if messages > 0 {
		o.l.g.metrics.sent(o.l.ctx, messages, bytes)
	}
	return nil
}

// refuse records why no further message is accepted. The first reason stays. The lock is held.
func (o *outbox) refuse(err error) {
	if o.err == nil {
		o.err = err
	}
}

// fail ends every wait, and refuses all further messages.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse(err)
	o.room.Broadcast()
}

// stuck returns how long the present write has taken, and whether there is one.
func (o *outbox) stuck(now time.Time) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return 0, false
	}
	return now.Sub(o.since), true
}

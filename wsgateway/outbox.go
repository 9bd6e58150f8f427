package wsgateway

import (
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// outboxBytes is how much may wait to be written to one connection before those who write wait too.
	outboxBytes = 256 << 10
	// maxRaw is how many bytes of control frames may wait before those who send them wait too.
	maxRaw = 4 << 10
	// copied is how many bytes of messages are put together before they are written.
	copied = 16 << 10
)

// An outbox is the only writer of a connection. It makes the frames of messages and takes the control
// frames of the library, so that frames never mix. It has no goroutine: a caller that finds it idle
// writes, and takes along what others add meanwhile.
type outbox struct {
	l      *baseConn
	typ    websocket.MessageType
	joined bool // what waits is written as one WebSocket message

	direct *direct // nil if the connection has none; used under mu

	// mu guards the fields below. It is not held during a write that may block; writing says that one
	// caller has the socket.
	mu      sync.Mutex
	room    sync.Cond
	raw     []byte   // of frames, to be written as it is, before pending
	pending [][]byte // messages
	bytes   int      // of messages that wait or are being written
	writing bool
	since   time.Time // when the write under way began; zero while there is none
	err     error     // why no message is taken any more
}

func (o *outbox) init(l *baseConn) {
	o.l = l
	o.direct = newDirect(l.socket)
	o.room.L = &o.mu
}

// put sends a message, in parts that must not change afterwards: several connections may write the same page. It
// returns when the message is written or queued, and waits while the queue is full: so a slow client slows down its
// own calls. An error says that the connection is over.
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

// offer sends a short message, in two parts, if that needs no wait: it takes all of it or nothing. It
// writes under the lock, because such a write does not block. If the socket takes a part only, a
// goroutine writes the rest.
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

// Write takes a control frame of the library, which flushes each one whole. It returns when a close
// frame is written; any other one may have its place in the queue.
func (o *outbox) Write(frame []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.raw) > maxRaw && o.writing {
		o.room.Wait()
	}
	o.raw = append(o.raw, frame...)
	if isClose(frame) {
		o.refuse(net.ErrClosed) // it is the last frame
	}
	switch {
	case !o.writing:
		o.writing = true
		for o.writeSome() && !o.handOver() { // the caller reads the connection: it does not stay for what others add
		}
	case isClose(frame): // the library closes the connection when it has sent it
		for o.writing {
			o.room.Wait()
		}
	}
	return len(frame), nil // a connection that is broken is closed, which the library sees itself
}

// handOver has a goroutine of the connection write what waits, unless the connection is over. The lock
// is held and writing is set.
func (o *outbox) handOver() bool {
	return o.l.start(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for o.writeSome() {
		}
	})
}

// writeSome writes what waits, and reports whether something was added meanwhile; if nothing was, the
// outbox is idle. The lock is held and writing is set.
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
			o.l.closeNow() // a frame may be incomplete
			o.l.cancel()
		}
	}
	o.writing = len(o.raw) > 0 || o.err == nil && len(o.pending) > 0
	o.room.Broadcast()
	return o.writing
}

// wait returns when all is written, or the connection is over.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && o.writing {
		o.room.Wait()
	}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// write writes raw bytes, and parts of so many bytes together. Short ones are copied and written at once;
// a long one is written from where it is, since many connections may share it.
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

// refuse records why no message is taken any more. The first reason stays. The lock is held.
func (o *outbox) refuse(err error) {
	if o.err == nil {
		o.err = err
	}
}

// fail ends every wait, and refuses messages from now on.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse(err)
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

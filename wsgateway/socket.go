package wsgateway

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A hijacked is the ResponseWriter of a handshake. It keeps the connection for the outbox. The library gets a writer
// that passes its control frames to the outbox, with a buffer for one control frame instead of the 4 KiB of net/http.
// The library sends none before it is asked to read, ping or close.
type hijacked struct {
	http.ResponseWriter
	incoming *incoming
	control  *bufio.Writer // its buffer holds one whole control frame
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.incoming = newIncoming(conn)
	h.control = bufio.NewWriterSize(nil, controlBytes)
	return h.incoming, bufio.NewReadWriter(rw.Reader, h.control), nil
}

// farewellBytes is how much is still read from a client after fail: the data that it had sent before the close frame
// reached it, and its own close frame.
const farewellBytes = 256 << 10

// An incoming is the socket as the library reads it. After a close frame the library reads and drops data byte by byte,
// for seconds. With clients that send without pause, that would cost more than all other work. So after leave, Read
// returns at most farewellBytes more and then blocks until Close; TCP then holds the client back.
type incoming struct {
	net.Conn
	leaving atomic.Bool
	rest    int // what is left of farewellBytes; used by Read only
	once    sync.Once
	closed  chan struct{}
}

func newIncoming(conn net.Conn) *incoming {
	return &incoming{Conn: conn, rest: farewellBytes, closed: make(chan struct{})}
}

// Read is called by one goroutine at a time.
func (in *incoming) Read(p []byte) (int, error) {
	if !in.leaving.Load() {
		return in.Conn.Read(p)
	}
	if in.rest == 0 {
		<-in.closed
		return 0, net.ErrClosed
	}
	n, err := in.Conn.Read(p[:min(len(p), in.rest)])
	in.rest -= n
	return n, err
}

func (in *incoming) leave() { in.leaving.Store(true) }

func (in *incoming) Close() error {
	in.once.Do(func() { close(in.closed) })
	return in.Conn.Close()
}

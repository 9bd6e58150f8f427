package wsgateway

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A hijacked keeps the connection of a handshake, which the outbox writes to. The library gets a way for
// its control frames instead, with a buffer of that size in place of the 4 KiB of net/http. It sends
// none before it is asked to read, ping or close.
type hijacked struct {
	http.ResponseWriter
	incoming *incoming
	control  *bufio.Writer // holds whole control frames
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

// farewellBytes is what is still read of a client after its connection was failed: what it had sent before the
// close frame reached it, and its own close frame.
const farewellBytes = 256 << 10

// An incoming is a socket as the library reads it. The library drops what comes after a close frame byte by byte,
// for seconds, which cost more than all other work beside clients that send without end. After leave, Read
// returns farewellBytes more and then waits for Close, so that what a client goes on sending stays with it.
type incoming struct {
	net.Conn
	leaving atomic.Bool
	rest    int // of farewellBytes; Read's own
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

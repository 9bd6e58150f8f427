//go:build unix

package wsgateway

import (
	"errors"
	"net"
	"syscall"
)

// A direct writes to a socket without blocking: as much as fits into its send buffer. One goroutine at a time may use
// it.
type direct struct {
	raw syscall.RawConn
	try func(fd uintptr) (done bool)
	p   []byte
	n   int
}

// newDirect returns nil for a connection without a non-blocking write, for instance one with TLS. A type that embeds a
// socket may do more in its Write, so only plain sockets are accepted.
func newDirect(conn net.Conn) *direct {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.try = func(fd uintptr) bool {
		for {
			n, err := writeNow(fd, d.p)
			d.n = max(n, 0)
			if !errors.Is(err, syscall.EINTR) {
				return true // never wait until the socket is writable
			}
		}
	}
	return d
}

// write returns how many bytes the socket has accepted. It reports no error: the blocking write that follows gets the
// error again.
func (d *direct) write(p []byte) int {
	d.p, d.n = p, 0
	_ = d.raw.Write(d.try)
	// Keep no reference: the buffer of the caller goes back to a pool.
	d.p = nil
	return d.n
}

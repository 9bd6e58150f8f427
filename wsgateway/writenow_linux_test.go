//go:build amd64 || arm64

package wsgateway

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWriteNow fills the socket of a client that reads nothing. A write returns though the socket was told to block.
func TestWriteNow(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = syscall.SetNonblock(int(fd), false) }))
	require.NoError(t, err)

	d, written := newDirect(conn), 0
	for n := 1; n > 0; written += n {
		n = d.write(make([]byte, copied))
	}
	require.Positive(t, written)
	require.NoError(t, conn.Close())
	require.Zero(t, d.write([]byte("late")))
}

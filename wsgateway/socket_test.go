package wsgateway

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFarewell reads no more than a little of a client that was thrown out, and ends when the socket is closed.
func TestFarewell(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	in := newIncoming(server)
	written := make(chan int)
	go func() {
		n, _ := client.Write(make([]byte, 3*farewellBytes))
		written <- n
	}()
	before := make([]byte, 1000)
	_, err := io.ReadFull(in, before)
	require.NoError(t, err)
	in.leave()
	_, err = io.CopyN(io.Discard, in, farewellBytes)
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- in.Close() }()
	n, err := in.Read(before)
	require.ErrorIs(t, err, net.ErrClosed)
	require.Zero(t, n)
	require.NoError(t, <-closed)
	require.Equal(t, len(before)+farewellBytes, <-written)
}

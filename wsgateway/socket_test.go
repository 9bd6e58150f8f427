package wsgateway

import (
	"encoding/json"
	"io"
	"net"
	"strings"
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

// TestTrace has the trace of a frame of streamkit, and none where it is too large or no object of strings.
func TestTrace(t *testing.T) {
	frame := func(trace string) *muxFrame { return &muxFrame{TraceContext: json.RawMessage(trace)} }
	require.Equal(t, map[string]string{"traceparent": "00-1-2-01"}, frame(`{"traceparent":"00-1-2-01"}`).trace())
	for _, bad := range []string{"", "null", "1", `["x"]`, `{"a":1}`, `{"a":"` + strings.Repeat("x", maxTrace) + `"}`} {
		require.Nil(t, frame(bad).trace(), "%.20s", bad)
	}
}

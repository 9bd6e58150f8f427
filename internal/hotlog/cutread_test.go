package hotlog_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A cutting connection ends after left more bytes, if that is not negative.
type cutting struct {
	net.Conn
	left *atomic.Int64
}

func (c cutting) Read(b []byte) (int, error) {
	left := c.left.Load()
	if left == 0 {
		c.left.Store(-1)
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	if left > 0 {
		b = b[:min(int64(len(b)), left)]
	}
	n, err := c.Conn.Read(b)
	if left > 0 {
		c.left.Add(-int64(n))
	}
	return n, err
}

// TestCutReads cuts connections in the middle of replies. The driver reads again, and nothing of the first reply is
// in what a reader gets.
func TestCutReads(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	var left atomic.Int64
	left.Store(-1)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return cutting{conn, &left}, err
	}})
	log, err := hotlog.Open(t.Context(), connect(t, client, nil), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	const segments, entries = 3, 200
	for i := range entries {
		for seg := range segments {
			add(t, s, fmt.Sprint("seg", seg), fmt.Sprint(seg, "/", i))
		}
	}
	for cut := int64(1); cut < 30_000; cut = cut*5/3 + 1 {
		left.Store(cut)
		n := 0
		for e, err := range s.ConsumeSegment(t.Context(), "space", "seg0", nil) {
			require.NoError(t, err, "cut after %d bytes", cut)
			require.Equal(t, fmt.Sprint("0/", n), string(e.Payload))
			n++
		}
		require.Equal(t, entries, n)
		left.Store(cut)
		next := map[string]int{}
		for e, err := range s.ConsumeSpace(t.Context(), "space", nil) {
			require.NoError(t, err, "cut after %d bytes", cut)
			require.Equal(t, fmt.Sprint(e.Segment[3:], "/", next[e.Segment]), string(e.Payload))
			next[e.Segment]++
		}
		require.Equal(t, map[string]int{"seg0": entries, "seg1": entries, "seg2": entries}, next)
	}
}

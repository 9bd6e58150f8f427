package archiver_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// A counting hook counts commands, also those of pipelines.
type counting struct{ n atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// TestPageOfWindow reads a few entries of a space whose archive has many changes in one window: it asks Redis for
// about as many segments as it returns.
func TestPageOfWindow(t *testing.T) {
	t.Parallel()
	o := everything(1)
	o.WindowBytes, o.ChunkBytes = 8<<20, 1<<20
	w := newWorld(t, o)
	const segments = 3000
	for i := 0; i < segments; i += 500 {
		var batch []streamhub.Append
		for j := range 500 {
			batch = append(batch, streamhub.Append{Space: space, Segment: fmt.Sprintf("s%04d", i+j), Records: []streamhub.Record{{Payload: []byte("x")}}})
		}
		_, errs := w.AppendAll(w.ctx, batch)
		require.Equal(t, make([]error, len(batch)), errs)
	}
	want := prints(w.readSpace(nil))
	w.move()
	commands := &counting{}
	v := w.another(o, commands)
	got := v.readSpace(&streamhub.ReadOptions{Limit: 10})
	require.Len(t, got, 10)
	require.Less(t, commands.n.Load(), int64(1200))
	w.same(want, prints(v.readSpace(nil)))
	rest := v.readSpace(&streamhub.ReadOptions{Cursor: got[9].Cursor()})
	w.same(want[10:], prints(rest))
}

package hotlog_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A between does something once after the XRANGE with which a pipeline begins, and before the rest of it.
type between struct {
	once sync.Once
	do   func()
}

func (b *between) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (b *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "xrange" || len(cmds) == 1 {
			return next(ctx, cmds)
		}
		if err := next(ctx, cmds[:1]); err != nil {
			return err
		}
		b.once.Do(b.do)
		return next(ctx, cmds[1:])
	}
}

// TestSpaceBegins: a space that begins while it is read for the first time has lost nothing.
func TestSpaceBegins(t *testing.T) {
	redisServer := miniredis.RunT(t)
	open := func(hooks ...redis.Hook) *hotlog.Log {
		log, err := hotlog.Open(t.Context(), connect(t, redis.NewClient(&redis.Options{Addr: redisServer.Addr()}), hooks), nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		return log
	}
	id := uuid.New()
	writer := open().Store(id)
	hook := &between{do: func() { add(t, writer, "seg", "first") }}
	entries, _, _, err := open(hook).Store(id).ReadSpacePage(t.Context(), "space", streamhub.Position{}, nil)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

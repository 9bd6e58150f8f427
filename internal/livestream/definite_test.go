package livestream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/hotlog/hotlogtest"
	"github.com/seed-147127fe/streamhub/internal/livestream"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// An impatient caller ends its context when a command of its client could not be sent.
type impatient struct {
	quit atomic.Pointer[context.CancelFunc]
}

func (h *impatient) sent(err error) error {
	if quit := h.quit.Load(); quit != nil && redisx.NotSent(err) {
		(*quit)()
	}
	return err
}

func (h *impatient) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *impatient) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return h.sent(next(ctx, cmd)) }
}

func (h *impatient) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.sent(next(ctx, cmds)) }
}

// TestDefiniteErrors lets the server go after each command of calls that take several. One whose error does not say
// that its outcome is unknown has ended nothing and begun nothing.
func TestDefiniteErrors(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	store := uuid.New()
	open := func(hooks ...redis.Hook) live.Streams {
		conn := connect(t, redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2, ContextTimeoutEnabled: true}), hooks)
		log, err := hotlog.Open(t.Context(), conn, &hotlog.Options{RetryFor: time.Millisecond})
		require.NoError(t, err)
		watcher, err := follow.Open(t.Context(), conn, log, nil)
		require.NoError(t, err)
		manager, err := livestream.Open(t.Context(), conn, log, watcher, nil)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, errors.Join(manager.Close(), watcher.Close(), log.Close()))
		})
		return manager.Streams(store, "space")
	}
	caller, wire := &impatient{}, &hotlogtest.Link{}
	streams, others := open(caller, wire), open()
	calls := map[string]func(ctx context.Context, id string) error{
		"take over": func(ctx context.Context, id string) error {
			_, _, err := streams.Start(ctx, id, &live.RegisterOptions{Takeover: true, Key: "0123456789abcdef"})
			return err
		},
		"remove": streams.Remove,
	}
	status := func(id string) (s live.Status, generation uint64) {
		stream, err := others.Get(t.Context(), id)
		require.NoError(t, err)
		s, err = stream.Status(t.Context())
		require.NoError(t, err)
		return s, stream.Generation()
	}
	for name, call := range calls {
		for n, failed := 0, true; failed; n++ {
			id := fmt.Sprint(name, " ", n)
			_, _, err := others.Start(t.Context(), id, nil)
			require.NoError(t, err)
			before, generation := status(id)
			ctx, cancel := context.WithCancel(t.Context())
			caller.quit.Store(&cancel)
			wire.Away(n, false)
			err = call(ctx, id)
			wire.Back()
			caller.quit.Store(nil)
			cancel()
			if failed = err != nil; failed && !errors.Is(err, streamhub.ErrUnknownOutcome) {
				after, now := status(id)
				require.Equal(t, generation, now, "%s: %v", id, err)
				require.Equal(t, before, after, "%s: %v", id, err)
			}
			require.Less(t, n, 100, name)
		}
	}
}

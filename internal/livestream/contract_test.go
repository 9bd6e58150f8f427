package livestream_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/livestream"
	"github.com/seed-147127fe/streamhub/internal/livestream/livetest"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestContractMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	m.ClockTTL(true)
	livetest.Run(t, func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
		return connect(t, redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2, ContextTimeoutEnabled: true}), hooks)
	})
}

func TestContractRedis(t *testing.T) {
	server := testredis.Shared(t)
	declared := testredis.DeclaredKeys(t, server.Client().Options())
	livetest.Run(t, func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
		return connect(t, redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}), append(hooks, declared))
	})
}

// TestListUser lists as the documented user, to which nothing may be refused.
func TestListUser(t *testing.T) {
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	conn := connect(t, redis.NewClient(&redis.Options{
		Addr: server.Addr(), Username: testredis.User, Password: testredis.Password, DisableIdentity: true, ContextTimeoutEnabled: true,
	}), nil)
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	watcher, err := follow.Open(t.Context(), conn, log, nil)
	require.NoError(t, err)
	m, err := livestream.Open(t.Context(), conn, log, watcher, nil)
	require.NoError(t, err)
	for _, err := range m.Streams(uuid.New(), "space").ListStatus(t.Context(), true) {
		require.NoError(t, err)
	}
	require.NoError(t, m.Close())
	require.NoError(t, watcher.Close())
	require.NoError(t, log.Close())
}

func TestContractCluster(t *testing.T) {
	addrs := testredis.SharedCluster(t).Addrs()
	livetest.Run(t, func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
		return connect(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true}), hooks)
	})
}

func connect(t *testing.T, client redis.UniversalClient, hooks []redis.Hook) *redisx.Conn {
	t.Helper()
	t.Cleanup(func() { _ = client.Close() })
	for _, h := range hooks {
		client.AddHook(h)
	}
	conn, err := redisx.Connect(t.Context(), client)
	require.NoError(t, err)
	return conn
}

package livestream_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
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

// TestContractRedis runs the contract as the documented user, to which nothing may be refused.
func TestContractRedis(t *testing.T) {
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	declared := testredis.DeclaredKeys(t, server.Client().Options())
	livetest.Run(t, func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
		return connect(t, redis.NewClient(&redis.Options{
			Addr: server.Addr(), Username: testredis.User, Password: testredis.Password, DisableIdentity: true, ContextTimeoutEnabled: true,
		}), append(hooks, declared))
	})
}

func TestContractCluster(t *testing.T) {
	addrs := testredis.SharedCluster(t).Addrs()
	livetest.Run(t, func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
		return connect(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true}), hooks)
	})
}

// TestSweepAsksRedis finds a silent producer by the clock of Redis, which shows an hour more than that of the process.
func TestSweepAsksRedis(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Now().Add(time.Hour)
	m.SetTime(now)
	conn := connect(t, redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2}), nil)
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	watcher, err := follow.Open(t.Context(), conn, log, nil)
	require.NoError(t, err)
	manager, err := livestream.Open(t.Context(), conn, log, watcher, nil)
	require.NoError(t, err)
	store := uuid.New()
	_, err = log.Store(store).Append(t.Context(), "space", "segment", []streamhub.Record{{}}, nil)
	require.NoError(t, err)
	silent := redis.Z{Score: float64(now.Add(-time.Minute).UnixMilli()), Member: "chat~1"}
	require.NoError(t, conn.ZAdd(t.Context(), hotlog.Key(store, "space", "la"), silent).Err())
	require.NoError(t, manager.Sweep(t.Context(), store))
	require.Eventually(t, func() bool { return m.Exists(hotlog.Key(store, "space", "lr")) }, 30*time.Second, time.Millisecond,
		"the heartbeat of the space has begun")
	require.NoError(t, manager.Close())
	require.NoError(t, watcher.Close())
	require.NoError(t, log.Close())
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

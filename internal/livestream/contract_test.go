package livestream_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

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

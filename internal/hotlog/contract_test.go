package hotlog_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/hotlog/hotlogtest"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestContractMiniredis(t *testing.T) {
	t.Parallel()
	hotlogtest.Run(t, func(t *testing.T) *hotlogtest.Env {
		m := miniredis.RunT(t)
		now := time.Now()
		return &hotlogtest.Env{
			Connect: func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
				return connect(t, redis.NewClient(&redis.Options{Addr: m.Addr(), Protocol: 2, ContextTimeoutEnabled: true}), hooks)
			},
			Advance: func(_ *testing.T, d time.Duration) {
				if real := time.Now(); real.After(now) {
					now = real
				}
				now = now.Add(d)
				m.SetTime(now)
			},
			Reign: func(*testing.T) { m.Del("sh:lineage") },
		}
	})
}

// reigning lets a server change its lineage on command.
var reigning = testredis.Options{Config: []string{"enable-debug-command yes"}}

func TestContractRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &reigning)
	declared := testredis.DeclaredKeys(t, server.Client().Options())
	hotlogtest.Run(t, func(t *testing.T) *hotlogtest.Env {
		admin := server.Client()
		return &hotlogtest.Env{
			Connect: func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
				return connect(t, redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}), append(hooks, declared))
			},
			Advance: func(t *testing.T, d time.Duration) { advance(t, admin, d) },
			Reign:   func(t *testing.T) { reign(t, t.Context(), admin) },
		}
	})
}

// TestContractUser runs the contract as the documented user, to which nothing may be refused.
func TestContractUser(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &reigning)
	testredis.AsUser(t, server)
	hotlogtest.Run(t, func(t *testing.T) *hotlogtest.Env {
		admin := server.Client()
		return &hotlogtest.Env{
			Connect: func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
				return connect(t, redis.NewClient(&redis.Options{
					Addr: server.Addr(), Username: testredis.User, Password: testredis.Password, DisableIdentity: true, ContextTimeoutEnabled: true,
				}), hooks)
			},
			Admin: func(t *testing.T) *redisx.Conn {
				return connect(t, redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}), nil)
			},
			Advance: func(t *testing.T, d time.Duration) { advance(t, admin, d) },
			Reign:   func(t *testing.T) { reign(t, t.Context(), admin) },
		}
	})
}

func TestContractCluster(t *testing.T) {
	t.Parallel()
	cluster := testredis.StartCluster(t, 3, 0, &testredis.ClusterOptions{Options: reigning})
	hotlogtest.Run(t, func(t *testing.T) *hotlogtest.Env {
		admin := cluster.Client()
		return &hotlogtest.Env{
			Connect: func(t *testing.T, hooks ...redis.Hook) *redisx.Conn {
				return connect(t, redis.NewClusterClient(&redis.ClusterOptions{
					Addrs:                 []string{cluster.Nodes[0].Addr(), cluster.Nodes[1].Addr(), cluster.Nodes[2].Addr()},
					ContextTimeoutEnabled: true,
				}), hooks)
			},
			Advance: func(t *testing.T, d time.Duration) { advance(t, admin, d) },
			Reign: func(t *testing.T) {
				require.NoError(t, admin.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
					reign(t, ctx, node)
					return nil
				}))
			},
		}
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

// advance waits until so much time has passed on the server.
func advance(t *testing.T, client redis.UniversalClient, d time.Duration) {
	t.Helper()
	start, err := client.Time(t.Context()).Result()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		now, err := client.Time(t.Context()).Result()
		return err == nil && now.Sub(start) >= d
	}, d+10*time.Second, time.Millisecond)
}

// reign makes a server a promoted one: it has another lineage and knows no script.
func reign(t *testing.T, ctx context.Context, client *redis.Client) {
	t.Helper()
	require.NoError(t, client.Do(ctx, "debug", "change-repl-id").Err())
	require.NoError(t, client.ScriptFlush(ctx).Err())
}

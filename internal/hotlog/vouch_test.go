package hotlog_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// called returns how often a command ran on a server.
func called(t *testing.T, client *redis.Client, command string) (n int) {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	_, rest, _ := strings.Cut(info, "cmdstat_"+command+":calls=")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// vouched appends until an append does not ask for INFO.
func vouched(t *testing.T, s *hotlog.Store, client *redis.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		before := called(t, client, "info")
		add(t, s, "seg", "x")
		return called(t, client, "info") == before+1 // that of called itself
	}, 10*time.Second, time.Millisecond)
}

func TestVouchedAppendsAskSeldom(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	s := logOn(t, server, uuid.New(), nil)
	client := server.Client()
	vouched(t, s, client)
	before, began := called(t, client, "info"), time.Now()
	for range 200 {
		add(t, s, "seg", "x")
	}
	asked := called(t, client, "info") - before
	require.LessOrEqual(t, asked, 2+int(time.Since(began)/time.Second))
}

// TestVouchedPromotion: a process that appends without asking comes to a promoted replica.
func TestVouchedPromotion(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	var serving atomic.Value
	serving.Store(primary.Addr())
	conn := connect(t, redis.NewClient(&redis.Options{
		ContextTimeoutEnabled: true, MaxRetries: -1,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", serving.Load().(string))
		},
	}), nil)
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	add(t, s, "seg", "x")
	replicate(t, replica, primary)
	vouched(t, s, primary.Client())
	last := add(t, s, "seg", "x")
	caughtUp(t, primary)

	serving.Store(replica.Addr())
	require.NoError(t, replica.Client().Do(t.Context(), "replicaof", "no", "one").Err())
	require.NoError(t, primary.Client().Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err())
	info, err := replica.Client().Info(t.Context(), "replication").Result()
	require.NoError(t, err)
	next := add(t, s, "seg", "x")
	require.Equal(t, last.Last+1, next.First)
	require.Contains(t, info, fmt.Sprintf("master_replid:%016x", next.Position.Lineage))
	vouched(t, s, replica.Client())
}

// TestVouchedReignEnds: a primary that becomes another one and still knows every script is found out within a second.
func TestVouchedReignEnds(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &reigning)
	s := logOn(t, server, uuid.New(), nil)
	client := server.Client()
	vouched(t, s, client)
	old := add(t, s, "seg", "x").Position.Lineage
	began := time.Now()
	require.NoError(t, client.Do(t.Context(), "debug", "change-repl-id").Err())
	require.Eventually(t, func() bool {
		begun := time.Now()
		r := add(t, s, "seg", "x")
		if r.Position.Lineage != old {
			return true
		}
		require.Less(t, begun.Sub(began), time.Second, "an append of the old lineage")
		return false
	}, 10*time.Second, time.Millisecond)
	vouched(t, s, client)
}

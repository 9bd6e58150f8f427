package redisx_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestCallOutcome ends the context of a call that waits for a connection, and that of one that waits for an answer.
func TestCallOutcome(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, PoolSize: 1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	conn, err := redisx.Connect(t.Context(), client)
	require.NoError(t, err)
	script := redisx.NewScript("return 1")
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		call := conn.Call(ctx, script, 1, "key")
		return call.Outcome(conn.Process(ctx, call))
	}
	taken := client.Conn()
	require.NoError(t, taken.Ping(t.Context()).Err())
	err = call()
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome)
	require.NoError(t, taken.Close())
	require.True(t, redisx.IsNoScript(call()))
	server.Pause()
	err = call()
	server.Resume()
	require.ErrorIs(t, err, streamhub.ErrUnknownOutcome)
}

package redisx_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

var _ redis.Error = refusal("")

// TestMoving: only what a server says before it runs a command may be sent again.
func TestMoving(t *testing.T) {
	for text, want := range map[string]bool{
		"TRYAGAIN Multiple keys request during rehashing of slot":                    true,
		"ASK 13693 127.0.0.1:7000":                                                   true,
		"MOVED 13693 127.0.0.1:7000":                                                 true,
		"ERR Script attempted to access a non local key in a cluster node script: x": false,
		"CLUSTERDOWN The cluster is down":                                            false,
		"NOSCRIPT No matching script":                                                false,
	} {
		err := refusal(text)
		require.Equal(t, want, redisx.Moving(err), text)
		require.Equal(t, want, redisx.Moving(redisx.Outcome(err)), text)
	}
	require.False(t, redisx.Moving(nil))
	require.False(t, redisx.Moving(fmt.Errorf("ASK me")), "not an answer of a server")

	attempts := 0
	err := redisx.Settled(t.Context(), func() error {
		if attempts++; attempts < 4 {
			return refusal("TRYAGAIN x")
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 4, attempts)

	ctx, cancel := context.WithCancel(t.Context())
	err = redisx.Settled(ctx, func() error {
		cancel()
		return refusal("TRYAGAIN x")
	})
	require.True(t, redisx.Moving(err))
}

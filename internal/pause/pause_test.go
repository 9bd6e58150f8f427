package pause_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

func TestBackoff(t *testing.T) {
	b := pause.Backoff{First: 20, Longest: 100}
	for range 2 {
		for _, most := range []time.Duration{20, 40, 80, 100, 100} {
			next := b.Next()
			require.LessOrEqual(t, next, most)
			require.GreaterOrEqual(t, next, most/2)
		}
		b.Reset()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	long := pause.Backoff{First: time.Hour, Longest: time.Hour}
	require.False(t, long.Wait(ctx))
	require.True(t, b.Wait(t.Context()))
}

func TestWorthwhile(t *testing.T) {
	of := func(reason streamhub.UnavailableReason) error {
		return &streamhub.UnavailableError{Reason: reason, Err: errors.New("x")}
	}
	require.True(t, pause.Worthwhile(of(streamhub.ReasonDown)))
	require.True(t, pause.Worthwhile(of(streamhub.ReasonReplicas)))
	require.False(t, pause.Worthwhile(of(streamhub.ReasonFull)), "until somebody makes room")
	require.False(t, pause.Worthwhile(of(streamhub.ReasonDenied)))
	require.False(t, pause.Worthwhile(streamhub.ErrFenced))
}

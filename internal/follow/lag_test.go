package follow

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLag: the slowest follower counts, along a segment and along a space, until it has gone.
func TestLag(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	var told atomic.Int64
	by.TellDelivered(func(_ context.Context, appended time.Time) {
		if time.Since(appended) < time.Minute {
			told.Add(1)
		}
	})
	require.Zero(t, by.Lag())
	require.True(t, by.Connected(), "none is needed")
	w.append("a", "b", 3)
	for _, segment := range []string{"b", ""} {
		ctx, cancel := context.WithCancel(t.Context())
		began, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			first := true
			pages := by.FollowSegmentPages(ctx, w.store, "a", "b", nil, nil)
			if segment == "" {
				pages = by.FollowSpacePages(ctx, w.store, "a", nil, nil)
			}
			for range pages { //nolint:errcheck // it ends with the context
				if first {
					close(began)
					<-goOn
					first = false
				}
			}
		}()
		<-began
		before := told.Load()
		w.append("a", "b", 4)
		require.Eventually(t, func() bool { return by.Lag() >= 4 }, soon, time.Millisecond)
		require.True(t, by.Connected())
		require.Greater(t, told.Load(), before)
		close(goOn)
		require.Eventually(t, func() bool { return by.Lag() == 0 }, soon, time.Millisecond)
		cancel()
		<-ended
	}
	require.Zero(t, by.Lag())
}

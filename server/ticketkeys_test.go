package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// TestRedisKeys: all gateways of a Redis make one key at a time, replace it daily, and check those that
// may still be on their way.
func TestRedisKeys(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	gateways := make([]*redisKeys, 4)
	for i := range gateways {
		gateways[i] = newRedisKeys(h)
		gateways[i].now = clock
	}
	current := func() string {
		t.Helper()
		ids := make([]string, len(gateways))
		var asking sync.WaitGroup
		for i, g := range gateways {
			asking.Go(func() {
				var err error
				if ids[i], _, err = g.Current(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		require.Len(t, slices.Compact(ids), 1, "%v", ids)
		return ids[0]
	}
	first := current()
	known := func(id string, want bool) {
		t.Helper()
		for _, g := range gateways {
			key, err := g.Find(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, key != nil)
		}
	}
	known(first, true)
	pass(23 * time.Hour)
	require.Equal(t, first, current())
	pass(2 * time.Hour)
	require.Equal(t, first, current(), "the new one is not known everywhere")
	pass(2 * time.Minute)
	second := current()
	require.NotEqual(t, first, second)
	known(first, true)
	known(second, true)
	for range 4 {
		pass(25 * time.Hour)
		current()
	}
	pass(2 * time.Minute)
	require.NotEqual(t, second, current())
	known(first, false)
	entries := 0
	for _, err := range h.Store(auth.Internal).ConsumeSegment(t.Context(), ticketSpace, ticketSegment, nil) {
		require.NoError(t, err)
		entries++
	}
	require.LessOrEqual(t, entries, ticketKeysKept)
}

// TestUnknownKeys: keys that nobody has cost one read a second.
func TestUnknownKeys(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	k := newRedisKeys(h)
	start := time.Now()
	k.now = func() time.Time { return start }
	id, _, err := k.Current(t.Context())
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel() // a read would fail
	for n := range 1000 {
		key, err := k.Find(ended, fmt.Sprint(n))
		require.NoError(t, err)
		require.Nil(t, key)
	}
	key, err := k.Find(ended, id)
	require.NoError(t, err)
	require.NotNil(t, key)
	k.now = func() time.Time { return start.Add(2 * time.Second) }
	_, err = k.Find(ended, "another")
	require.Error(t, err)
}

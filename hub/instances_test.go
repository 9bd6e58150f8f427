package hub_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// eventually asks until check gives no error.
func eventually(t *testing.T, check func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !check(ctx) {
		select {
		case <-ctx.Done():
			t.Fatal("it never came true")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestInstances shows every instance to all others until it ends.
func TestInstances(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	declared := testredis.DeclaredKeys(t, server.Client().Options())
	open := func(o *hub.Options) *hub.Hub {
		client := server.Client()
		client.AddHook(declared)
		h, err := hub.Open(t.Context(), client, o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, h.Close()) })
		return h
	}
	named := open(&hub.Options{Instance: &hub.InstanceOptions{Name: "a", Version: "v1.2.3", Address: "http://a:8080"}})
	plain := open(nil)
	open(&hub.Options{SweepEvery: -1})
	open(&hub.Options{Instance: &hub.InstanceOptions{Silent: true}})
	var all []hub.Instance
	eventually(t, func(ctx context.Context) (there bool) {
		var err error
		all, err = plain.Instances(ctx)
		require.NoError(t, err)
		return len(all) == 2
	})
	i := all[1]
	if all[0].Name == "a" {
		i = all[0]
	}
	require.Equal(t, "v1.2.3", i.Version)
	require.Equal(t, "http://a:8080", i.Address)
	require.WithinDuration(t, time.Now(), time.UnixMilli(i.Started), time.Minute)
	require.NoError(t, named.Close())
	all, err := plain.Instances(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NotEmpty(t, all[0].Name)

	// One that was killed goes by itself.
	require.NoError(t, server.Client().ZAdd(t.Context(), "sh:{instances}:d", redis.Z{Score: float64(time.Now().Add(-time.Second).UnixMilli()), Member: "dead"}).Err())
	require.NoError(t, server.Client().HSet(t.Context(), "sh:{instances}:m", "dead", `{"id":"dead"}`).Err())
	all, err = plain.Instances(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)

	// So do all that are there, also where nobody is left then.
	require.NoError(t, plain.Close())
	require.NoError(t, server.Client().ZAdd(t.Context(), "sh:{instances}:d", redis.Z{Score: 1, Member: "dead"}).Err())
	require.NoError(t, server.Client().HSet(t.Context(), "sh:{instances}:m", "dead", `{"id":"dead"}`).Err())
	late := open(nil)
	eventually(t, func(ctx context.Context) bool {
		all, err := late.Instances(ctx)
		require.NoError(t, err)
		return len(all) == 1 && all[0].ID != "dead"
	})
}

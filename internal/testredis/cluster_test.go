package testredis

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	c := StartCluster(t, 3, 1, &ClusterOptions{Options: Options{Password: "secret"}, NodeTimeout: time.Second})
	t.Logf("ready after %v", time.Since(begin))
	ctx := within(t, 2*time.Minute)
	client := c.Client()

	served := make(map[int]bool)
	for i := range 100 {
		key := fmt.Sprintf("k%d", i)
		if err := client.Set(ctx, key, i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		served[c.MasterFor(key)] = true
	}
	if len(served) != 3 || !served[0] || !served[1] || !served[2] {
		t.Errorf("keys are served by %v, want nodes 0, 1 and 2", served)
	}
	for i := range 3 {
		if got, want := c.ReplicasOf(i), []int{i + 3}; !slices.Equal(got, want) {
			t.Errorf("replicas of %d: %v, want %v", i, got, want)
		}
	}

	old := c.MasterFor("k1")
	if n, err := client.Wait(ctx, 0, 0).Result(); err != nil {
		t.Fatalf("WAIT: %d, %v", n, err)
	}
	begin = time.Now()
	c.Kill(old)
	c.WaitReady()
	t.Logf("failover after %v", time.Since(begin))
	if now := c.MasterFor("k1"); now != old+3 {
		t.Errorf("k1 is served by node %d after the death of %d, want its replica %d", now, old, old+3)
	}
	if err := client.Set(ctx, "k1", "new", 0).Err(); err != nil {
		t.Errorf("write after the failover: %v", err)
	}
	c.Restart(old)
	c.WaitReady()
	if got := c.ReplicasOf(old + 3); !slices.Equal(got, []int{old}) {
		t.Errorf("replicas of the new master: %v, want %d", got, old)
	}
}

func TestClusterOfOne(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 1, 0, nil)
	if err := c.Client().Set(within(t, 30*time.Second), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}

func TestMoveSlot(t *testing.T) {
	c := StartCluster(t, 2, 0, nil)
	client := c.Client()
	for i := range 20 {
		require.NoError(t, client.Set(t.Context(), fmt.Sprintf("{x}%d", i), i, 0).Err())
	}
	from := c.MasterFor("{x}")
	steps := 0
	moved, err := c.MoveSlot(t.Context(), "{x}", 1-from, func() {
		require.NoError(t, client.Get(t.Context(), fmt.Sprintf("{x}%d", steps%20)).Err())
		steps++
	})
	require.NoError(t, err)
	require.Equal(t, 20, moved)
	require.Equal(t, 22, steps)
	require.Equal(t, 1-from, c.MasterFor("{x}"))
	moved, err = c.MoveSlot(t.Context(), "{x}", 1-from, nil)
	require.NoError(t, err)
	require.Zero(t, moved)
}

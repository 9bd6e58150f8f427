package testredis

import (
	"context"
	"testing"
	"time"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	s := StartSentinel(t, &SentinelOptions{Options: Options{Password: "secret"}})
	t.Logf("ready after %v", time.Since(begin))
	ctx := within(t, 2*time.Minute)
	client := s.Client()

	if got, want := s.MasterAddr(), s.Servers[0].Addr(); got != want {
		t.Errorf("master is %s, want %s", got, want)
	}
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	// Two masters in a row: the second failover needs the former master back as a replica.
	for range 2 {
		if n, err := client.Wait(ctx, 2, 10*time.Second).Result(); err != nil || n != 2 {
			t.Fatalf("WAIT = %d, %v", n, err)
		}
		begin = time.Now()
		old := s.KillMaster()
		next := s.WaitFailover(old)
		t.Logf("failover after %v", time.Since(begin))
		if next == old || next.Pid() == 0 {
			t.Fatalf("new master %s, old one %s", next.Addr(), old.Addr())
		}
		if v, err := next.Client().Get(ctx, "k").Result(); err != nil || v != "v" {
			t.Errorf("new master: %q, %v", v, err)
		}
		s.WaitReady()
		old.Restart()
		s.WaitReady()
		// A pooled connection to the dead master may fail once before the client looks for the new one.
		err := poll(30*time.Second, func(ctx context.Context) error { return client.Set(ctx, "k", "v", 0).Err() })
		if err != nil {
			t.Fatalf("write after the failover: %v", err)
		}
	}
}

package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/lease"
)

// A full Redis takes no new lease; those it has are renewed and given back.
func TestFullRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	client := server.Client()
	m := lease.New(connect(t, client), nil)
	token := acquire(t, m, "a")
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := m.AcquireAs(t.Context(), store, "another", "a", time.Minute)
	var unavailable *streamhub.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Reason != streamhub.ReasonFull {
		t.Fatalf("acquire: %v", err)
	}
	if got, err := m.RenewAs(t.Context(), store, key, "a", time.Minute); err != nil || got != token {
		t.Errorf("renew: %d, %v", got, err)
	}
	if held, err := m.Peek(t.Context(), store, key); err != nil || held.Token != token {
		t.Errorf("peek: %+v, %v", held, err)
	}
	release(t, m, "a")
}

// TestListOutlived grants a lease where all that are listed are over.
func TestListOutlived(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	client := server.Client()
	client.AddHook(testredis.DeclaredKeys(t, client.Options()))
	if err := client.ZAdd(t.Context(), "sh:{"+store.String()+"}:l", redis.Z{Score: 1, Member: "over"}).Err(); err != nil {
		t.Fatal(err)
	}
	m := lease.New(connect(t, client), nil)
	acquire(t, m, "a")
	var listed []string
	for l, err := range m.List(t.Context(), store) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, l.Key)
	}
	if len(listed) != 1 || listed[0] != key {
		t.Errorf("listed: %v", listed)
	}
}

// A Redis that comes back without its data: the holder stops, the next one has a higher token.
func TestRestartEmpty(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	m := lease.New(connect(t, server.Client()), nil)
	var token uint64
	err := m.WithLease(t.Context(), store, key, 3*time.Second, func(ctx context.Context, l *lease.Lease) error {
		token = l.Token()
		server.RestartEmpty()
		ends(t, ctx)
		return nil
	})
	if !errors.Is(err, streamhub.ErrLeaseLost) {
		t.Errorf("got %v", err)
	}
	if next := acquire(t, m, "b"); next <= token {
		t.Errorf("token %d follows %d", next, token)
	}
}

// A Redis that comes back with its data disturbs no holder.
func TestRestart(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	m := lease.New(connect(t, server.Client()), nil)
	err := m.WithLease(t.Context(), store, key, 6*time.Second, func(ctx context.Context, l *lease.Lease) error {
		server.Kill()
		server.Restart()
		until := l.TrustedUntil()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for l.TrustedUntil().Equal(until) && ctx.Err() == nil {
			<-tick.C
		}
		return context.Cause(ctx)
	})
	if err != nil {
		t.Error(err)
	}
}

// A Redis that hangs: the holder stops before the lease can expire.
func TestHungRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	m := lease.New(connect(t, server.Client()), nil)
	const ttl = 3 * time.Second
	err := m.WithLease(t.Context(), store, key, ttl, func(ctx context.Context, l *lease.Lease) error {
		server.Pause()
		defer server.Resume()
		begin := time.Now() // not before the lease was sent for
		ends(t, ctx)
		if took := time.Since(begin); took > ttl {
			t.Errorf("the holder went on for %v of %v", took, ttl)
		}
		return nil
	})
	if !errors.Is(err, streamhub.ErrLeaseLost) {
		t.Errorf("got %v", err)
	}
}

func TestRedisDown(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	m := lease.New(connect(t, server.Client()), nil)
	acquire(t, m, "a")
	server.Kill()
	_, err := m.Acquire(t.Context(), store, key, time.Minute)
	if !errors.Is(err, streamhub.ErrUnavailable) && !errors.Is(err, streamhub.ErrUnknownOutcome) {
		t.Errorf("acquire: %v", err)
	}
	_, err = m.Peek(t.Context(), store, key)
	if !errors.Is(err, streamhub.ErrUnavailable) {
		t.Errorf("peek: %v", err)
	}
}

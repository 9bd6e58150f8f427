package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// patient makes tests with faults short, as quick does with nothing else.
var (
	patient = client.RetryPolicy{Attempts: 50, InitialDelay: 5 * time.Millisecond, MaxDelay: 50 * time.Millisecond, Multiplier: 2}
	quick   = &client.Options{Retry: &patient}
)

// second opens another hub on the same Redis.
func second(t *testing.T, h *hub.Hub) *hub.Hub {
	t.Helper()
	redis, err := hub.NewClient(h.RedisURL())
	require.NoError(t, err)
	other, err := hub.Open(t.Context(), redis, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, other.Close())
		require.NoError(t, redis.Close())
	})
	return other
}

func proxied(t *testing.T, address string, seed uint64) (*faultproxy.Proxy, string) {
	t.Helper()
	p, err := faultproxy.New(strings.TrimPrefix(address, "ws://"), seed, faultproxy.Faults{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p, "ws://" + p.Addr()
}

// TestResume cuts every connection of clients that append and follow, again and again, between two
// gateways with hubs of their own. Every append is stored once and every follower sees all of them
// once, in order.
func TestResume(t *testing.T) {
	h := embedded(t)
	pa, a := proxied(t, serve(t, h, nil), 1)
	pb, b := proxied(t, serve(t, second(t, h), nil), 2)
	id := uuid.New()
	const appenders, each, followers = 8, 60, 6
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	var readers sync.WaitGroup
	var seen [followers][]string
	for f := range followers {
		s := connect(t, dial(t, nil, a, b), quick).Store(id)
		readers.Go(func() {
			read := s.FollowSegment(ctx, "space", "seg", &streamhub.FollowOptions{Limit: appenders * each})
			if f%2 == 1 {
				read = s.FollowSpace(ctx, "space", &streamhub.FollowOptions{Limit: appenders * each})
			}
			next := uint64(1)
			for e, err := range read {
				if err != nil || e.Sequence != next {
					t.Errorf("follower %d at %d got %d: %v", f, next, e.Sequence, err)
					return
				}
				next++
				seen[f] = append(seen[f], string(e.Payload))
			}
		})
	}
	// A cut follows progress, not time, so that a slow machine gets somewhere in between.
	const between = 12
	var stored, cuts atomic.Int64
	var writers sync.WaitGroup
	for w := range appenders {
		s := connect(t, dial(t, nil, b, a), quick).Store(id)
		writers.Go(func() {
			for i := range each {
				if _, err := s.Append(ctx, "space", "seg", []streamhub.Record{{Payload: fmt.Appendf(nil, "%d-%d", w, i)}}, nil); err != nil {
					t.Errorf("append %d-%d: %v", w, i, err)
					return
				}
				if stored.Add(1)%between == 0 {
					cuts.Add(int64(pa.CutAll() + pb.CutAll()))
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	require.NotZero(t, cuts.Load())
	t.Logf("%d connections were cut", cuts.Load())
	once := map[string]bool{}
	for _, payload := range seen[0] {
		require.False(t, once[payload], "%s is there twice", payload)
		once[payload] = true
	}
	require.Len(t, once, appenders*each)
	for f := range followers {
		require.Equal(t, seen[0], seen[f])
	}
}

// TestAppendAllOverCuts gives batches to clients whose connections are cut again and again, between
// two gateways: everything is stored once, in the order given.
func TestAppendAllOverCuts(t *testing.T) {
	h := embedded(t)
	pa, a := proxied(t, serve(t, h, nil), 21)
	pb, b := proxied(t, serve(t, second(t, h), nil), 22)
	s := connect(t, dial(t, nil, a, b), quick).Store(uuid.New())
	chains := map[string]func(i int) *streamhub.AppendOptions{
		"plain": func(int) *streamhub.AppendOptions { return nil },
		"sequences": func(i int) *streamhub.AppendOptions {
			return &streamhub.AppendOptions{ExpectedSequence: uint64(i + 1)}
		},
	}
	const batches, each = 30, 12
	want := map[string][]string{}
	for batch := range batches {
		var appends []streamhub.Append
		for i := range each {
			for segment, options := range chains {
				n := batch*each + i
				appends = append(appends, streamhub.Append{
					Space: "space", Segment: segment, Records: []streamhub.Record{{Payload: fmt.Append(nil, n)}}, Options: options(n),
				})
				want[segment] = append(want[segment], fmt.Sprint(n))
			}
		}
		var cutter sync.WaitGroup
		cutter.Go(func() { // once the batch is under way, or before, or after
			for pa.CutAll()+pb.CutAll() == 0 && t.Context().Err() == nil {
				runtime.Gosched()
			}
		})
		_, errs := s.AppendAll(t.Context(), appends)
		for i, err := range errs {
			require.NoError(t, err, "batch %d, append %d", batch, i)
		}
		cutter.Wait()
	}
	for segment, list := range want {
		var got []string
		for e, err := range h.Store(s.ID()).ConsumeSegment(t.Context(), "space", segment, nil) {
			require.NoError(t, err)
			got = append(got, string(e.Payload))
		}
		require.Equal(t, list, got, segment)
	}
}

// TestLeaseNetworkLost cuts the holder of a lease off: its context ends before the lease does.
func TestLeaseNetworkLost(t *testing.T) {
	h := embedded(t)
	p, a := proxied(t, serve(t, h, nil), 3)
	c := connect(t, dial(t, &client.WebSocketOptions{PingInterval: time.Hour, DialTimeout: time.Hour}, a), quick)
	id := uuid.New()
	const ttl = 3 * time.Second
	err := c.Store(id).WithLease(t.Context(), "key", ttl, 0, func(ctx context.Context, token uint64) error {
		require.NotZero(t, token)
		p.Set(faultproxy.Faults{ToServer: faultproxy.Flow{Blackhole: true}, ToClient: faultproxy.Flow{Blackhole: true}})
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Second):
			t.Error("the context of a holder that is cut off did not end")
		}
		require.ErrorIs(t, context.Cause(ctx), streamhub.ErrLeaseLost)
		_, err := h.Store(id).AcquireLeaseAs(t.Context(), "key", "other", ttl)
		require.ErrorIs(t, err, streamhub.ErrLeaseNotAcquired, "it ended before the lease did")
		return nil
	})
	require.ErrorIs(t, err, streamhub.ErrLeaseLost)
}

// TestSubscription looks at handlers that fail, and at a subscription over a lost connection.
func TestSubscription(t *testing.T) {
	h := embedded(t)
	p, a := proxied(t, serve(t, h, nil), 4)
	failed := make(chan error, 100)
	c := connect(t, dial(t, nil, a), &client.Options{
		Retry: &patient, HandlerTimeout: 50 * time.Millisecond,
		OnHandlerFailed: func(status client.SubscriptionStatus, err error) {
			if status.LastError == nil || status.ID == uuid.Nil {
				err = errors.New("the status is one of before")
			}
			failed <- err
		},
	})
	id := uuid.New()
	s := c.Store(id)
	got := make(chan streamhub.Status, 100)
	sub, err := s.HandleSpace(t.Context(), "space", func(ctx context.Context, status streamhub.Status) {
		got <- status
		switch status.LastSequence {
		case 1:
			panic("on purpose")
		case 2:
			<-ctx.Done()
		}
	})
	require.NoError(t, err)
	add := func(n uint64) {
		t.Helper()
		_, err := h.Store(id).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
		require.NoError(t, err)
		for deadline := time.After(30 * time.Second); ; {
			select {
			case status := <-got:
				if status.LastSequence == n {
					return
				}
			case <-deadline:
				t.Fatalf("status %d did not come", n)
			}
		}
	}
	add(1)
	add(2)
	p.CutAll()
	add(3)
	status := c.GetSubscriptionStatus(sub.ID())
	require.Equal(t, client.SubscriptionActive, status.Status)
	require.Equal(t, 1, status.HandlerPanics)
	require.GreaterOrEqual(t, status.HandlerTimeouts, 1)
	panics := 0
	for range status.FailureCount {
		if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
			require.ErrorContains(t, err, "panic: on purpose")
			panics++
		}
	}
	require.Equal(t, 1, panics)
	sub.Unsubscribe()
	require.Nil(t, c.GetSubscriptionStatus(sub.ID()))
	_, err = h.Store(id).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("late")}}, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

// TestUnauthenticated looks at what a refused token does.
func TestUnauthenticated(t *testing.T) {
	failures := make(chan error, 10)
	failed := make(chan error, 1)
	p := dial(t, &client.WebSocketOptions{
		Token:         func(context.Context) (string, error) { return "", fmt.Errorf("no token today") },
		OnDialFailure: func(_ string, err error) { failures <- err },
	}, serve(t, embedded(t), nil))
	c := connect(t, p, &client.Options{Retry: &patient, OnSubscriptionFailed: func(_ client.SubscriptionStatus, err error) { failed <- err }})
	_, err := c.Store(uuid.Nil).Status(t.Context(), "space", "seg")
	require.ErrorIs(t, err, streamhub.ErrUnauthenticated)
	require.ErrorIs(t, <-failures, streamhub.ErrUnauthenticated)
	sub, err := c.Store(uuid.Nil).HandleSpace(t.Context(), "space", func(context.Context, streamhub.Status) {})
	require.NoError(t, err)
	require.ErrorIs(t, <-failed, streamhub.ErrUnauthenticated)
	<-sub.Done()
	require.Equal(t, client.SubscriptionFailed, sub.Status().Status)
}

// TestNoToken: nothing is stored for a client that never showed a token, and its append says so.
func TestNoToken(t *testing.T) {
	jwts, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: []byte("a secret that is long enough for HS256")})
	require.NoError(t, err)
	s := connect(t, dial(t, nil, serve(t, embedded(t), &wsgateway.Options{Auth: jwts})), quick).Store(uuid.Nil)
	_, err = s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.ErrorIs(t, err, streamhub.ErrUnauthenticated)
	require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome)
	_, err = s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}})
	require.ErrorIs(t, err, streamhub.ErrUnauthenticated)
	require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome)
}

// TestRefresh presents a new token on an open connection, and on every dial.
func TestRefresh(t *testing.T) {
	secret := []byte("a secret that is long enough for HS256")
	jwts, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	p, a := proxied(t, serve(t, embedded(t), &wsgateway.Options{Auth: jwts}), 5)
	var asked atomic.Int32
	life := func() time.Duration { // the first token is about to end; 30 s are for clocks that differ
		if asked.Add(1) == 1 {
			return -27 * time.Second
		}
		return time.Minute
	}
	provider := dial(t, &client.WebSocketOptions{Token: func(context.Context) (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "somebody", "exp": time.Now().Add(life()).Unix(), "scopes": []string{"streamkit::*"},
		}).SignedString(secret)
	}}, a)
	reconnected := make(chan struct{}, 10)
	stop := provider.OnReconnect(func() { reconnected <- struct{}{} })
	defer stop()
	s := connect(t, provider, quick).Store(uuid.Nil)
	next, end := iter.Pull2(s.FollowSegment(t.Context(), "space", "seg", nil))
	defer end()
	add := func(want uint64) {
		t.Helper()
		_, err := s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
		require.NoError(t, err)
		e, err, ok := next()
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, e.Sequence)
	}
	add(1)
	require.NoError(t, provider.RefreshToken(t.Context()))
	require.EqualValues(t, 2, asked.Load())
	select {
	case <-reconnected:
		t.Error("the connection did not outlive its first token")
	case <-time.After(5 * time.Second):
	}
	add(2)
	p.CutAll()
	add(3)
	<-reconnected
	require.EqualValues(t, 3, asked.Load())
}

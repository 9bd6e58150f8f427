package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

func one(text string) []streamhub.Record { return []streamhub.Record{{Payload: []byte(text)}} }

// TestForgottenProducers: the rows of the client's own producers are gone. Plain appends go on, in
// order.
func TestForgottenProducers(t *testing.T) {
	h := embedded(t)
	id := uuid.New()
	s := connect(t, dial(t, nil, serve(t, h, nil)), &client.Options{Retry: &client.RetryPolicy{Attempts: 1}}).Store(id)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 3 {
				if _, err := s.Append(t.Context(), "space", "seg", one("x"), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, h.Store(id).Delete(t.Context(), "space", "seg", ""))
	_, _, err := h.Store(id).Create(t.Context(), "space", "seg", nil)
	require.NoError(t, err)
	var appends []streamhub.Append
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprint(i))
		appends = append(appends, streamhub.Append{Space: "space", Segment: "seg", Records: one(want[i])})
	}
	_, errs := s.AppendAll(t.Context(), appends)
	require.Equal(t, make([]error, len(appends)), errs)
	for i := range 8 {
		want = append(want, fmt.Sprint("single ", i))
		_, err := s.Append(t.Context(), "space", "seg", one(want[12+i]), nil)
		require.NoError(t, err)
	}
	var got []string
	for e, err := range s.ConsumeSegment(t.Context(), "space", "seg", nil) {
		require.NoError(t, err)
		got = append(got, string(e.Payload))
	}
	require.Equal(t, want, got)
}

// TestLostAppends: what a writer was told is stored is lost, and the log may have grown again. Its
// next append says so, once, whatever the gateway and whatever sort of append it is.
func TestLostAppends(t *testing.T) {
	options := map[string]func(n uint64) *streamhub.AppendOptions{
		"plain": func(uint64) *streamhub.AppendOptions { return nil },
		"named": func(n uint64) *streamhub.AppendOptions {
			return &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: n}}
		},
		"sequence": func(n uint64) *streamhub.AppendOptions {
			return &streamhub.AppendOptions{ExpectedSequence: n + 1}
		},
	}
	for name, option := range options {
		for _, regrown := range []uint64{0, 5} {
			for _, moves := range []bool{false, true} {
				t.Run(fmt.Sprint(name, regrown, moves), func(t *testing.T) {
					h := embedded(t)
					other := second(t, h)
					conn, err := hub.NewClient(h.RedisURL())
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, conn.Close()) })
					id := uuid.New()
					pa, a := proxied(t, serve(t, h, nil), 31)
					_, b := proxied(t, serve(t, other, nil), 32)
					s := connect(t, dial(t, nil, a, b), quick).Store(id)
					put := func(n uint64) error {
						_, err := s.Append(t.Context(), "space", "seg", one(fmt.Sprint(n)), option(n))
						return err
					}
					for n := range uint64(5) {
						require.NoError(t, put(n))
					}
					before := dump(t, conn)
					for n := range uint64(3) {
						require.NoError(t, put(5+n))
					}
					restore(t, conn, before)
					third := second(t, h)
					for n := range regrown {
						_, err := third.Store(id).Append(t.Context(), "space", "seg", one(fmt.Sprint("new ", n)), nil)
						require.NoError(t, err)
					}
					if moves {
						pa.CutAll()
						_, err := s.Status(t.Context(), "space", "seg")
						require.NoError(t, err)
					}
					require.ErrorIs(t, put(8), streamhub.ErrHistoryLost)
					r, err := s.Append(t.Context(), "space", "seg", one("on"), nil)
					require.NoError(t, err, "it is told once")
					require.Equal(t, 6+regrown, r.First)
				})
			}
		}
	}
}

// A dumped is what the segments and timelines of a Redis hold.
type dumped struct {
	streams map[string][]redis.XMessage
	hashes  map[string]map[string]string
}

func dump(t *testing.T, conn redis.UniversalClient) dumped {
	t.Helper()
	d := dumped{map[string][]redis.XMessage{}, map[string]map[string]string{}}
	keys, err := conn.Keys(t.Context(), "sh:{*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		kind, err := conn.Type(t.Context(), key).Result()
		require.NoError(t, err)
		switch kind {
		case "stream":
			d.streams[key], err = conn.XRange(t.Context(), key, "-", "+").Result()
		case "hash":
			d.hashes[key], err = conn.HGetAll(t.Context(), key).Result()
		}
		require.NoError(t, err)
	}
	return d
}

func restore(t *testing.T, conn redis.UniversalClient, d dumped) {
	t.Helper()
	for key, entries := range d.streams {
		require.NoError(t, conn.Del(t.Context(), key).Err())
		for _, e := range entries {
			require.NoError(t, conn.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: e.ID, Values: e.Values}).Err())
		}
	}
	for key, hash := range d.hashes {
		require.NoError(t, conn.Del(t.Context(), key).Err())
		require.NoError(t, conn.HSet(t.Context(), key, hash).Err())
	}
}

// TestLeaseWaits tries once where the wait is 0 or negative, in process and over a gateway.
func TestLeaseWaits(t *testing.T) {
	type leases interface {
		WithLease(ctx context.Context, key string, ttl, wait time.Duration, fn func(context.Context, uint64) error) error
	}
	h, id := embedded(t), uuid.New()
	_, err := h.Store(id).AcquireLeaseAs(t.Context(), "key", "other", time.Hour)
	require.NoError(t, err)
	never := func(context.Context, uint64) error { t.Error("it has the lease"); return nil }
	for name, s := range map[string]leases{"hub": h.Store(id), "client": connect(t, dial(t, nil, serve(t, h, nil)), nil).Store(id)} {
		for _, wait := range []time.Duration{0, -1, -time.Hour, time.Millisecond} {
			err := s.WithLease(t.Context(), "key", time.Minute, wait, never)
			require.ErrorIs(t, err, streamhub.ErrLeaseNotAcquired, "%s, %v", name, wait)
		}
		for _, ttl := range []time.Duration{-1, 0, 10*time.Millisecond - 1, 24*time.Hour + 1} {
			require.ErrorIs(t, s.WithLease(t.Context(), "free", ttl, 0, never), streamhub.ErrInvalidArgument, "%s, %v", name, ttl)
		}
	}
}

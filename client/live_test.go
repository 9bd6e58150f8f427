package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/livestream/livetest"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

// living opens a hub on the shared Redis.
func living(t *testing.T, o *live.Options) *hub.Hub {
	t.Helper()
	redis := redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = redis.Close() })
	h, err := hub.Open(t.Context(), redis, &hub.Options{Live: o, SweepEvery: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// TestLiveInProcess: a client on the provider of a hub.
func TestLiveInProcess(t *testing.T) {
	livetest.RunOutside(t, nil, func(t *testing.T, store uuid.UUID, space string, o *live.Options) livetest.Outside {
		h := living(t, o)
		c := connect(t, h.Provider(), nil)
		return livetest.Outside{Streams: c.Store(store).Live(space), Close: h.Close}
	})
}

// TestLiveOneGateway: a client behind a gateway.
func TestLiveOneGateway(t *testing.T) {
	livetest.RunOutside(t, nil, func(t *testing.T, store uuid.UUID, space string, o *live.Options) livetest.Outside {
		c := connect(t, dial(t, nil, serve(t, living(t, o), nil)), nil)
		return livetest.Outside{Streams: c.Store(store).Live(space), Close: c.Close}
	})
}

// TestLiveTwoGateways: a client whose connection is cut again and again, so that it goes on at the other
// gateway in the middle of everything.
func TestLiveTwoGateways(t *testing.T) {
	// A reader that is cut off is none for that moment.
	livetest.RunOutside(t, []string{"CancelUnwatched"}, func(t *testing.T, store uuid.UUID, space string, o *live.Options) livetest.Outside {
		var proxies []*faultproxy.Proxy
		var addresses []string
		for range 2 {
			p, address := proxied(t, serve(t, living(t, o), nil), 7)
			proxies, addresses = append(proxies, p), append(addresses, address)
		}
		c := connect(t, dial(t, nil, addresses...), quick)
		ctx, cancel := context.WithCancel(t.Context())
		cut := make(chan struct{})
		go func() {
			defer close(cut)
			tick := time.NewTicker(120 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					for _, p := range proxies {
						p.CutAll()
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		t.Cleanup(func() { cancel(); <-cut })
		return livetest.Outside{Streams: c.Store(store).Live(space), Close: c.Close}
	})
}

// TestLiveForgotten loses the generation of a producer of the client, with the whole stream or with an earlier
// generation in its place. The producer gets ErrHistoryLost.
func TestLiveForgotten(t *testing.T) {
	server := redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr()})
	t.Cleanup(func() { _ = server.Close() })
	c := connect(t, dial(t, nil, serve(t, living(t, nil), nil)), nil)
	for _, lose := range []func(session string) error{
		func(session string) error { return server.Del(t.Context(), session).Err() },
		func(session string) error { return server.HSet(t.Context(), session, "g", "1").Err() },
	} {
		store := uuid.New()
		streams := c.Store(store).Live("space")
		told := make(chan error, 1)
		key := "thisisakeyforoneregistration"
		p, _, err := streams.Register(t.Context(), "chat", &live.RegisterOptions{Key: key, OnCancel: func(err error) { told <- err }})
		require.NoError(t, err)
		remote, _, err := streams.Start(t.Context(), "chat", &live.RegisterOptions{Key: key})
		require.NoError(t, err)
		require.NoError(t, lose("sh:{"+store.String()+".space}:ls:chat"))
		_ = p.Publish(t.Context(), []byte("late"))
		require.ErrorIs(t, p.Flush(t.Context()), streamhub.ErrHistoryLost)
		require.ErrorIs(t, <-told, streamhub.ErrHistoryLost)
		_, err = remote.Publish(t.Context(), 1, [][]byte{[]byte("late")})
		require.ErrorIs(t, err, streamhub.ErrHistoryLost)
		_, err = remote.End(t.Context(), streamhub.Verdict{Kind: streamhub.VerdictDone})
		require.ErrorIs(t, err, streamhub.ErrHistoryLost)
		require.ErrorIs(t, remote.SetMetadata(t.Context(), []byte("{}")), streamhub.ErrHistoryLost)
		for _, err := range remote.Messages(t.Context(), 0) {
			require.ErrorIs(t, err, streamhub.ErrHistoryLost)
		}
	}
}

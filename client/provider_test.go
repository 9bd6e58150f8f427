package client_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/providertest"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// embedded is a hub on a Redis of its own.
func embedded(t *testing.T) *hub.Hub {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// serve starts a gateway to h and returns its address.
func serve(t *testing.T, h *hub.Hub, o *wsgateway.Options) string {
	t.Helper()
	g, err := wsgateway.New(t.Context(), h, o)
	require.NoError(t, err)
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func dial(t *testing.T, o *client.WebSocketOptions, gateways ...string) *client.WebSocketProvider {
	t.Helper()
	p, err := client.NewWebSocketProvider(t.Context(), gateways, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestInProcess(t *testing.T) {
	h := embedded(t)
	providertest.Run(t, func(*testing.T) streamhub.Provider { return h.Provider() })
}

// TestLargeRecord: how large a record may be is for the hub to say, as it is in process.
func TestLargeRecord(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, &hub.Options{MaxRecordBytes: 5 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	store := dial(t, nil, serve(t, h, nil)).Store(uuid.New())
	record := func(size int) []streamhub.Record { return []streamhub.Record{{Payload: make([]byte, size)}} }
	_, err = store.Append(t.Context(), "space", "seg", record(5<<20), nil)
	require.NoError(t, err)
	_, err = store.Append(t.Context(), "space", "seg", record(5<<20+1), nil)
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	_, _, err = store.Create(t.Context(), "space", "other", &streamhub.CreateOptions{Records: record(5<<20 + 1)})
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	for e, err := range store.ConsumeSegment(t.Context(), "space", "seg", nil) {
		require.NoError(t, err)
		require.Len(t, e.Payload, 5<<20)
	}
}

// TestLargeChunk: how large a chunk may be is for the hub to say, too. One that it refuses disturbs nothing.
func TestLargeChunk(t *testing.T) {
	for limit, o := range map[int]*hub.Options{streamhub.MaxRecordBytes: nil, 5 << 20: {MaxRecordBytes: 5 << 20}} {
		h, err := hub.Open(t.Context(), nil, o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, h.Close()) })
		c := client.New(dial(t, nil, serve(t, h, nil)), nil)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		p, _, err := c.Store(uuid.New()).Live("live").Register(t.Context(), "chat", nil)
		require.NoError(t, err)
		var want []int
		for _, size := range []int{1, limit, limit + 1, 2, limit + 1, limit, streamhub.MaxFrameBytes + 1, 3} {
			err := p.Publish(t.Context(), make([]byte, size))
			if size > limit {
				require.ErrorIs(t, err, streamhub.ErrTooLarge)
				continue
			}
			require.NoError(t, err)
			want = append(want, size)
		}
		for _, size := range []int{limit, limit + 1, streamhub.MaxFrameBytes + 1} { // nor is a message to the producer
			_, err := p.Send(t.Context(), make([]byte, size), nil)
			if size > limit {
				require.ErrorIs(t, err, streamhub.ErrTooLarge)
				continue
			}
			require.NoError(t, err)
		}
		require.NoError(t, p.Done(t.Context(), nil))
		var got []int
		for chunk, err := range p.Subscribe(t.Context(), nil) {
			if err != nil {
				require.ErrorIs(t, err, streamhub.ErrClosed)
				break
			}
			got = append(got, len(chunk.Data))
		}
		require.Equal(t, want, got)
	}
}

func TestWebSocket(t *testing.T) {
	h := embedded(t)
	address := serve(t, h, nil)
	providertest.Run(t, func(t *testing.T) streamhub.Provider { return dial(t, nil, address) })
}

// asUser is a hub as the documented user of a real Redis, to which nothing may be refused.
func asUser(t *testing.T) *hub.Hub {
	t.Helper()
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	rdb, err := hub.NewClient("redis://" + testredis.User + ":" + testredis.Password + "@" + server.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	h, err := hub.Open(t.Context(), rdb, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// TestClient runs the contract over the layer that retries, as the documented user of a real Redis.
func TestClient(t *testing.T) {
	h := asUser(t)
	address := serve(t, h, nil)
	providertest.Run(t, func(t *testing.T) streamhub.Provider { return asProvider{connect(t, dial(t, nil, address), nil)} })
}

func connect(t *testing.T, p streamhub.Provider, o *client.Options) *client.Client {
	c := client.New(p, o)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

type asProvider struct{ *client.Client }

func (p asProvider) Store(id uuid.UUID) streamhub.Store { return p.Client.Store(id) }

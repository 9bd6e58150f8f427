package streamkit_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/client/streamkit/wskit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// The types that a program of streamkit names.
var (
	_ client.Client          = client.NewClient(nil)
	_ api.BidiStreamProvider = (*wskit.WebSocketBidiStreamProvider)(nil)
	_ client.ClientMetrics   = (*counter)(nil)
	_ error                  = (*api.StreamsError)(nil)
)

type counter struct{ produced, consumed, timeouts, panics atomic.Int32 }

func (c *counter) RecordProduceLatency(string, string, time.Duration)   { c.produced.Add(1) }
func (c *counter) RecordConsumeLatency(string, string, time.Duration)   { c.consumed.Add(1) }
func (c *counter) RecordSubscriptionReplay(string, bool, time.Duration) {}
func (c *counter) RecordHandlerTimeout(string)                          { c.timeouts.Add(1) }
func (c *counter) RecordHandlerPanic(string)                            { c.panics.Add(1) }

func all[T any](t *testing.T, e client.Enumerator[T]) []T {
	t.Helper()
	defer e.Dispose()
	var list []T
	for e.MoveNext() {
		item, err := e.Current()
		require.NoError(t, err)
		list = append(list, item)
	}
	require.NoError(t, e.Err())
	return list
}

func records(first, n int) client.Enumerator[*client.Record] {
	return client.NewEnumerator(func(yield func(*client.Record, error) bool) {
		for i := range n {
			if !yield(&client.Record{Sequence: uint64(first + i), Payload: fmt.Appendf(nil, "p%d", first+i)}, nil) {
				return
			}
		}
	})
}

// TestSurface makes every call of streamkit's client, in process and through a gateway.
func TestSurface(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	g, err := wsgateway.New(t.Context(), h, nil)
	require.NoError(t, err)
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		require.NoError(t, g.Shutdown(context.WithoutCancel(t.Context())))
		server.Close()
	})
	for name, provider := range map[string]api.BidiStreamProvider{
		"inprockit": inprockit.NewInProcBidiStreamProvider(t.Context(), h),
		"wskit": wskit.NewBidiStreamProvider("ws"+strings.TrimPrefix(server.URL, "http"), func() (string, error) { return "", nil },
			wskit.WithStreamRecvQueueSize(1), wskit.WithStreamIngressQueueSize(1), wskit.WithWriteQueueSize(1),
			wskit.WithStreamRecvOfferTimeout(time.Second), wskit.WithStreamRecvSaturationPolicy(0)),
	} {
		t.Run(name, func(t *testing.T) { surface(t, provider) })
	}
}

func surface(t *testing.T, provider api.BidiStreamProvider) {
	metrics := &counter{}
	ctx, store := t.Context(), uuid.New()
	c := client.NewClientWithMetrics(provider, time.Second, metrics)
	defer func() { require.NoError(t, c.Close()) }()

	statuses := all(t, c.Produce(ctx, store, "sp", "a", records(1, 5)))
	require.Len(t, statuses, 1)
	require.EqualValues(t, 5, statuses[0].LastSequence)
	require.EqualValues(t, 1, statuses[0].FirstSequence)
	require.NoError(t, c.Publish(ctx, store, "sp", "b", []byte("x"), map[string]string{"k": "v"}))
	require.Equal(t, []string{"sp"}, all(t, c.GetSpaces(ctx, store)))
	require.Equal(t, []string{"a", "b"}, all(t, c.GetSegments(ctx, store, "sp")))
	require.Empty(t, all(t, c.GetSegments(ctx, store, "none")))
	head, err := c.Peek(ctx, store, "sp", "b")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "v"}, head.Metadata)
	none, err := c.Peek(ctx, store, "sp", "none")
	require.NoError(t, err)
	require.Equal(t, &client.Entry{Space: "sp", Segment: "none"}, none)
	gap := c.Produce(ctx, store, "sp", "a", records(9, 1))
	require.False(t, gap.MoveNext())
	require.Error(t, gap.Err())
	require.False(t, client.IsRetryable(gap.Err()))

	require.Len(t, all(t, c.ConsumeSegment(ctx, store, &client.ConsumeSegment{Space: "sp", Segment: "a", MinSequence: 2, MaxSequence: 4})), 3)
	require.Empty(t, all(t, c.ConsumeSegment(ctx, store, &client.ConsumeSegment{Space: "sp", Segment: "a", MinSequence: 5, MaxSequence: 2})))
	require.Empty(t, all(t, c.ConsumeSegment(ctx, store, &client.ConsumeSegment{Space: "sp", Segment: "none"})))
	space := all(t, c.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "sp", Limit: math.MaxUint64}))
	require.Len(t, space, 6)
	for i, e := range space {
		rest := all(t, c.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "sp", Offset: e.GetSpaceOffset()}))
		require.Len(t, rest, 5-i, "after entry %d", i)
	}
	require.Len(t, all(t, c.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "sp", Limit: 2})), 2)
	require.Len(t, all(t, c.Consume(ctx, store, &client.Consume{Offsets: map[string]api.LexKey{"sp": nil, "none": nil}})), 6)
	require.Empty(t, all(t, c.Consume(ctx, store, &client.Consume{})))
	require.NotZero(t, metrics.produced.Load())
	require.NotZero(t, metrics.consumed.Load())

	seen := make(chan uint64, 100)
	sub, err := c.SubscribeToSegment(ctx, store, "sp", "a", func(s *client.SegmentStatus) { seen <- s.LastSequence })
	require.NoError(t, err)
	every, err := c.SubscribeToSpace(ctx, store, "sp", func(*client.SegmentStatus) {})
	require.NoError(t, err)
	require.NoError(t, c.Publish(ctx, store, "sp", "a", nil, nil))
	for last := range seen {
		if last == 6 {
			break
		}
	}
	require.Equal(t, "active", c.GetSubscriptionStatus(sub.ID()).Status)
	sub.Unsubscribe()
	every.Unsubscribe()
	require.Nil(t, c.GetSubscriptionStatus(sub.ID()))

	inventories := make(chan *client.WorkerInventory, 100)
	id := uuid.New()
	worker, err := c.SubscribeWorkers(ctx, store, func(i *client.WorkerInventory) { inventories <- i },
		client.WithWorkerID(id), client.WithWorkerMetadata(map[string]string{"role": "x"}), client.WithWorkerHeartbeatInterval(time.Second))
	require.NoError(t, err)
	for i := range inventories {
		if len(i.Workers) == 1 {
			require.Equal(t, id, i.Workers[0].WorkerID)
			break
		}
	}
	worker.Unsubscribe()

	err = c.WithLease(ctx, store, "key", time.Second, func(ctx context.Context) error {
		require.ErrorIs(t, c.WithLease(ctx, store, "key", time.Second, func(context.Context) error { return nil }), client.ErrLeaseNotAcquired)
		return errors.New("from fn")
	})
	require.ErrorContains(t, err, "from fn")
	_, err = provider.CallStream(ctx, store, &client.Peek{})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestConstructors(t *testing.T) {
	for _, c := range []client.Client{
		client.NewClient(nil), client.NewClientWithHandlerTimeout(nil, 1), client.NewClientWithRetryPolicy(nil, client.AggressiveRetryPolicy()),
		client.NewClientWithMetrics(nil, 1, client.NewOTelClientMetrics()), client.NewClientWithTracing(nil),
		client.NewClientWithTracingAndHandlerTimeout(nil, 1), client.NewClient(wskit.NewBidiStreamProvider("nonsense", nil)),
	} {
		require.Error(t, c.Publish(t.Context(), uuid.Nil, "sp", "a", nil, nil))
		e := c.GetSpaces(t.Context(), uuid.Nil)
		require.False(t, e.MoveNext())
		require.Error(t, e.Err())
		require.NoError(t, c.Close())
	}
	n := 0
	policy := client.RetryPolicy{MaxAttempts: 3, InitialBackoff: 1, MaxBackoff: 1, BackoffMultiplier: 1}
	err := client.RetryWithBackoff(t.Context(), policy, func(context.Context) error { n++; return wskit.ErrMuxerClosed })
	require.ErrorIs(t, err, wskit.ErrMuxerClosed)
	require.Equal(t, 3, n)
	for attempts, own := range map[int]error{3: api.NewTransientError("later"), 1: api.NewPermanentError("never")} {
		n = 0
		err = client.RetryWithBackoff(t.Context(), policy, func(context.Context) error { n++; return fmt.Errorf("a step: %w", own) })
		require.ErrorIs(t, err, own)
		require.Equal(t, attempts, n, own)
	}
	require.Equal(t, 5, client.DefaultRetryPolicy().MaxAttempts)
	require.Equal(t, 1, api.NewTransientError("x").Code)
	require.Equal(t, 2, api.NewPermanentError("x").Code)
}

// TestMetricsOfHandlers has one handler panic and another one take too long.
func TestMetricsOfHandlers(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	metrics, store := &counter{}, uuid.New()
	c := client.NewClientWithMetrics(inprockit.NewInProcBidiStreamProvider(t.Context(), h), 10*time.Millisecond, metrics)
	require.NoError(t, c.Publish(t.Context(), store, "sp", "a", nil, nil))
	release := make(chan struct{})
	_, err = c.SubscribeToSegment(t.Context(), store, "sp", "a", func(*client.SegmentStatus) { panic("on purpose") })
	require.NoError(t, err)
	_, err = c.SubscribeToSegment(t.Context(), store, "sp", "a", func(*client.SegmentStatus) { <-release })
	require.NoError(t, err)
	require.Eventually(t, func() bool { return metrics.panics.Load() == 1 && metrics.timeouts.Load() == 1 }, 30*time.Second, time.Millisecond)
	close(release)
	require.NoError(t, c.Close())
}

//nolint:staticcheck // the types are what the program is about
package streamkit_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/client/streamkit/wskit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// This file is a program of streamkit's: it was written from the list of its exported names alone, with its ways of
// doing things, such as enumerators of one's own. Only the import lines are ours. It must not be changed to fit the
// packages.

// recordSlice is an enumerator of the program's own.
type recordSlice struct {
	records []*client.Record
	at      int
	err     error
	closed  bool
}

func (s *recordSlice) MoveNext() bool {
	if s.at >= len(s.records) {
		return false
	}
	s.at++
	return true
}
func (s *recordSlice) Current() (*client.Record, error) { return s.records[s.at-1], nil }
func (s *recordSlice) Err() error                       { return s.err }
func (s *recordSlice) Dispose()                         { s.closed = true }

// latencies is what the program measures.
type latencies struct {
	mu                sync.Mutex
	produces, reads   []time.Duration
	timeouts, panics  []string
	replays, failures int
}

func (l *latencies) RecordProduceLatency(space, segment string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.produces = append(l.produces, d)
}
func (l *latencies) RecordConsumeLatency(space, segment string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, d)
}
func (l *latencies) RecordSubscriptionReplay(id string, success bool, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replays++
	if !success {
		l.failures++
	}
}
func (l *latencies) RecordHandlerTimeout(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timeouts = append(l.timeouts, id)
}
func (l *latencies) RecordHandlerPanic(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.panics = append(l.panics, id)
}

// counted is a client of the program's own around another one, as tests of programs have.
type counted struct {
	client.Client
	peeks int
}

func (c *counted) Peek(ctx context.Context, storeID uuid.UUID, space, segment string) (*client.Entry, error) {
	c.peeks++
	return c.Client.Peek(ctx, storeID, space, segment)
}

type factory struct{ client client.Client }

func (f factory) Get(ctx context.Context) (client.Client, error) { return f.client, ctx.Err() }

type reconnects struct{ stores []uuid.UUID }

func (r *reconnects) OnReconnected(ctx context.Context, storeID uuid.UUID) error {
	r.stores = append(r.stores, storeID)
	return ctx.Err()
}

func collect[T any](e client.Enumerator[T]) ([]T, error) {
	defer e.Dispose()
	var list []T
	for e.MoveNext() {
		item, err := e.Current()
		if err != nil {
			return list, err
		}
		list = append(list, item)
	}
	return list, e.Err()
}

// gateways starts two on one Redis.
func gateways(t *testing.T) (addresses [2]string, hubs [2]*hub.Hub) {
	server := testredis.Start(t, nil)
	for i := range addresses {
		h, err := hub.Open(t.Context(), server.Client(), nil)
		if err != nil {
			t.Fatal(err)
		}
		g, err := wsgateway.New(t.Context(), h, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(g)
		t.Cleanup(func() {
			if err := errors.Join(g.Shutdown(context.WithoutCancel(t.Context())), h.Close()); err != nil {
				t.Error(err)
			}
			s.Close()
		})
		addresses[i], hubs[i] = "ws"+strings.TrimPrefix(s.URL, "http"), h
	}
	return addresses, hubs
}

// TestProgram runs it against two gateways: it writes through one and reads through the other.
func TestProgram(t *testing.T) {
	addresses, hubs := gateways(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := program(ctx, addresses[0], addresses[1], hubs[0]); err != nil {
		t.Fatal(err)
	}
}

func program(ctx context.Context, writeAddr, readAddr string, manager *hub.Hub) error {
	store := uuid.New()
	token := func() (string, error) { return "token", nil }

	// Providers and clients, by every constructor.
	var writeTo api.BidiStreamProvider = wskit.NewBidiStreamProvider(writeAddr, token,
		wskit.WithStreamRecvQueueSize(8192), wskit.WithStreamIngressQueueSize(8192), wskit.WithWriteQueueSize(1024), wskit.WithStreamRecvOfferTimeout(time.Second))
	readFrom := wskit.NewBidiStreamProvider(readAddr, token)
	failures := 0
	if p, ok := readFrom.(*wskit.WebSocketBidiStreamProvider); ok {
		p.RetryAuthFailures = true
		p.OnDialFailure = func(error) { failures++ }
	} else {
		return fmt.Errorf("the provider is a %T", readFrom)
	}
	listener := &reconnects{}
	readFrom.RegisterReconnectListener(listener)
	defer readFrom.UnregisterReconnectListener(listener)
	metrics := &latencies{}
	writer := client.NewClientWithMetrics(writeTo, 10*time.Second, metrics)
	defer writer.Close()
	var reader client.Client = client.NewClient(readFrom)
	defer reader.Close()
	local := client.NewClientWithRetryPolicy(inprockit.NewInProcBidiStreamProvider(ctx, manager), client.RetryPolicy{
		MaxAttempts: 3, InitialBackoff: 10 * time.Millisecond, MaxBackoff: time.Second, BackoffMultiplier: 2,
	})
	defer local.Close()
	var clients []client.Client
	for _, make := range []func() client.Client{
		func() client.Client {
			return client.NewClientWithHandlerTimeout(wskit.NewBidiStreamProvider(readAddr, token), time.Second)
		},
		func() client.Client { return client.NewClientWithTracing(wskit.NewBidiStreamProvider(readAddr, token)) },
		func() client.Client {
			return client.NewClientWithTracingAndHandlerTimeout(wskit.NewBidiStreamProvider(readAddr, token), time.Second)
		},
		func() client.Client {
			return client.NewClientWithMetrics(wskit.NewBidiStreamProvider(readAddr, token), time.Second, nil)
		},
		func() client.Client {
			return client.NewClientWithMetrics(wskit.NewBidiStreamProvider(readAddr, token), time.Second, client.NewOTelClientMetrics())
		},
	} {
		c := make()
		defer c.Close()
		clients = append(clients, c)
	}

	// Produce with an enumerator of the program's own.
	records := &recordSlice{}
	for i := range 5 {
		records.records = append(records.records, &client.Record{Sequence: uint64(i + 1), Payload: []byte{byte('a' + i)}, Metadata: map[string]string{"i": fmt.Sprint(i)}})
	}
	statuses, err := collect(writer.Produce(ctx, store, "orders", "order-1", records))
	if err != nil || len(statuses) != 1 || !records.closed {
		return fmt.Errorf("produce: %v, %d statuses, disposed %v", err, len(statuses), records.closed)
	}
	var status *client.SegmentStatus = statuses[0]
	if status.Space != "orders" || status.Segment != "order-1" || status.FirstSequence != 1 || status.LastSequence != 5 ||
		status.FirstTimestamp == 0 || status.LastTimestamp < status.FirstTimestamp || status.Heartbeat {
		return fmt.Errorf("status %+v", status)
	}
	failed := &recordSlice{records: []*client.Record{{Sequence: 6, Payload: []byte("x")}}, err: errors.New("the source failed")}
	if _, err := collect(writer.Produce(ctx, store, "orders", "order-1", failed)); err == nil || !strings.Contains(err.Error(), "the source failed") {
		return fmt.Errorf("a source that fails: %v", err)
	}
	if _, err := collect(writer.Produce(ctx, store, "orders", "order-1", &recordSlice{records: []*client.Record{{Sequence: 9}}})); err == nil {
		return errors.New("a gap is no error")
	}
	if err := writer.Publish(ctx, store, "orders", "order-2", []byte("published"), map[string]string{"by": "program"}); err != nil {
		return err
	}
	if err := writer.Publish(ctx, store, "orders", "order-2", nil, nil); err != nil {
		return err
	}

	// Read it through the other gateway, and in process.
	for _, c := range append(clients, reader, local) {
		spaces, err := collect(c.GetSpaces(ctx, store))
		if err != nil || len(spaces) != 1 || spaces[0] != "orders" {
			return fmt.Errorf("spaces %q: %w", spaces, err)
		}
	}
	segments, err := collect(reader.GetSegments(ctx, store, "orders"))
	if err != nil || strings.Join(segments, " ") != "order-1 order-2" {
		return fmt.Errorf("segments %q: %w", segments, err)
	}
	var provider client.ClientFactory = factory{&counted{Client: reader}}
	mine, err := provider.Get(ctx)
	if err != nil {
		return err
	}
	entry, err := mine.Peek(ctx, store, "orders", "order-2")
	if err != nil || entry.Sequence != 2 || mine.(*counted).peeks != 1 {
		return fmt.Errorf("peek %+v: %w", entry, err)
	}
	var trx api.TRX = entry.TRX
	if trx.ID == uuid.Nil || trx.Number != 2 || trx.Node != uuid.Nil || entry.Timestamp == 0 || entry.Space != "orders" || entry.Segment != "order-2" {
		return fmt.Errorf("entry %+v", entry)
	}
	if empty, err := mine.Peek(ctx, store, "orders", "none"); err != nil || empty.Sequence != 0 || empty.Payload != nil || empty.Metadata != nil {
		return fmt.Errorf("an empty segment: %+v %w", empty, err)
	}
	two, err := collect(reader.ConsumeSegment(ctx, store, &client.ConsumeSegment{Space: "orders", Segment: "order-1", MinSequence: 2, MaxSequence: 3}))
	if err != nil || len(two) != 2 || string(two[0].Payload) != "b" || two[0].Metadata["i"] != "1" {
		return fmt.Errorf("segment: %d entries, %w", len(two), err)
	}
	all, err := collect(reader.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "orders", Limit: math.MaxUint64}))
	if err != nil || len(all) != 7 {
		return fmt.Errorf("space: %d entries, %w", len(all), err)
	}
	var offset api.LexKey = all[3].GetSpaceOffset()
	rest, err := collect(reader.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "orders", Offset: offset}))
	if err != nil || len(rest) != 3 || rest[0].Sequence != 5 {
		return fmt.Errorf("after an offset: %d entries, %w", len(rest), err)
	}
	if len(all[0].GetSegmentOffset()) == 0 {
		return errors.New("no segment offset")
	}
	later, err := collect(reader.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "orders", MinTimestamp: all[6].Timestamp, MaxTimestamp: time.Now().Add(time.Hour).UnixMilli()}))
	if err != nil || len(later) != 0 {
		return fmt.Errorf("after the last time: %d entries, %w", len(later), err)
	}
	merged, err := collect(local.Consume(ctx, store, &client.Consume{Offsets: map[string]api.LexKey{"orders": offset, "none": {}}, Limit: 2}))
	if err != nil || len(merged) != 2 {
		return fmt.Errorf("several spaces: %d entries, %w", len(merged), err)
	}
	var asked []client.Consumable = []client.Consumable{&client.Consume{}, &client.ConsumeSpace{}, &client.ConsumeSegment{}}
	for i, routeable := range []client.Routeable{asked[0], asked[1], asked[2], &client.Peek{}, &client.Produce{}, &client.GetSpaces{}, &client.GetSegments{}, &client.GetStatus{}} {
		if !strings.HasPrefix(routeable.GetDiscriminator(), "streamkit://api/v1/") {
			return fmt.Errorf("request %d is %q", i, routeable.GetDiscriminator())
		}
	}

	// Subscribe through one gateway and write through the other.
	seen, everything := make(chan *client.SegmentStatus, 100), make(chan *client.SegmentStatus, 100)
	var one, whole api.Subscription
	if one, err = reader.SubscribeToSegment(ctx, store, "orders", "order-2", func(s *client.SegmentStatus) { seen <- s }); err != nil {
		return err
	}
	if whole, err = reader.SubscribeToSpace(ctx, store, "orders", func(s *client.SegmentStatus) { everything <- s }); err != nil {
		return err
	}
	if err := writer.Publish(ctx, store, "orders", "order-2", []byte("third"), nil); err != nil {
		return err
	}
	for _, statuses := range []chan *client.SegmentStatus{seen, everything} {
		if err := reaches(ctx, statuses, "order-2", 3); err != nil {
			return err
		}
	}
	var about *client.SubscriptionStatus = reader.GetSubscriptionStatus(one.ID())
	if about == nil || about.ID != one.ID() || about.Status != "active" || about.FailureCount != 0 || about.LastError != nil ||
		about.HandlerTimeouts != 0 || about.HandlerPanics != 0 || about.CoalescedUpdates < 0 || about.PendingStatuses < 0 || about.LastSequence > 3 {
		return fmt.Errorf("subscription %+v", about)
	}
	one.Unsubscribe()
	whole.Unsubscribe()
	if reader.GetSubscriptionStatus(one.ID()) != nil {
		return errors.New("a subscription that is gone has a status")
	}
	panicked := make(chan struct{}, 100)
	bad, err := writer.SubscribeToSegment(ctx, store, "orders", "order-1", func(*client.SegmentStatus) { panicked <- struct{}{}; panic("of the handler") })
	if err != nil {
		return err
	}
	select {
	case <-panicked:
	case <-ctx.Done():
		return ctx.Err()
	}
	for about := writer.GetSubscriptionStatus(bad.ID()); about == nil || about.HandlerPanics == 0; about = writer.GetSubscriptionStatus(bad.ID()) {
		if ctx.Err() != nil {
			return fmt.Errorf("a handler that panics: %+v", about)
		}
	}
	bad.Unsubscribe()

	// Workers.
	id, inventories := uuid.New(), make(chan *client.WorkerInventory, 100)
	observer, err := reader.SubscribeWorkers(ctx, store, func(w *client.WorkerInventory) { inventories <- w })
	if err != nil {
		return err
	}
	worker, err := writer.SubscribeWorkers(ctx, store, func(*client.WorkerInventory) {}, client.WithWorkerID(id),
		client.WithWorkerMetadata(map[string]string{"role": "packer"}), client.WithWorkerHeartbeatInterval(5*time.Second))
	if err != nil {
		return err
	}
	var info client.WorkerInfo
	if info, err = listed(ctx, inventories, id); err != nil || info.Metadata["role"] != "packer" || info.LastSeenAt == 0 {
		return fmt.Errorf("worker %+v: %w", info, err)
	}
	worker.Unsubscribe()
	if err := leaves(ctx, inventories, id); err != nil {
		return err
	}
	observer.Unsubscribe()

	// Leases.
	ran := false
	if err := writer.WithLease(ctx, store, "nightly", 30*time.Second, func(ctx context.Context) error {
		ran = ctx.Err() == nil
		if err := reader.WithLease(ctx, store, "nightly", 30*time.Second, func(context.Context) error { return nil }); !errors.Is(err, client.ErrLeaseNotAcquired) {
			return fmt.Errorf("a second holder: %v", err)
		}
		return nil
	}); err != nil || !ran {
		return fmt.Errorf("lease: %w", err)
	}

	// Errors and retries.
	tries := 0
	err = client.RetryWithBackoff(ctx, client.RetryPolicy{MaxAttempts: 2, InitialBackoff: time.Millisecond, MaxBackoff: time.Millisecond, BackoffMultiplier: 1}, func(context.Context) error {
		tries++
		return wskit.ErrMuxerClosed
	})
	if !errors.Is(err, wskit.ErrMuxerClosed) || tries != 2 || !client.IsRetryable(err) || client.IsRetryable(wskit.ErrPayloadTooLarge) {
		return fmt.Errorf("%d tries: %w", tries, err)
	}
	for _, err := range []error{wskit.ErrHeartbeatTimeout, wskit.ErrStreamOverloaded, wskit.ErrTooManyStreams} {
		if err.Error() == "" {
			return errors.New("an error without a text")
		}
	}
	var streams *api.StreamsError
	if err := error(api.NewTransientError("later")); !errors.As(err, &streams) || streams.Code != 1 || streams.Message != "later" {
		return fmt.Errorf("transient: %+v", streams)
	}
	if api.NewPermanentError("never").Code != 2 || client.DefaultRetryPolicy().MaxAttempts < 2 || client.AggressiveRetryPolicy().MaxAttempts <= client.DefaultRetryPolicy().MaxAttempts || client.MaxProduceLocks != 10000 {
		return errors.New("constants")
	}
	metrics.mu.Lock()
	defer metrics.mu.Unlock()
	if len(metrics.produces) == 0 || len(metrics.panics) == 0 || failures != 0 {
		return fmt.Errorf("metrics %d %d, %d dials failed", len(metrics.produces), len(metrics.panics), failures)
	}
	return nil
}

func reaches(ctx context.Context, statuses <-chan *client.SegmentStatus, segment string, last uint64) error {
	for {
		select {
		case s := <-statuses:
			if s.Segment == segment && s.LastSequence >= last {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%q does not reach %d: %w", segment, last, ctx.Err())
		}
	}
}

func listed(ctx context.Context, inventories <-chan *client.WorkerInventory, id uuid.UUID) (client.WorkerInfo, error) {
	for {
		select {
		case w := <-inventories:
			for _, info := range w.Workers {
				if info.WorkerID == id && w.Timestamp > 0 {
					return info, nil
				}
			}
		case <-ctx.Done():
			return client.WorkerInfo{}, ctx.Err()
		}
	}
}

func leaves(ctx context.Context, inventories <-chan *client.WorkerInventory, id uuid.UUID) error {
	for {
		select {
		case w := <-inventories:
			there := false
			for _, info := range w.Workers {
				there = there || info.WorkerID == id
			}
			if !there {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Command streamkitapi makes a statement of each name that streamkit's client packages export, at two gateways. It was
// written from the list of those names alone: what a program of streamkit's relies on is what is here.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/eskit"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/client/streamkit/wskit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/server"
)

// A slice is an enumerator of a program's own: the four methods are all that is asked for.
type slice[T any] struct {
	items    []T
	at       int
	disposed bool
}

func of[T any](items ...T) *slice[T] { return &slice[T]{items: items, at: -1} }

func (s *slice[T]) MoveNext() bool      { s.at++; return s.at < len(s.items) }
func (s *slice[T]) Current() (T, error) { return s.items[s.at], nil }
func (s *slice[T]) Err() error          { return nil }
func (s *slice[T]) Dispose()            { s.disposed = true }

// all reads an enumerator to its end.
func all[T any](e client.Enumerator[T]) (items []T) {
	defer e.Dispose()
	for e.MoveNext() {
		item, err := e.Current()
		must(err)
		items = append(items, item)
	}
	must(e.Err())
	return items
}

// metrics are those of a program's own.
type metrics struct{ produced, consumed, replayed, timeouts, panics atomic.Int32 }

func (m *metrics) RecordProduceLatency(string, string, time.Duration)   { m.produced.Add(1) }
func (m *metrics) RecordConsumeLatency(string, string, time.Duration)   { m.consumed.Add(1) }
func (m *metrics) RecordSubscriptionReplay(string, bool, time.Duration) { m.replayed.Add(1) }
func (m *metrics) RecordHandlerTimeout(string)                          { m.timeouts.Add(1) }
func (m *metrics) RecordHandlerPanic(string)                            { m.panics.Add(1) }

var _ client.ClientMetrics = (*metrics)(nil)

// factory is how programs hand a client on.
type factory struct{ c client.Client }

func (f factory) Get(context.Context) (client.Client, error) { return f.c, nil }

var _ client.ClientFactory = factory{}

// listener hears of connections that were made again.
type listener struct{ stores chan uuid.UUID }

func (l *listener) OnReconnected(_ context.Context, store uuid.UUID) error {
	l.stores <- store
	return nil
}

var _ api.ReconnectListener = (*listener)(nil)

func must(err error) {
	if err != nil {
		log.Panic(err)
	}
}

var statements int

// check is one statement of the program, with what it has to give.
func check(what string, ok bool, details ...any) {
	statements++
	if !ok {
		log.Panicf("%s: %v", what, details)
	}
}

// eventually waits until something that other goroutines do has happened.
func eventually(what string, ok func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			log.Panicf("%s: never", what)
		}
		<-time.After(5 * time.Millisecond)
	}
	statements++
}

// gateway serves the Redis of a URL, or an embedded one.
func gateway(ctx context.Context, url string) (h *hub.Hub, address string, stop func()) {
	var connected redis.UniversalClient
	if url != "" {
		var err error
		connected, err = hub.NewClient(url)
		must(err)
	}
	h, err := hub.Open(ctx, connected, nil)
	must(err)
	s, err := server.New(h, nil)
	must(err)
	at := httptest.NewServer(s)
	return h, "ws" + strings.TrimPrefix(at.URL, "http"), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		must(s.Shutdown(ctx))
		at.Close()
		must(h.Close())
		if connected != nil {
			must(connected.Close())
		}
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	h, first, stopFirst := gateway(ctx, "")
	defer stopFirst()
	_, second, stopSecond := gateway(ctx, h.RedisURL())
	defer stopSecond()
	store := uuid.New()
	noToken := func() (string, error) { return "", nil }

	// The constructors.
	provider := wskit.NewBidiStreamProvider(first, noToken,
		wskit.WithStreamRecvQueueSize(64), wskit.WithStreamIngressQueueSize(64), wskit.WithWriteQueueSize(64),
		wskit.WithStreamRecvOfferTimeout(time.Second), wskit.WithStreamRecvSaturationPolicy(0))
	sockets, ok := provider.(*wskit.WebSocketBidiStreamProvider)
	check("WebSocketBidiStreamProvider", ok)
	sockets.RetryAuthFailures = true
	sockets.OnDialFailure = func(err error) { log.Print("dial: ", err) }
	heard := &listener{make(chan uuid.UUID, 16)}
	provider.RegisterReconnectListener(heard)
	defer provider.UnregisterReconnectListener(heard)
	var a client.Client = client.NewClient(provider)
	defer func() { must(a.Close()) }()
	at := func() api.BidiStreamProvider { return wskit.NewBidiStreamProvider(second, noToken) }
	b := client.NewClientWithHandlerTimeout(at(), 300*time.Millisecond)
	defer func() { must(b.Close()) }()
	policy := client.RetryPolicy{MaxAttempts: 3, InitialBackoff: 10 * time.Millisecond, MaxBackoff: time.Second, BackoffMultiplier: 2}
	retrying := client.NewClientWithRetryPolicy(at(), policy)
	defer func() { must(retrying.Close()) }()
	var counted metrics
	measured := client.NewClientWithMetrics(at(), 300*time.Millisecond, &counted)
	defer func() { must(measured.Close()) }()
	unmeasured := client.NewClientWithMetrics(at(), time.Second, nil)
	defer func() { must(unmeasured.Close()) }()
	otel := client.NewClientWithMetrics(at(), time.Second, client.NewOTelClientMetrics())
	defer func() { must(otel.Close()) }()
	traced := client.NewClientWithTracing(at())
	defer func() { must(traced.Close()) }()
	tracedToo := client.NewClientWithTracingAndHandlerTimeout(at(), time.Second)
	defer func() { must(tracedToo.Close()) }()
	inproc := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	defer func() { must(inproc.Close()) }()
	var factories client.ClientFactory = factory{a}
	got, err := factories.Get(ctx)
	check("ClientFactory", err == nil && got == a)

	// Producing.
	records := []*client.Record{
		{Sequence: 1, Payload: []byte("one"), Metadata: map[string]string{"k": "v"}},
		{Sequence: 2, Payload: []byte("two")},
		{Sequence: 3, Payload: []byte("three")},
	}
	source := of(records...)
	statuses := all(a.Produce(ctx, store, "orders", "17", source))
	check("Produce", len(statuses) > 0 && statuses[len(statuses)-1].LastSequence == 3 && statuses[0].FirstSequence == 1, statuses)
	check("Produce disposes its source", source.disposed)
	check("SegmentStatus", statuses[0].Space == "orders" && statuses[0].Segment == "17" && statuses[0].LastTimestamp > 0 && !statuses[0].Heartbeat)
	refused := b.Produce(ctx, store, "orders", "17", of(&api.Record{Sequence: 9, Payload: []byte("nine")}))
	for refused.MoveNext() {
		_, _ = refused.Current()
	}
	check("Produce ahead of the sequence", refused.Err() != nil)
	refused.Dispose()
	must(b.Publish(ctx, store, "orders", "18", []byte("eighteen"), map[string]string{"by": "b"}))
	for _, c := range []client.Client{retrying, measured, unmeasured, otel, traced, tracedToo, inproc} {
		must(c.Publish(ctx, store, "orders", "18", []byte("more"), nil))
	}
	check("RecordProduceLatency", counted.produced.Load() > 0)

	// Reading, at the other gateway.
	entry, err := b.Peek(ctx, store, "orders", "17")
	check("Peek", err == nil && entry.Sequence == 3 && string(entry.Payload) == "three" && entry.Space == "orders" && entry.Segment == "17", entry, err)
	check("TRX", entry.TRX.ID != uuid.Nil && entry.Timestamp > time.Now().Add(-time.Hour).UnixMilli())
	none, err := b.Peek(ctx, store, "orders", "none")
	check("Peek of nothing", err == nil && none != nil && none.Sequence == 0, none, err)
	check("GetSpaces", slices.Equal(all(b.GetSpaces(ctx, store)), []string{"orders"}))
	check("GetSegments", slices.Equal(all(b.GetSegments(ctx, store, "orders")), []string{"17", "18"}))
	check("other stores", len(all(b.GetSpaces(ctx, uuid.New()))) == 0)
	segment := all(b.ConsumeSegment(ctx, store, &client.ConsumeSegment{Space: "orders", Segment: "17"}))
	check("ConsumeSegment", len(segment) == 3 && string(segment[0].Payload) == "one" && segment[0].Metadata["k"] == "v")
	part := all(b.ConsumeSegment(ctx, store, &api.ConsumeSegment{Space: "orders", Segment: "17", MinSequence: 2, MaxSequence: 3, Limit: 1}))
	check("ConsumeSegment from a sequence, with a limit", len(part) == 1 && part[0].Sequence == 2, part)
	timed := all(b.ConsumeSegment(ctx, store, &api.ConsumeSegment{Space: "orders", Segment: "17", MinTimestamp: entry.Timestamp, MaxTimestamp: entry.Timestamp + 1}))
	check("ConsumeSegment after a time", len(timed) == 0, timed)
	space := all(b.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "orders"}))
	check("ConsumeSpace", len(space) == 11, len(space))
	rest := all(b.ConsumeSpace(ctx, store, &api.ConsumeSpace{Space: "orders", Offset: space[2].GetSpaceOffset()}))
	check("ConsumeSpace from an offset", len(rest) == 8 && rest[0].Segment == "18", rest)
	limited := all(b.ConsumeSpace(ctx, store, &api.ConsumeSpace{Space: "orders", MaxTimestamp: time.Now().Add(time.Minute).UnixMilli(), Limit: 2}))
	check("ConsumeSpace with a limit", len(limited) == 2)
	must(a.Publish(ctx, store, "bills", "1", []byte("bill"), nil))
	both := all(b.Consume(ctx, store, &client.Consume{Offsets: map[string]streamhub.LexKey{"orders": space[9].GetSpaceOffset(), "bills": nil}}))
	check("Consume of two spaces", len(both) == 2, both)
	check("GetSegmentOffset", len(both[0].GetSegmentOffset()) > 0)
	_ = all(measured.ConsumeSegment(ctx, store, &api.ConsumeSegment{Space: "orders", Segment: "17"}))
	check("RecordConsumeLatency", counted.consumed.Load() > 0)
	early := b.ConsumeSegment(ctx, store, &api.ConsumeSegment{Space: "orders", Segment: "17"})
	check("an enumerator that is left", early.MoveNext())
	early.Dispose()
	check("in process", len(all(inproc.ConsumeSegment(ctx, store, &api.ConsumeSegment{Space: "orders", Segment: "17"}))) == 3)

	// Subscriptions.
	var mu sync.Mutex
	last := map[string]uint64{}
	note := func(s *client.SegmentStatus) {
		if s.Heartbeat {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		last[s.Segment] = max(last[s.Segment], s.LastSequence)
	}
	seen := func(segment string) uint64 {
		mu.Lock()
		defer mu.Unlock()
		return last[segment]
	}
	var sub api.Subscription
	sub, err = b.SubscribeToSpace(ctx, store, "live", note)
	must(err)
	one, err := b.SubscribeToSegment(ctx, store, "live", "x", note)
	must(err)
	check("ID", sub.ID() != "" && sub.ID() != one.ID())
	eventually("SubscribeToSpace", func() bool {
		must(a.Publish(ctx, store, "live", "y", []byte("y"), nil))
		return seen("y") > 0
	})
	eventually("SubscribeToSegment", func() bool {
		must(a.Publish(ctx, store, "live", "x", []byte("x"), nil))
		return seen("x") > 0
	})
	status := b.GetSubscriptionStatus(sub.ID())
	check("GetSubscriptionStatus", status != nil && status.ID == sub.ID() && status.Status == "active" && status.FailureCount == 0 && status.LastError == nil, status)
	eventually("SubscriptionStatus.LastSequence", func() bool { return b.GetSubscriptionStatus(sub.ID()).LastSequence > 0 })
	sub.Unsubscribe()
	one.Unsubscribe()
	eventually("GetSubscriptionStatus of one that is gone", func() bool { return b.GetSubscriptionStatus(sub.ID()) == nil })
	block := make(chan struct{})
	slow, err := measured.SubscribeToSegment(ctx, store, "slow", "s", func(*client.SegmentStatus) { <-block })
	must(err)
	eventually("RecordHandlerTimeout", func() bool {
		must(a.Publish(ctx, store, "slow", "s", []byte("s"), nil))
		s := measured.GetSubscriptionStatus(slow.ID())
		return counted.timeouts.Load() > 0 && s.HandlerTimeouts > 0
	})
	check("coalesced", measured.GetSubscriptionStatus(slow.ID()).CoalescedUpdates >= 0 && measured.GetSubscriptionStatus(slow.ID()).PendingStatuses >= 0)
	close(block)
	slow.Unsubscribe()
	panics, err := measured.SubscribeToSegment(ctx, store, "panics", "p", func(*client.SegmentStatus) { panic("the handler") })
	must(err)
	eventually("RecordHandlerPanic", func() bool {
		must(a.Publish(ctx, store, "panics", "p", []byte("p"), nil))
		s := measured.GetSubscriptionStatus(panics.ID())
		return counted.panics.Load() > 0 && s != nil && s.HandlerPanics > 0
	})
	panics.Unsubscribe()

	// Workers.
	var inventory atomic.Pointer[client.WorkerInventory]
	watch, err := a.SubscribeWorkers(ctx, store, func(i *client.WorkerInventory) { inventory.Store(i) })
	must(err)
	worker := uuid.New()
	joined, err := b.SubscribeWorkers(ctx, store, func(*client.WorkerInventory) {},
		client.WithWorkerID(worker), client.WithWorkerMetadata(map[string]string{"zone": "a"}), client.WithWorkerHeartbeatInterval(time.Second))
	must(err)
	eventually("SubscribeWorkers", func() bool {
		i := inventory.Load()
		return i != nil && i.Timestamp > 0 && slices.ContainsFunc(i.Workers, func(w client.WorkerInfo) bool {
			return w.WorkerID == worker && w.Metadata["zone"] == "a" && w.LastSeenAt > 0
		})
	})
	joined.Unsubscribe()
	watch.Unsubscribe()

	// Leases.
	ran := false
	must(a.WithLease(ctx, store, "leader", 5*time.Second, func(ctx context.Context) error {
		ran = true
		err := b.WithLease(ctx, store, "leader", 5*time.Second, func(context.Context) error { return nil })
		check("ErrLeaseNotAcquired", errors.Is(err, client.ErrLeaseNotAcquired), err)
		return nil
	}))
	check("WithLease", ran)
	mine := errors.New("mine")
	check("WithLease returns what fn returns", errors.Is(b.WithLease(ctx, store, "leader", 5*time.Second, func(context.Context) error { return mine }), mine))

	// Errors and retries.
	check("IsRetryable", client.IsRetryable(api.NewTransientError("later")) && !client.IsRetryable(api.NewPermanentError("never")) && !client.IsRetryable(nil))
	var typed *api.StreamsError
	check("StreamsError", errors.As(error(api.NewTransientError("later")), &typed) && typed.Code == 1 && typed.Message == "later", typed)
	check("permanent", errors.As(error(api.NewPermanentError("never")), &typed) && typed.Code == 2)
	tries := 0
	err = client.RetryWithBackoff(ctx, policy, func(context.Context) error {
		if tries++; tries < 3 {
			return api.NewTransientError("later")
		}
		return nil
	})
	check("RetryWithBackoff", err == nil && tries == 3, tries, err)
	tries = 0
	err = client.RetryWithBackoff(ctx, policy, func(context.Context) error { tries++; return api.NewPermanentError("never") })
	check("RetryWithBackoff of what never helps", err != nil && tries == 1, tries, err)
	gentle, eager := client.DefaultRetryPolicy(), client.AggressiveRetryPolicy()
	check("policies", gentle.MaxAttempts > 0 && eager.MaxAttempts >= gentle.MaxAttempts && gentle.InitialBackoff > 0 && gentle.MaxBackoff > 0 && gentle.BackoffMultiplier > 1)
	check("MaxProduceLocks", client.MaxProduceLocks == 10000)
	for _, err := range []error{wskit.ErrMuxerClosed, wskit.ErrHeartbeatTimeout, wskit.ErrStreamOverloaded, wskit.ErrTooManyStreams, wskit.ErrPayloadTooLarge} {
		check("errors of wskit", err != nil)
	}

	// The stream underneath, which is not to be had, and says so.
	var routeable api.Routeable = &api.GetSpaces{}
	stream, err := provider.CallStream(ctx, store, routeable)
	check("CallStream", stream == nil && err != nil, err)
	var consumable client.Consumable = &client.Consume{}
	check("Consumable", consumable != nil)
	requests := []any{client.Peek{}, client.Produce{}, client.GetSpaces{}, client.GetSegments{}, client.GetStatus{}, client.Presence{}}
	check("requests", len(requests) == 6)

	check("NewStreamStore", eskit.NewStreamStore(a) != nil)
	check("statements", statements >= 40, statements)
	fmt.Println(statements, "statements")
	fmt.Println("ok")
}

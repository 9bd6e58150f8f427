package client

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	hubclient "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A SubscriptionStatus describes a subscription and counts its failures.
type SubscriptionStatus struct {
	ID     string
	Status string // active or failed
	// FailureCount counts handlers that panicked or took too long; LastError is the error of the last one, or the error
	// that ended the subscription.
	FailureCount int32
	LastError    error
	// LastSequence is the sequence of the last status that was handled.
	LastSequence    int64
	HandlerTimeouts int32
	HandlerPanics   int32
	// CoalescedUpdates and PendingStatuses are always 0: a slow handler gets the newest status.
	CoalescedUpdates int64
	PendingStatuses  int
}

// As in streamkit, a subscription can watch the workers and be a worker at the same time.
type subscription struct {
	*hubclient.Subscription
	leave func()
	once  sync.Once
}

func (s *subscription) ID() string { return s.Subscription.ID().String() }

func (s *subscription) Unsubscribe() {
	s.once.Do(s.leave)
	s.Subscription.Unsubscribe()
}

func (c *client) subscribed(s *hubclient.Subscription, err error, leave func()) (Subscription, error) {
	if err != nil {
		leave()
		return nil, err
	}
	return &subscription{Subscription: s, leave: leave}, nil
}

func (c *client) SubscribeToSpace(ctx context.Context, storeID uuid.UUID, space string, handler func(*SegmentStatus)) (Subscription, error) {
	if c.err != nil {
		return nil, c.err
	}
	s, err := c.inner.Store(storeID).HandleSpace(ctx, space, func(_ context.Context, status streamhub.Status) { handler(api.StatusOf(&status)) })
	return c.subscribed(s, err, func() {})
}

func (c *client) SubscribeToSegment(ctx context.Context, storeID uuid.UUID, space, segment string, handler func(*SegmentStatus)) (Subscription, error) {
	if segment == "*" {
		return c.SubscribeToSpace(ctx, storeID, space, handler)
	}
	if c.err != nil {
		return nil, c.err
	}
	s, err := c.inner.Store(storeID).HandleSegment(ctx, space, segment, func(_ context.Context, status streamhub.Status) { handler(api.StatusOf(&status)) })
	return c.subscribed(s, err, func() {})
}

// A SubscribeWorkersOption makes the subscriber of workers one of them.
type SubscribeWorkersOption func(*workerOptions)

type workerOptions struct {
	worker   streamhub.Worker
	interval time.Duration
}

// WithWorkerID puts the subscriber on the list of workers under an id; the nil UUID has no effect.
func WithWorkerID(id uuid.UUID) SubscribeWorkersOption {
	return func(o *workerOptions) { o.worker.ID = id }
}

// WithWorkerMetadata sets the metadata of the worker, which other subscribers see.
func WithWorkerMetadata(metadata map[string]string) SubscribeWorkersOption {
	return func(o *workerOptions) { o.worker.Metadata = maps.Clone(metadata) }
}

// WithWorkerHeartbeatInterval sets the interval of the worker's heartbeats; the default is 30 s. A
// worker leaves the list three intervals after its last heartbeat, and after 30 s at the earliest.
func WithWorkerHeartbeatInterval(d time.Duration) SubscribeWorkersOption {
	return func(o *workerOptions) { o.interval = d }
}

// leaveTime bounds the call that removes a worker from the list.
const leaveTime = 5 * time.Second

func (c *client) SubscribeWorkers(ctx context.Context, storeID uuid.UUID, handler func(*WorkerInventory), options ...SubscribeWorkersOption) (Subscription, error) {
	if c.err != nil {
		return nil, c.err
	}
	o := workerOptions{interval: 30 * time.Second}
	for _, option := range options {
		option(&o)
	}
	store, leave := c.inner.Store(storeID), func() {}
	if o.worker.ID != uuid.Nil {
		m, err := store.JoinWorkers(ctx, o.worker, max(30*time.Second, 3*o.interval))
		if err != nil {
			return nil, err
		}
		leave = func() {
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
			defer cancel()
			_ = m.Leave(bye) // after an error the membership ends with its ttl
		}
	}
	s, err := store.HandleWorkers(ctx, func(_ context.Context, workers []streamhub.Worker) {
		inventory := &WorkerInventory{Workers: make([]WorkerInfo, len(workers)), Timestamp: time.Now().UnixMilli()}
		for i, w := range workers {
			inventory.Workers[i] = WorkerInfo{WorkerID: w.ID, Metadata: w.Metadata, LastSeenAt: millis.Of(w.LastSeen)}
		}
		handler(inventory)
	})
	return c.subscribed(s, err, leave)
}

func (c *client) GetSubscriptionStatus(id string) *SubscriptionStatus {
	key, err := uuid.Parse(id)
	if err != nil || c.err != nil {
		return nil
	}
	s := c.inner.GetSubscriptionStatus(key)
	if s == nil || s.Status == hubclient.SubscriptionEnded {
		return nil
	}
	return &SubscriptionStatus{
		ID: id, Status: string(s.Status), FailureCount: int32(s.FailureCount), LastError: s.LastError, LastSequence: int64(s.LastSequence),
		HandlerTimeouts: int32(s.HandlerTimeouts), HandlerPanics: int32(s.HandlerPanics),
	}
}

package client

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A StatusHandler is called with the status of a segment. Its context ends at the handler timeout.
type StatusHandler func(ctx context.Context, status streamhub.Status)

// A Subscription calls a handler until it is ended. It continues after lost connections.
type Subscription struct {
	id     uuid.UUID
	c      *Client
	cancel func()
	done   chan struct{}

	mu     sync.Mutex
	status SubscriptionStatus
}

// A SubscriptionState is active, ended by the program, or failed for good.
type SubscriptionState string

// A subscription is active from its beginning. Unsubscribe, or Close of the client, ends it. An error that a retry
// cannot cure makes it fail.
const (
	SubscriptionActive SubscriptionState = "active"
	SubscriptionEnded  SubscriptionState = "ended"
	SubscriptionFailed SubscriptionState = "failed"
)

// A SubscriptionStatus describes a subscription and counts its failures.
type SubscriptionStatus struct {
	ID     uuid.UUID
	Status SubscriptionState
	// FailureCount counts handlers that panicked or took too long; LastError is the error of the last one, or the error
	// that ended the subscription.
	FailureCount    int
	LastError       error
	HandlerTimeouts int
	HandlerPanics   int
	// LastSequence is the sequence of the last status that was handled.
	LastSequence uint64
}

// ID is the random id of the subscription, for [Client.GetSubscriptionStatus].
func (s *Subscription) ID() uuid.UUID { return s.id }

// Unsubscribe ends the subscription. After it returns no handler call begins; one that is running
// may continue.
func (s *Subscription) Unsubscribe() {
	s.cancel()
	<-s.done
}

// Done is closed when the subscription has ended.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Status returns the current status of the subscription.
func (s *Subscription) Status() SubscriptionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Subscription) note(f func(*SubscriptionStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

// GetSubscriptionStatus returns the status of a subscription; nil for an unknown id, and after
// Unsubscribe.
func (c *Client) GetSubscriptionStatus(id uuid.UUID) *SubscriptionStatus {
	c.mu.Lock()
	s := c.subscriptions[id]
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	status := s.Status()
	return &status
}

// HandleSegment calls handler with the status of a segment, first the current one and then one after each change. Its
// calls do not overlap, unless one takes longer than the handler timeout. A handler that is slower than the changes
// gets the newest status.
func (s *Store) HandleSegment(ctx context.Context, space, segment string, handler StatusHandler) (*Subscription, error) {
	return subscribe(ctx, s.c, handler, func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return s.SubscribeSegment(ctx, space, segment)
	}, lastSequence)
}

// HandleSpace is [Store.HandleSegment] for all segments of a space.
func (s *Store) HandleSpace(ctx context.Context, space string, handler StatusHandler) (*Subscription, error) {
	return subscribe(ctx, s.c, handler, func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return s.SubscribeSpace(ctx, space)
	}, lastSequence)
}

func lastSequence(s streamhub.Status) uint64 { return s.LastSequence }

// HandleWorkers calls handler with the workers of the store whenever the list changes.
func (s *Store) HandleWorkers(ctx context.Context, handler func(ctx context.Context, workers []streamhub.Worker)) (*Subscription, error) {
	return subscribe(ctx, s.c, handler, s.Workers, func([]streamhub.Worker) uint64 { return 0 })
}

func subscribe[T any](ctx context.Context, c *Client, handler func(context.Context, T), items func(ctx context.Context) iter.Seq2[T, error], sequence func(T) uint64) (*Subscription, error) {
	ctx, cancel := c.last(ctx)
	s := &Subscription{id: uuid.New(), c: c, cancel: cancel, done: make(chan struct{})}
	s.status = SubscriptionStatus{ID: s.id, Status: SubscriptionActive}
	// The subscription is added before its goroutine starts: the goroutine may end at once, and then removes it.
	c.mu.Lock()
	c.subscriptions[s.id] = s
	c.mu.Unlock()
	err := c.start(func() {
		defer close(s.done)
		defer cancel()
		for item, err := range items(ctx) {
			if ctx.Err() != nil {
				break
			}
			if err != nil {
				s.fail(err)
				return
			}
			s.handle(ctx, func(ctx context.Context) { handler(ctx, item) })
			s.note(func(status *SubscriptionStatus) { status.LastSequence = sequence(item) })
		}
		s.note(func(status *SubscriptionStatus) { status.Status = SubscriptionEnded })
		c.mu.Lock()
		delete(c.subscriptions, s.id)
		c.mu.Unlock()
	})
	if err != nil {
		cancel()
		c.mu.Lock()
		delete(c.subscriptions, s.id)
		c.mu.Unlock()
		return nil, err
	}
	return s, nil
}

// fail ends the subscription for good.
func (s *Subscription) fail(err error) {
	s.note(func(status *SubscriptionStatus) {
		status.Status = SubscriptionFailed
		status.LastError = err
	})
	if f := s.c.opt.subscriptionFailed; f != nil {
		f(s.Status(), err)
	}
}

// handle runs a handler. It does not wait longer than the handler timeout; a handler that takes longer keeps its place
// until it returns.
func (s *Subscription) handle(ctx context.Context, handler func(ctx context.Context)) {
	select {
	// No status is taken while there is no place, so the next one is the newest.
	case s.c.handlers <- struct{}{}:
	case <-ctx.Done():
		return
	}
	free := func() { <-s.c.handlers }
	timeout := s.c.opt.handlerTimeout
	if timeout <= 0 {
		defer free()
		s.guarded(ctx, handler)
		return
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	done := make(chan struct{})
	if s.c.start(func() {
		defer free()
		defer cancel()
		defer close(done)
		s.guarded(limited, handler)
	}) != nil {
		cancel()
		free()
		return
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
	// The context of the handler derives from ctx, and Close waits for the handler.
	case <-ctx.Done():
	case <-timer.C:
		s.handlerFailed(ctx, "timeout", context.DeadlineExceeded, func(status *SubscriptionStatus) { status.HandlerTimeouts++ })
	}
}

// handlerFailed counts a handler that failed, and logs and reports it.
func (s *Subscription) handlerFailed(ctx context.Context, how string, err error, count func(*SubscriptionStatus)) {
	s.c.countHandler(ctx, how)
	s.note(func(status *SubscriptionStatus) {
		count(status)
		status.FailureCount++
		status.LastError = err
	})
	if f := s.c.opt.handlerFailed; f != nil {
		f(s.Status(), err)
	}
}

// guarded runs a handler and recovers its panic, which it counts and reports.
func (s *Subscription) guarded(ctx context.Context, handler func(ctx context.Context)) {
	defer func() {
		if p := recover(); p != nil {
			s.c.opt.logger.Error("a handler panicked", "subscription", s.id, "panic", p, "stack", string(debug.Stack()))
			s.handlerFailed(ctx, "panic", fmt.Errorf("panic: %v", p), func(status *SubscriptionStatus) { status.HandlerPanics++ })
		}
	}()
	handler(ctx)
}

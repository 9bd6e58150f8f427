package client

import (
	"context"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// JoinWorkers keeps a worker on the list of the store until it leaves, ctx ends, or another worker joins with its id.
// After a lost connection it joins again.
func (s *Store) JoinWorkers(ctx context.Context, worker streamhub.Worker, ttl time.Duration) (streamhub.Membership, error) {
	// The membership outlives the call: staying ends with ctx or with the client, not when
	// JoinWorkers returns.
	staying, cancel := s.c.last(ctx)
	first, err := result(ctx, s, "join", func(ctx context.Context) (streamhub.Membership, error) {
		return s.inner.JoinWorkers(staying, worker, ttl)
	})
	if err != nil {
		if ctx.Err() == nil && errors.Is(context.Cause(staying), streamhub.ErrShutdown) {
			err = &streamhub.Error{Op: "join", Store: s.ID(), Err: streamhub.ErrShutdown}
		}
		cancel()
		return nil, err
	}
	m := &membership{cancel: cancel, done: make(chan struct{})}
	err = s.c.start(func() {
		defer close(m.done)
		defer cancel()
		err := s.stay(staying, first, worker, ttl)
		m.mu.Lock()
		defer m.mu.Unlock()
		// A membership that this side ended has no error, unless the client was closed.
		if cause := context.Cause(staying); cause == nil {
			m.err = err
		} else if errors.Is(cause, streamhub.ErrShutdown) {
			m.err = cause
		}
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return m, nil
}

// stay joins again after each temporary failure, until ctx ends or a join is refused for good.
func (s *Store) stay(ctx context.Context, now streamhub.Membership, worker streamhub.Worker, ttl time.Duration) error {
	for attempt := 0; ; attempt++ {
		if now != nil {
			// The worker was on the list, so the delays start again from the shortest.
			attempt = 0
			<-now.Done()
			if err := now.Err(); !streamhub.Retryable(err) {
				return err
			}
		}
		if !pause.For(ctx, s.c.opt.retry.delay(attempt)) {
			return ctx.Err()
		}
		var err error
		if now, err = s.inner.JoinWorkers(ctx, worker, ttl); err != nil && !streamhub.Retryable(err) {
			return err
		}
	}
}

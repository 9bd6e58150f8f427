package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// WithLease acquires the lease as [Manager.Acquire] does, runs fn while it renews it, releases it and returns what fn
// returned.
//
// The context of fn ends with ctx. It ends with [streamhub.ErrLeaseLost] as its cause when Redis reports the lease as
// lost, or when two thirds of the ttl have passed without a confirmed renewal. Its Err is [context.Canceled] in each
// case: [context.Cause] says which. fn must then stop, and WithLease returns [streamhub.ErrLeaseLost] joined to the
// error of fn. After the end of ctx the lease is still renewed until fn returns.
//
// Before it returns, WithLease waits for a renewal in flight and releases the lease, for up to a second even if ctx has
// ended. Then it resumes a panic of fn.
func (m *Manager) WithLease(ctx context.Context, store uuid.UUID, key string, ttl time.Duration,
	fn func(ctx context.Context, l *Lease) error) error {
	l, err := m.Acquire(ctx, store, key, ttl)
	if err != nil {
		return err
	}
	return l.hold(ctx, fn)
}

func (l *Lease) hold(ctx context.Context, fn func(ctx context.Context, l *Lease) error) (err error) {
	work, cancel := context.WithCancelCause(ctx)
	// The lease is renewed after the end of ctx too, until fn returns.
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	k := &keeper{lease: l, stop: stop, cancel: cancel}
	var running sync.WaitGroup
	running.Go(func() { k.watch(keeping) })
	running.Go(func() { k.renew(keeping) })

	defer func() {
		stop()
		cancel(nil)
		running.Wait()
		lost := k.lost
		if !l.isReleased() {
			// If the release fails the ttl ends the lease.
			if had, failed := l.Release(ctx); failed == nil && !had && lost == nil {
				lost = l.name.fail("hold lease", streamhub.ErrLeaseLost)
			}
		}
		if lost != nil && !errors.Is(err, streamhub.ErrLeaseLost) {
			err = errors.Join(err, lost)
		}
	}()
	return fn(work, l)
}

// A keeper renews one lease while a function runs.
type keeper struct {
	lease  *Lease
	stop   context.CancelFunc
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	lost   error // why the lease was given up; read when both goroutines have ended
	failed error // error of the last renewal, nil if it was confirmed
}

// lose records that the lease is lost and ends the context of fn. The first reason stays.
func (k *keeper) lose(reason error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == nil {
		k.lost = k.lease.name.fail("hold lease", reason)
		k.cancel(k.lost)
		k.stop()
	}
}

// note records the outcome of a renewal, for the error that silence makes.
func (k *keeper) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
}

// silence returns the error of a lease that was not renewed in time.
func (k *keeper) silence() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fault.Unrenewed(k.failed)
}

// watch gives the lease up at the end of its trust window. It runs apart from renew, because a call to a Redis that
// does not answer can outlast its context.
func (k *keeper) watch(ctx context.Context) {
	for {
		left := time.Until(k.lease.TrustedUntil())
		if k.lease.isReleased() {
			return
		}
		if left <= 0 {
			k.lose(k.silence())
			return
		}
		if !pause.For(ctx, left) {
			return
		}
	}
}

// renew renews the lease at each third of the ttl, and more often while renewals fail.
func (k *keeper) renew(ctx context.Context) {
	l := k.lease
	third := l.ttl / 3
	next := time.Until(l.TrustedUntil()) - third
	for pause.For(ctx, next) {
		call, cancel := context.WithTimeout(ctx, max(third/2, 100*time.Millisecond))
		err := l.renew(call)
		cancel()
		k.note(err)
		switch {
		case l.isReleased():
			return
		case errors.Is(err, streamhub.ErrLeaseLost):
			k.lose(err)
			return
		case err == nil:
			next = time.Until(l.TrustedUntil()) - third
		default:
			next = pause.Jitter(min(l.ttl/30, longestPause))
		}
	}
}

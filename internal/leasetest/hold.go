package leasetest

import (
	"context"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

var errFn = errors.New("fn failed")

// ends waits for the end of a context and returns its cause.
func (f *fixture) ends(ctx context.Context) error {
	f.Helper()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.ctx.Done():
		f.Error("the context of fn did not end")
		return f.ctx.Err()
	}
}

func withLease(f *fixture) {
	var token uint64
	err := f.WithLease(f.ctx, f.store, key, long, func(ctx context.Context, l *lease.Lease) error {
		f.holds(l.Holder(), l.Token())
		token = l.Token()
		if l.Store() != f.store || l.Key() != key {
			f.Errorf("the lease is on %v %q", l.Store(), l.Key())
		}
		err := f.WithLease(ctx, f.store, key, long, func(context.Context, *lease.Lease) error {
			f.Error("two at a time")
			return nil
		})
		f.wants(err, streamhub.ErrLeaseNotAcquired)
		return ctx.Err()
	})
	if err != nil {
		f.Error(err)
	}
	if !f.isFree() {
		f.Error("the lease was not released")
	}
	err = f.WithLease(f.ctx, f.store, key, long, func(_ context.Context, l *lease.Lease) error {
		if l.Token() <= token {
			f.Errorf("token %d follows %d", l.Token(), token)
		}
		return errFn
	})
	if err != errFn {
		f.Errorf("got %v, want what fn returned, as it is", err)
	}
	if !f.isFree() {
		f.Error("the lease was not released after an error")
	}
}

func withLeaseRenews(f *fixture) {
	const ttl = 1200 * time.Millisecond
	err := f.WithLease(f.ctx, f.store, key, ttl, func(ctx context.Context, l *lease.Lease) error {
		timer := time.NewTimer(2*ttl + ttl/2)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		f.holds(l.Holder(), l.Token())
		return context.Cause(ctx)
	})
	if err != nil {
		f.Error(err)
	}
}

func withLeaseLost(f *fixture) {
	const ttl = 3 * time.Second
	err := f.WithLease(f.ctx, f.store, key, ttl, func(ctx context.Context, l *lease.Lease) error {
		f.do("DEL", f.leaseKey())
		begin := time.Now()
		cause := f.ends(ctx)
		f.wants(cause, streamhub.ErrLeaseLost)
		// With the next renewal, not at the end of the trust window.
		if took := time.Since(begin); took > ttl/2 {
			f.Errorf("the loss was noticed after %v of %v", took, ttl)
		}
		return errFn
	})
	f.wants(err, streamhub.ErrLeaseLost)
	if !errors.Is(err, errFn) {
		f.Errorf("%v does not hold what fn returned", err)
	}
	if !f.isFree() {
		f.Error("the renewal of a lost lease took it")
	}
}

func withLeaseTakenOver(f *fixture) {
	var token uint64
	err := f.WithLease(f.ctx, f.store, key, 600*time.Millisecond, func(ctx context.Context, l *lease.Lease) error {
		f.do("DEL", f.leaseKey())
		if token = f.acquire("b", long); token <= l.Token() {
			f.Errorf("token %d follows %d", token, l.Token())
		}
		return f.ends(ctx)
	})
	f.wants(err, streamhub.ErrLeaseLost)
	f.holds("b", token) // the end of the first holder did not release it
}

func withLeaseLostAtEnd(f *fixture) {
	err := f.WithLease(f.ctx, f.store, key, long, func(ctx context.Context, l *lease.Lease) error {
		f.do("DEL", f.leaseKey())
		return ctx.Err()
	})
	if f.lossy && err == nil {
		return // this cannot be known
	}
	f.wants(err, streamhub.ErrLeaseLost)
}

func withLeaseParentEnds(f *fixture) {
	parent, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	stopped := errors.New("stopped")
	err := f.WithLease(parent, f.store, key, long, func(ctx context.Context, _ *lease.Lease) error {
		cancel(stopped)
		if cause := f.ends(ctx); cause != stopped {
			f.Errorf("the context of fn ended with %v, want the cause of its parent", cause)
		}
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, streamhub.ErrLeaseLost) {
		f.Errorf("got %v, want what fn returned", err)
	}
	if !f.isFree() {
		f.Error("the lease was not released after the end of the context")
	}
	err = f.WithLease(parent, f.store, key, long, func(context.Context, *lease.Lease) error {
		f.Error("fn ran without a context")
		return nil
	})
	f.wants(err, context.Canceled)
}

// withLeaseWindsDown: fn needs longer than the ttl to stop, and no other holder gets the lease before.
func withLeaseWindsDown(f *fixture) {
	const ttl = 1200 * time.Millisecond
	parent, cancel := context.WithCancel(f.ctx)
	defer cancel()
	err := f.WithLease(parent, f.store, key, ttl, func(ctx context.Context, l *lease.Lease) error {
		cancel()
		_ = f.ends(ctx)
		f.pass(ttl + ttl/2)
		f.holds(l.Holder(), l.Token())
		return nil
	})
	if err != nil {
		f.Error(err)
	}
	if !f.isFree() {
		f.Error("the lease was not released")
	}
}

func withLeasePanic(f *fixture) {
	func() {
		defer func() {
			if p := recover(); p != errFn {
				f.Errorf("recovered %v, want the panic of fn", p)
			}
		}()
		err := f.WithLease(f.ctx, f.store, key, long, func(context.Context, *lease.Lease) error { panic(errFn) })
		f.Errorf("WithLease returned %v", err)
	}()
	if !f.isFree() {
		f.Error("the lease was not released after a panic")
	}
}

func withLeaseReleasedByFn(f *fixture) {
	const ttl = 300 * time.Millisecond
	err := f.WithLease(f.ctx, f.store, key, ttl, func(ctx context.Context, l *lease.Lease) error {
		released, err := l.Release(ctx)
		f.wasReleased(released, err, true)
		f.acquire("b", long)
		timer := time.NewTimer(2 * ttl)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			f.Errorf("the context of fn ended with %v", context.Cause(ctx))
		}
		return nil
	})
	if err != nil {
		f.Errorf("got %v for a lease that fn released", err)
	}
	if f.isFree() {
		f.Error("WithLease released what another has")
	}
}

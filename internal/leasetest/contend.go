package leasetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

type acquired struct {
	*lease.Lease
	err error
}

// acquireLater starts an Acquire that waits.
func (f *fixture) acquireLater(ctx context.Context, wait time.Duration) <-chan acquired {
	result := make(chan acquired, 1)
	go func() {
		l, err := f.managerWith(lease.Options{Name: "waiter", Wait: wait}).Acquire(ctx, f.store, key, long)
		result <- acquired{l, err}
	}()
	return result
}

// stays checks that nothing comes out of result for a while.
func (f *fixture) stays(result <-chan acquired, d time.Duration) {
	f.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case r := <-result:
		f.Fatalf("Acquire did not wait: %+v", r)
	case <-timer.C:
	}
}

func (f *fixture) comes(result <-chan acquired) acquired {
	f.Helper()
	select {
	case r := <-result:
		return r
	case <-f.ctx.Done():
		f.Fatal("Acquire did not return")
		return acquired{}
	}
}

func wait(f *fixture) {
	token := f.acquire("a", long)
	result := f.acquireLater(f.ctx, long)
	f.stays(result, soon)
	f.release("a", true)
	r := f.comes(result)
	if r.err != nil || r.Token() <= token {
		f.Fatalf("waited for %+v, %v", r.Lease, r.err)
	}
	if f.holds(r.Holder(), r.Token()); r.Holder()[:len("waiter/")] != "waiter/" {
		f.Errorf("the holder is %q and does not begin with the name", r.Holder())
	}

	// And not longer than it was told to.
	begin := time.Now()
	second := f.comes(f.acquireLater(f.ctx, soon))
	f.wants(second.err, streamhub.ErrLeaseNotAcquired)
	if waited := time.Since(begin); waited < soon {
		f.Errorf("Acquire waited %v of %v", waited, soon)
	}
}

func waitEndsWithContext(f *fixture) {
	token := f.acquire("a", long)
	ctx, cancel := context.WithCancel(f.ctx)
	result := f.acquireLater(ctx, long)
	f.stays(result, soon)
	cancel()
	f.wants(f.comes(result).err, context.Canceled)
	f.holds("a", token)
	f.release("a", true)

	_, err := f.Acquire(ctx, f.store, key, long)
	f.wants(err, context.Canceled)
	if !f.isFree() {
		f.Error("Acquire without a context got the lease")
	}
}

func waitForExpiry(f *fixture) {
	token := f.acquire("a", soon)
	r := f.comes(f.acquireLater(f.ctx, long))
	if r.err != nil || r.Token() <= token {
		f.Errorf("waited for %+v, %v", r.Lease, r.err)
	}
}

// contenders want the same lease at once: they get it one at a time, with growing tokens.
func contenders(f *fixture) {
	// A holder whose release is not heard within its bounded goodbye keeps the lease for the ttl. On
	// a machine that is busy enough for that, the others still get their turn.
	const n, ttl = 50, 15 * time.Second
	var inside atomic.Int32
	var tokens []uint64 // the lease guards it, which the race detector sees through inside
	results := make(chan error, n)
	for range n {
		m := f.managerWith(lease.Options{Wait: patience})
		go func() {
			results <- m.WithLease(f.ctx, f.store, key, ttl, func(_ context.Context, l *lease.Lease) error {
				if others := inside.Add(1) - 1; others != 0 {
					return fmt.Errorf("token %d runs beside %d others", l.Token(), others)
				}
				defer inside.Add(-1)
				tokens = append(tokens, l.Token())
				return nil
			})
		}()
	}
	for range n {
		select {
		case err := <-results:
			if err != nil {
				f.Error(err)
			}
		case <-f.ctx.Done():
			f.Fatal("not every contender had its turn")
		}
	}
	if len(tokens) != n {
		f.Fatalf("%d of %d contenders had a turn", len(tokens), n)
	}
	for i := range n - 1 {
		if tokens[i+1] <= tokens[i] {
			f.Fatalf("token %d follows %d", tokens[i+1], tokens[i])
		}
	}
}

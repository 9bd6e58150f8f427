package leasetest

import (
	"context"
	"time"

	"github.com/seed-147127fe/streamhub"
)

func release(f *fixture) {
	first := f.acquire("a", long)
	f.release("a", true)
	f.release("a", false) // once more
	second := f.acquire("b", long)
	if second <= first {
		f.Errorf("token %d follows %d", second, first)
	}
	f.release("a", false) // too late
	f.holds("b", second)
	f.release("b", true)
	if third := f.acquire("b", long); third <= second {
		f.Errorf("the same holder got token %d after it released %d", third, second)
	}
}

func releaseByStranger(f *fixture) {
	f.release("x", false)
	token := f.acquire("a", long)
	for _, stranger := range []string{"b", "A", "a ", " a", "a\x00", "1", "%"} {
		f.release(stranger, false)
		f.holds("a", token)
	}
	f.release("a", true)
	f.acquire("b", soon)
	f.waitFree()
	f.release("b", false) // after the expiry
}

func renewKeeps(f *fixture) {
	token := f.acquire("a", time.Second)
	got, err := f.RenewAs(f.ctx, f.store, key, "a", long)
	if err != nil || got != token {
		f.Fatalf("renewed token %d: %v, want %d", got, err, token)
	}
	if held, err := f.Peek(f.ctx, f.store, key); err != nil || held.Left <= time.Second {
		f.Errorf("the renewal left %v of %v: %v", held.Left, long, err)
	}

	l, err := f.Acquire(f.ctx, f.store, "another", long)
	if err != nil {
		f.Fatal(err)
	}
	before := l.TrustedUntil()
	if window := time.Until(before); window <= 0 || window > long*2/3 {
		f.Errorf("a new lease of %v is trusted for %v", long, window)
	}
	f.eventually("time passes", func() bool { return time.Until(before) < long*2/3-time.Millisecond })
	if err := l.Renew(f.ctx); err != nil || !l.TrustedUntil().After(before) {
		f.Errorf("trusted until %v, and after a renewal (%v) until %v", before, err, l.TrustedUntil())
	}
	ended, end := context.WithCancel(f.ctx)
	end()
	released, err := l.Release(ended) // as a deferred call does
	f.wasReleased(released, err, true)
	if !l.TrustedUntil().IsZero() {
		f.Error("a released lease is trusted")
	}
	f.wants(l.Renew(f.ctx), streamhub.ErrLeaseLost)
}

func renewByStranger(f *fixture) {
	_, err := f.RenewAs(f.ctx, f.store, key, "a", long)
	f.wants(err, streamhub.ErrLeaseLost)
	if !f.isFree() {
		f.Error("the renewal of a free lease took it")
	}
	token := f.acquire("a", soon)
	got, err := f.RenewAs(f.ctx, f.store, key, "b", long)
	f.wants(err, streamhub.ErrLeaseLost)
	if got != 0 {
		f.Errorf("a refused renewal returned token %d", got)
	}
	f.waitFree() // it did not extend
	_, err = f.RenewAs(f.ctx, f.store, key, "a", long)
	f.wants(err, streamhub.ErrLeaseLost)
	if second := f.acquire("b", long); second <= token {
		f.Errorf("token %d follows %d", second, token)
	}
	_, err = f.RenewAs(f.ctx, f.store, key, "a", long)
	f.wants(err, streamhub.ErrLeaseLost)
}

package leasetest

import (
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

func exclusive(f *fixture) {
	token := f.acquire("a", long)
	got, err := f.AcquireAs(f.ctx, f.store, key, "b", long)
	f.wants(err, streamhub.ErrLeaseNotAcquired)
	var held *streamhub.LeaseHeldError
	if !errors.As(err, &held) || held.Holder != "a" || held.Token != token || held.Left <= 0 || held.Left > long {
		f.Errorf("%v does not tell that a has it with token %d", err, token)
	}
	if got != 0 {
		f.Errorf("a refused acquire returned token %d", got)
	}
	f.holds("a", token)
	if _, err := f.Acquire(f.ctx, f.store, key, long); !errors.Is(err, streamhub.ErrLeaseNotAcquired) {
		f.Errorf("Acquire of a held lease: %v", err)
	}
}

func sameHolderExtends(f *fixture) {
	first := f.acquire("a", time.Second)
	if again := f.acquire("a", long); again != first {
		f.Errorf("the second acquire of the holder has token %d, the first had %d", again, first)
	}
	if held, err := f.Peek(f.ctx, f.store, key); err != nil || held.Left <= time.Second {
		f.Errorf("the second acquire left %v of %v: %v", held.Left, long, err)
	}
	// So did the counter: the next holder is above it.
	f.release("a", true)
	if next := f.acquire("b", long); next <= first {
		f.Errorf("token %d follows %d", next, first)
	}
}

func expiry(f *fixture) {
	first := f.acquire("a", soon)
	f.waitFree()
	second := f.acquire("b", soon)
	if second <= first {
		f.Errorf("token %d follows %d", second, first)
	}
	f.waitFree()
	if third := f.acquire("b", soon); third <= second {
		f.Errorf("the same holder got token %d after the expiry of %d", third, second)
	}
}

func restartEmpty(f *fixture) {
	first := f.acquire("a", long)
	f.pass(time.Millisecond) // a restart takes a moment
	f.flush()
	_, err := f.RenewAs(f.ctx, f.store, key, "a", long)
	f.wants(err, streamhub.ErrLeaseLost)
	if second := f.acquire("b", long); second <= first {
		f.Errorf("token %d follows %d over a restart without data", second, first)
	}
}

func ttlLimits(f *fixture) {
	f.acquire("a", lease.MinTTL)
	f.waitFree()
	f.acquire("a", lease.MaxTTL)
	if _, err := f.RenewAs(f.ctx, f.store, key, "a", lease.MaxTTL); err != nil {
		f.Errorf("renew for %v: %v", lease.MaxTTL, err)
	}
	// The longest lease is a lease like others.
	_, err := f.AcquireAs(f.ctx, f.store, key, "b", long)
	f.wants(err, streamhub.ErrLeaseNotAcquired)
	f.release("a", true)
	for _, ttl := range []time.Duration{-time.Second, 0, 1, lease.MinTTL - 1, lease.MaxTTL + 1} {
		_, err := f.AcquireAs(f.ctx, f.store, key, "a", ttl)
		f.wants(err, streamhub.ErrInvalidArgument)
		_, err = f.RenewAs(f.ctx, f.store, key, "a", ttl)
		f.wants(err, streamhub.ErrInvalidArgument)
		_, err = f.Acquire(f.ctx, f.store, key, ttl)
		f.wants(err, streamhub.ErrInvalidArgument)
	}
	if !f.isFree() {
		f.Error("a refused ttl was granted")
	}
}

func clockSetBack(f *fixture) {
	// The expiry moved away by less than the longest ttl: it is cut to what was granted, which
	// harms no holder that is alive, and the lease of one that is not ends.
	first := f.acquire("a", time.Second)
	f.do("PEXPIRE", f.leaseKey(), time.Hour.Milliseconds())
	_, err := f.AcquireAs(f.ctx, f.store, key, "b", long)
	var held *streamhub.LeaseHeldError
	if !errors.As(err, &held) || held.Left > time.Second {
		f.Fatalf("%v: want a lease that ends within its ttl", err)
	}
	f.holds("a", first)
	f.waitFree()

	// No call can have set these: such a lease is taken over.
	for _, expire := range [][]any{
		{"PEXPIRE", f.leaseKey(), (lease.MaxTTL + time.Hour).Milliseconds()},
		{"PERSIST", f.leaseKey()},
	} {
		second := f.acquire("a", long)
		f.do(expire...)
		if held, err := f.Peek(f.ctx, f.store, key); err != nil || held.Token != second || held.Left != 0 {
			f.Errorf("%v: peek: %+v, %v", expire, held, err)
		}
		third := f.acquire("b", long)
		if third <= second {
			f.Errorf("%v: token %d follows %d", expire, third, second)
		}
		_, err := f.RenewAs(f.ctx, f.store, key, "a", long)
		f.wants(err, streamhub.ErrLeaseLost)
		f.do("PERSIST", f.leaseKey())
		if _, err := f.RenewAs(f.ctx, f.store, key, "b", long); err != nil {
			f.Errorf("renew by the holder: %v", err)
		}
		_, err = f.AcquireAs(f.ctx, f.store, key, "a", long)
		f.wants(err, streamhub.ErrLeaseNotAcquired)
		f.release("b", true)
	}
}

func unknownLayout(f *fixture) {
	for _, k := range []string{f.leaseKey(), f.counterKey()} {
		for _, set := range [][]any{{"SET", k, "2 77 1000 a"}, {"SET", k, "2 77"}, {"SET", k, ""}, {"HSET", k, "x", "y"}} {
			f.do(set...)
			_, err := f.AcquireAs(f.ctx, f.store, key, "a", long)
			f.wants(err, streamhub.ErrCorrupt)
			_, err = f.RenewAs(f.ctx, f.store, key, "a", long)
			f.wants(err, streamhub.ErrCorrupt)
			_, err = f.ReleaseAs(f.ctx, f.store, key, "a")
			f.wants(err, streamhub.ErrCorrupt)
			_, err = f.Peek(f.ctx, f.store, key)
			f.wants(err, streamhub.ErrCorrupt)
			f.do("DEL", k)
		}
	}
}

func tokensEnd(f *fixture) {
	f.do("SET", f.counterKey(), "1 9007199254740990")
	if token := f.acquire("a", long); token != streamhub.MaxInteger {
		f.Errorf("the last token is %d, want %d", token, uint64(streamhub.MaxInteger))
	}
	f.holds("a", streamhub.MaxInteger)
	f.release("a", true)
	_, err := f.AcquireAs(f.ctx, f.store, key, "a", long)
	f.wants(err, streamhub.ErrCorrupt)
	if !f.isFree() {
		f.Error("a lease without a token was granted")
	}
}

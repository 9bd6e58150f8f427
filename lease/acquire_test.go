package lease_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/lease"
)

func acquire(t *testing.T, m *lease.Manager, holder string) uint64 {
	t.Helper()
	token, err := m.AcquireAs(t.Context(), store, key, holder, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func release(t *testing.T, m *lease.Manager, holder string) {
	t.Helper()
	if released, err := m.ReleaseAs(t.Context(), store, key, holder); err != nil || !released {
		t.Fatalf("release: %v, %v", released, err)
	}
}

func isFree(t *testing.T, m *lease.Manager) bool {
	t.Helper()
	_, err := m.Peek(t.Context(), store, key)
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
		t.Fatal(err)
	}
	return err != nil
}

// Tokens grow while the clock of Redis stands still or goes back, and follow it otherwise.
func TestTokensAndTheClock(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		now := time.Now()
		last := uint64(0)
		for _, clock := range []struct {
			to   time.Time
			want uint64 // 0 is one more
		}{
			{now, uint64(now.UnixMicro())},
			{now, 0},
			{now.Add(-time.Hour), 0},
			{now.Add(-30 * 24 * time.Hour), 0},
			{now.Add(time.Hour), uint64(now.Add(time.Hour).UnixMicro())},
			{now, 0},
		} {
			w.redis.SetTime(clock.to)
			token := acquire(t, m, "a")
			if want := max(clock.want, last+1); token != want {
				t.Errorf("at %v the token is %d, want %d", clock.to, token, want)
			}
			last = token
			release(t, m, "a")
		}
	})
}

// The token counter does not stay forever, and the tokens grow without it.
func TestCounterExpires(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		const week = 7 * 24 * time.Hour
		begin := time.Now()
		first := acquire(t, m, "a")
		at(begin, 30*time.Second)
		release(t, m, "a")
		at(begin, week)
		if keys := w.redis.Keys(); len(ours(keys)) != 1 {
			t.Errorf("a week after it was acquired there is %q, want the counter", keys)
		}
		at(begin, week+31*time.Second)
		if keys := w.redis.Keys(); len(ours(keys)) != 0 {
			t.Errorf("a week after it was released there is %q", keys)
		}
		if second := acquire(t, m, "a"); second <= first {
			t.Errorf("token %d follows %d", second, first)
		}
	})
}

// A holder that keeps a lease keeps its counter.
func TestRenewalKeepsTheCounter(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		begin := time.Now()
		if _, err := m.AcquireAs(t.Context(), store, key, "a", lease.MaxTTL); err != nil {
			t.Fatal(err)
		}
		for day := range 9 {
			at(begin, time.Duration(day+1)*20*time.Hour)
			if _, err := m.RenewAs(t.Context(), store, key, "a", lease.MaxTTL); err != nil {
				t.Fatal(err)
			}
		}
		if keys := w.redis.Keys(); len(ours(keys)) != 2 {
			t.Errorf("after a week of renewals there is %q", keys)
		}
	})
}

func ours(keys []string) (own []string) {
	for _, k := range keys {
		if strings.HasPrefix(k, "sh:{"+store.String()+".") {
			own = append(own, k)
		}
	}
	return own
}

func TestWaitingIsNoBusyLoop(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		acquire(t, lease.New(w.conn, nil), "a")
		before := w.link.calls.Load()
		begin := time.Now()
		_, err := lease.New(w.conn, &lease.Options{Wait: 50 * time.Second}).Acquire(t.Context(), store, key, time.Minute)
		if !errors.Is(err, streamhub.ErrLeaseNotAcquired) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != 50*time.Second {
			t.Errorf("Acquire waited %v", took)
		}
		if n := w.link.calls.Load() - before; n < 50 || n > 250 {
			t.Errorf("%d requests in 50 s", n)
		}
	})
}

// Who waits gets the lease when the ttl of a dead holder ends, not a pause later.
func TestWaitEndsWithTheTTL(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		begin := time.Now()
		acquire(t, lease.New(w.conn, nil), "a") // for a minute
		l, err := lease.New(w.conn, &lease.Options{Wait: time.Hour}).Acquire(t.Context(), store, key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if late := time.Since(begin) - time.Minute; late < 0 || late > 10*time.Millisecond {
			t.Errorf("it came %v after the end of the ttl", late)
		}
		if window := time.Until(l.TrustedUntil()); window != 40*time.Second {
			t.Errorf("the lease is trusted for %v of a minute", window)
		}
	})
}

// It ends at once with its context.
func TestWaitEndsWithTheContext(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		acquire(t, lease.New(w.conn, nil), "a")
		begin := time.Now()
		const limit = 10*time.Second + time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := lease.New(w.conn, &lease.Options{Wait: time.Hour}).Acquire(ctx, store, key, time.Minute)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != limit {
			t.Errorf("Acquire returned after %v, its context ended after %v", took, limit)
		}
	})
}

// The trust counts from when the request was sent, however late the reply is.
func TestSlowRepliesShortenTheTrust(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		acquire(t, m, "a") // the script is there
		release(t, m, "a")
		w.link.delay.Store(int64(2 * time.Second))
		l, err := m.Acquire(t.Context(), store, key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if window := time.Until(l.TrustedUntil()); window > 38*time.Second {
			t.Errorf("acquired two seconds ago, the lease is trusted for %v of a minute", window)
		}
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if window := time.Until(l.TrustedUntil()); window > 38*time.Second {
			t.Errorf("renewed two seconds ago, the lease is trusted for %v of a minute", window)
		}
		w.link.delay.Store(0)
	})
}

// Waiting goes on while Redis does not answer.
func TestWaitSurvivesSilence(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		begin := time.Now()
		w.link.silent.Store(true)
		result := make(chan error, 1)
		go func() {
			_, err := lease.New(w.conn, &lease.Options{Wait: time.Minute}).Acquire(t.Context(), store, key, time.Minute)
			result <- err
		}()
		at(begin, 20*time.Second)
		w.link.silent.Store(false)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// No answer to any attempt: what may have been acquired is given back.
func TestUnknownAcquireIsGivenBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		acquire(t, m, "a") // the script is there
		release(t, m, "a")
		w.link.loseReplies(first(5))
		_, err := m.Acquire(t.Context(), store, key, time.Minute)
		if !errors.Is(err, streamhub.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
		if n := w.link.lost.Load(); n != 5 {
			t.Errorf("%d replies were lost, want one of each attempt", n)
		}
		if !isFree(t, m) {
			t.Error("the lease stays taken")
		}
	})
}

// An attempt that did nothing does not tell what the one before it did.
func TestUnknownStaysUnknown(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		acquire(t, m, "a")
		w.link.loseReplies(func([]byte) bool { w.link.silent.Store(true); return true })
		_, err := m.RenewAs(t.Context(), store, key, "a", time.Minute)
		if !errors.Is(err, streamhub.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
		if errors.Is(err, streamhub.ErrUnavailable) {
			t.Errorf("%v says that nothing happened, too", err)
		}
		if !strings.Contains(err.Error(), string(streamhub.ReasonDown)) {
			t.Errorf("%v does not tell what came last", err)
		}
		// Of a call that reads, nothing is unknown.
		_, err = m.Peek(t.Context(), store, key)
		if !errors.Is(err, streamhub.ErrUnavailable) || errors.Is(err, streamhub.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	})
}

// A context that has ended is not a reason to send anything.
func TestEndedContextSendsNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := w.link.calls.Load()
		for _, m := range []*lease.Manager{lease.New(w.conn, nil), lease.New(w.conn, &lease.Options{Wait: time.Minute})} {
			if _, err := m.Acquire(ctx, store, key, time.Minute); !errors.Is(err, context.Canceled) || errors.Is(err, streamhub.ErrUnknownOutcome) {
				t.Errorf("got %v", err)
			}
		}
		if n := w.link.calls.Load() - before; n != 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
}

// A copy of the request that acquired the lease arrives when it is over: that is another lease.
func TestDelayedCopyIsAnotherLease(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		m := lease.New(w.conn, nil)
		l, err := m.Acquire(t.Context(), store, key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.conn.Del(t.Context(), "sh:{"+store.String()+"."+redisx.Escape(key)+"}:l").Err(); err != nil {
			t.Fatal(err)
		}
		if acquire(t, m, l.Holder()) == l.Token() {
			t.Fatal("two leases with one token")
		}
		if err := l.Renew(t.Context()); !errors.Is(err, streamhub.ErrLeaseLost) {
			t.Errorf("the renewal of the former lease: %v", err)
		}
	})
}

package lease_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

const key = "jobs/nightly"

var store = uuid.MustParse("7d444840-9dc0-11d1-b245-5ffdce74fad2")

// at waits until d after begin.
func at(begin time.Time, d time.Duration) {
	timer := time.NewTimer(time.Until(begin.Add(d)))
	defer timer.Stop()
	<-timer.C
}

// ends waits for the end of the context of fn.
func ends(t *testing.T, ctx context.Context) {
	t.Helper()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		t.Error("the context of fn did not end")
	}
}

// The holder stops two thirds of the ttl after it sent the last renewal that was confirmed, also
// if the driver is stuck in the next one.
func TestSilenceEndsTheTrust(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		t.Run(fmt.Sprintf("ContextTimeoutEnabled=%v", heeds), func(t *testing.T) {
			virtualWith(t, heeds, func(t *testing.T, w *world) {
				begin := time.Now()
				err := lease.New(w.conn, nil).WithLease(t.Context(), store, key, 15*time.Second,
					func(ctx context.Context, l *lease.Lease) error {
						at(begin, 11*time.Second) // the renewal at 10 s got through
						w.link.silent.Store(true)
						ends(t, ctx)
						if took := time.Since(begin); took != 20*time.Second {
							t.Errorf("the context of fn ended after %v, want 10 s + 2/3 of 15 s", took)
						}
						if time.Until(l.TrustedUntil()) > 0 {
							t.Errorf("the lease is trusted until %v", l.TrustedUntil())
						}
						return context.Cause(ctx)
					})
				if !errors.Is(err, streamhub.ErrLeaseLost) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took > 25*time.Second {
					t.Errorf("WithLease returned after %v", took)
				}
			})
		})
	}
}

// A renewal that fails is tried again within the trust window.
func TestShortSilenceIsSurvived(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		begin := time.Now()
		m := lease.New(w.conn, nil)
		err := m.WithLease(t.Context(), store, key, 15*time.Second, func(ctx context.Context, l *lease.Lease) error {
			at(begin, 6*time.Second)
			w.link.silent.Store(true)
			at(begin, 13*time.Second)
			w.link.silent.Store(false)
			at(begin, 60*time.Second)
			if held, err := m.Peek(ctx, store, key); err != nil || held.Token != l.Token() {
				t.Errorf("held: %+v, %v", held, err)
			}
			return context.Cause(ctx)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Renewals go out at each third of the ttl and no more often, and every fifth one is written down.
func TestRenewalsAreFew(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		begin := time.Now()
		err := lease.New(w.conn, nil).WithLease(t.Context(), store, key, 15*time.Second,
			func(ctx context.Context, _ *lease.Lease) error {
				before := w.link.calls.Load()
				at(begin, 10*time.Minute+time.Second)
				if n := w.link.calls.Load() - before; n < 140 || n > 150 {
					t.Errorf("%d requests in ten minutes, want 120 renewals and 24 notes", n)
				}
				return context.Cause(ctx)
			})
		if err != nil {
			t.Error(err)
		}
	})
}

// A lease that was given up stays given up, even when Redis answers again.
func TestLossIsFinal(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		begin := time.Now()
		m := lease.New(w.conn, nil)
		err := m.WithLease(t.Context(), store, key, 15*time.Second, func(ctx context.Context, _ *lease.Lease) error {
			w.link.silent.Store(true)
			ends(t, ctx)
			w.link.silent.Store(false)
			at(begin, 14*time.Second) // it would still be held
			return nil
		})
		if !errors.Is(err, streamhub.ErrLeaseLost) {
			t.Errorf("got %v", err)
		}
		// It was given back for others all the same.
		if _, err := m.Peek(t.Context(), store, key); !errors.Is(err, streamhub.ErrNotFound) {
			t.Errorf("peek: %v", err)
		}
	})
}

// WithLease does not leave a renewal behind.
func TestRenewalOnItsWayIsAwaited(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		begin := time.Now()
		err := lease.New(w.conn, nil).WithLease(t.Context(), store, key, 15*time.Second,
			func(context.Context, *lease.Lease) error {
				at(begin, 4*time.Second)
				w.link.delay.Store(int64(2 * time.Second))
				at(begin, 6*time.Second) // the renewal of 5 s is answered at 7 s
				w.link.delay.Store(0)
				return nil
			})
		if took := time.Since(begin); err != nil || took != 7*time.Second {
			t.Errorf("WithLease returned %v after %v", err, took)
		}
	})
}

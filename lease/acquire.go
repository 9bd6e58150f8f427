package lease

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// longestPause is the longest pause between two attempts of a caller that waits.
const longestPause = time.Second / 2

// Acquire acquires the lease on key under a new random holder. If another holder has it, Acquire waits for up to
// [Options.Wait] and then returns a [streamhub.LeaseHeldError].
//
// If no attempt was answered, it releases the lease that it may have acquired; that takes up to a second, even after
// ctx has ended. If that fails too, the lease can stay taken until its ttl ends.
func (m *Manager) Acquire(ctx context.Context, store uuid.UUID, key string, ttl time.Duration) (*Lease, error) {
	l := &Lease{m: m, name: name{store, key}, holder: m.holder(), ttl: ttl}
	err := l.acquire(ctx)
	if errors.Is(err, streamhub.ErrUnknownOutcome) {
		_, _ = l.Release(ctx) // the caller learns that the outcome is unknown either way
	}
	if err != nil {
		return nil, l.name.fail("acquire lease", err)
	}
	return l, nil
}

func (l *Lease) acquire(ctx context.Context) error {
	end := time.Now().Add(l.m.opts.Wait)
	var failed error
	for d := firstPause; ; d = min(2*d, longestPause) {
		r, err := l.m.acquire(ctx, l.name, l.holder, l.ttl)
		if err == nil {
			l.token = r.token
			l.confirm(r.sent)
			return nil
		}
		next := pause.Jitter(d)
		var held *streamhub.LeaseHeldError
		if errors.As(err, &held) {
			failed = err
			next = min(next, max(held.Left, firstPause))
		} else {
			failed = worse(failed, err)
			if !pause.Worthwhile(err) {
				return failed
			}
		}
		next = min(next, time.Until(end))
		if next <= 0 {
			return failed
		}
		if !pause.For(ctx, next) {
			return worse(failed, ctx.Err())
		}
	}
}

// AcquireAs acquires the lease for a holder that the caller names, with 1 to [streamhub.MaxNameLength] bytes, and
// returns the token. It does not wait. If the holder has the lease already, the ttl restarts and the token is the
// same, so a repeat is safe. If another holder has it, the error is a [streamhub.LeaseHeldError].
func (m *Manager) AcquireAs(ctx context.Context, store uuid.UUID, key, holder string, ttl time.Duration) (uint64, error) {
	n := name{store, key}
	r, err := m.acquire(ctx, n, holder, ttl)
	return r.token, n.fail("acquire lease", err)
}

func (m *Manager) acquire(ctx context.Context, n name, holder string, ttl time.Duration) (reply, error) {
	if err := cmp.Or(check(n, holder), checkTTL(ttl)); err != nil {
		return reply{}, err
	}
	r, err := m.send(ctx, acquireScript, n, holder, ttl.Milliseconds())
	if err == nil && r.status == "held" {
		return reply{}, &streamhub.LeaseHeldError{Holder: r.holder, Token: r.token, Left: r.left}
	}
	if err == nil {
		m.note(ctx, n, ttl)
	}
	return r, err
}

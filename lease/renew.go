package lease

import (
	"cmp"
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// Renew restarts the ttl of the lease. [streamhub.ErrLeaseLost] means that this holder no longer
// has it: it expired, was released or was ended. After any other error it may still be held.
func (l *Lease) Renew(ctx context.Context) error {
	return l.name.fail("renew lease", l.renew(ctx))
}

func (l *Lease) renew(ctx context.Context) error {
	if l.isReleased() {
		return streamhub.ErrLeaseLost
	}
	r, err := l.m.renew(ctx, l.name, l.holder, l.ttl)
	if err != nil {
		return err
	}
	// The token differs if the lease had ended and a delayed copy of the acquire request acquired it again.
	if r.token != l.token {
		return streamhub.ErrLeaseLost
	}
	l.confirm(r.sent)
	return nil
}

// RenewAs restarts the lease of a holder of [Manager.AcquireAs] with this ttl, which may differ
// from the one before. It returns the token, or [streamhub.ErrLeaseLost] if the holder does not
// have the lease.
func (m *Manager) RenewAs(ctx context.Context, store uuid.UUID, key, holder string, ttl time.Duration) (uint64, error) {
	n := name{store, key}
	r, err := m.renew(ctx, n, holder, ttl)
	return r.token, n.fail("renew lease", err)
}

func (m *Manager) renew(ctx context.Context, n name, holder string, ttl time.Duration) (reply, error) {
	if err := cmp.Or(check(n, holder), checkTTL(ttl)); err != nil {
		return reply{}, err
	}
	r, err := m.send(ctx, renewScript, n, holder, ttl.Milliseconds())
	if err == nil && r.status == "lost" {
		err = streamhub.ErrLeaseLost
	}
	if err == nil {
		m.note(ctx, n, ttl)
	}
	return r, err
}

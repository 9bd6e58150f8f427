package lease

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// Release gives the lease back; see [Manager.ReleaseAs]. From the moment of the call the lease is no longer trusted.
// Callers defer it: if ctx has ended, or ends meanwhile, Release takes up to a second more.
func (l *Lease) Release(ctx context.Context) (bool, error) {
	ctx, done := pause.Goodbye(ctx)
	defer done()
	l.mu.Lock()
	l.released = true
	l.mu.Unlock()
	return l.m.ReleaseAs(ctx, l.name.store, l.name.key, l.holder)
}

// ReleaseAs releases the lease of a holder of [Manager.AcquireAs] and reports whether the holder
// had it. If not, because the ttl ended or another holder has the lease, nothing changes. If a
// reply was lost, the error can be [streamhub.ErrUnknownOutcome]; call again to be sure that the
// lease is released.
func (m *Manager) ReleaseAs(ctx context.Context, store uuid.UUID, key, holder string) (bool, error) {
	n := name{store, key}
	if err := check(n, holder); err != nil {
		return false, n.fail("release lease", err)
	}
	r, err := m.send(ctx, releaseScript, n, holder)
	if err == nil && r.status == "none" && r.again {
		err = &streamhub.UnknownOutcomeError{Err: errors.New("the holder does not have the lease now; it may have had it before")}
	}
	return r.status == "released", n.fail("release lease", err)
}

package archiver

import (
	"context"
	"errors"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// takes bounds how often Erase takes the lease of a space from another instance. That instance may
// acquire it again before this one does.
const takes = 20

// Erase removes all that is archived of a space whose segments were deleted, and what the space has left in Redis. It
// takes the space from the instance that archives it, which is fenced off. A failed call may be repeated. A space that
// has nothing left is no error. If the space has segments, the error is [streamhub.ErrConflict].
func (r *Runner) Erase(ctx context.Context, s *hotlog.Store, name string) error {
	id := archive.SpaceID{Store: s.ID(), Space: name}
	sp, err := r.take(ctx, s, id)
	if err != nil {
		return err
	}
	defer r.drop(ctx, sp)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.writer = nil
	state, err := s.ClaimArchive(ctx, name, sp.owner(), true)
	if err != nil {
		return err
	}
	// Redis comes first: the script checks that there are no segments, and removes the record of the archive. So no
	// reader asks for objects that are being removed.
	owner := sp.owner()
	if err := s.DropSpace(ctx, name, &owner); err != nil {
		return err
	}
	r.tier.meters.forget(id)
	return r.tier.archive.Erase(ctx, id, sp.archiveOwner(&state), sp.trust)
}

// take acquires a space, if need be from another instance.
func (r *Runner) take(ctx context.Context, s *hotlog.Store, id archive.SpaceID) (sp *space, err error) {
	r.mu.Lock()
	own := r.spaces[id]
	r.mu.Unlock()
	if own != nil { // waits for a turn in progress
		own.mu.Lock()
		r.drop(ctx, own)
		own.mu.Unlock()
	}
	for range takes {
		if sp, err = r.hold(ctx, s, id); !errors.Is(err, streamhub.ErrLeaseNotAcquired) {
			return sp, err
		}
		if _, err := r.leases.End(ctx, id.Store, leaseKey(id.Space)); err != nil {
			return nil, err
		}
	}
	return nil, err
}

package hub

import (
	"context"
	"fmt"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/archiver"
	"github.com/seed-147127fe/streamhub/internal/fault"
)

func (h *Hub) openTier(ctx context.Context) (*archiver.Tier, error) {
	o := h.opt.Archiving
	if o.Logger == nil {
		o.Logger = h.opt.Logger
	}
	if o.MeterProvider == nil {
		o.MeterProvider = h.opt.MeterProvider
	}
	return archiver.New(ctx, h.opt.Archive, &o)
}

var errNoArchive = fmt.Errorf("%w: the hub was opened without an archive: set Options.Archive", streamhub.ErrInvalidArgument)

// ArchiveNow applies the policies of [Options.Archiving] now, in every space that no other instance is archiving, and
// returns when that is done.
func (h *Hub) ArchiveNow(ctx context.Context) error {
	if err := h.checkOpen(streamhub.Error{Op: "archive"}); err != nil {
		return err
	}
	if h.tier == nil {
		return fault.At(streamhub.Error{Op: "archive"}, errNoArchive)
	}
	return h.archiver.Turn(ctx)
}

// RestoreSpace restores a space that Redis has lost from the archive. Its segments continue after their last archived
// entry, and archived entries can be read again. The error is [streamhub.ErrConflict] if the space is not empty, unless
// an earlier restore has filled it. No program may append to the space meanwhile. A failed restore may be repeated.
func (h *Hub) RestoreSpace(ctx context.Context, space archive.SpaceID) (tier.Restored, error) {
	if err := h.checkOpen(streamhub.Error{Op: "restore"}); err != nil {
		return tier.Restored{}, err
	}
	if h.tier == nil {
		return tier.Restored{}, fault.At(streamhub.Error{Op: "restore"}, errNoArchive)
	}
	return h.tier.Restore(ctx, h.log, space, func(ctx context.Context, segments []string) error {
		return h.live.Restored(ctx, space.Store, space.Space, segments)
	})
}

// A Purged says how much [Store.Purge] removed.
type Purged struct {
	// Spaces counts the removed spaces of Redis and of the archive, each once.
	Spaces int
	// Leases counts the removed leases, which were held.
	Leases int
}

const purgePage = 256

// Purge removes the rest of a store whose segments were deleted: its spaces, their archived entries, and its leases.
// The error is [streamhub.ErrConflict] if a space still has segments. A hub without an archive refuses a space that has
// archived entries. Tombstones of deleted segments stay for one day, and the counters of lease tokens for seven days. A
// failed call may be repeated. No program may create segments in the store meanwhile.
func (s *Store) Purge(ctx context.Context) (p Purged, err error) {
	ctx, call, err := s.begin(ctx, "purge", "", "")
	defer func() { call.end(err) }()
	if err != nil {
		return p, err
	}
	for after := ""; ; {
		names, err := s.log.Spaces(ctx, after, purgePage)
		if err != nil {
			return p, err
		}
		if len(names) == 0 {
			break
		}
		after = names[len(names)-1]
		for _, name := range names {
			if err := s.dropSpace(ctx, name); err != nil {
				return p, err
			}
			p.Spaces++
		}
	}
	if s.hub.tier != nil { // spaces that are in the archive only
		for after := ""; ; {
			ids, err := s.hub.tier.Archive().SpacesOf(ctx, s.ID(), after, purgePage)
			if err != nil {
				return p, fault.At(streamhub.Error{Op: "purge", Store: s.ID()}, err)
			}
			if len(ids) == 0 {
				break
			}
			after = ids[len(ids)-1].Space
			for _, id := range ids {
				if err := s.dropSpace(ctx, id.Space); err != nil {
					return p, err
				}
				p.Spaces++
			}
		}
	}
	if p.Leases, err = s.hub.leases.Purge(ctx, s.ID()); err != nil {
		return p, err
	}
	return p, s.log.Unlist(ctx)
}

func (s *Store) dropSpace(ctx context.Context, name string) (err error) {
	if s.hub.archiver != nil {
		err = s.hub.archiver.Erase(ctx, s.log, name)
	} else {
		err = s.log.DropSpace(ctx, name, nil)
	}
	if err == nil {
		err = s.hub.live.Forget(ctx, s.ID(), name)
	}
	return fault.At(streamhub.Error{Op: "purge", Store: s.ID(), Space: name}, err)
}

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

func (h *Hub) openTier() (*archiver.Tier, error) {
	o := h.opt.Archiving
	if o.Logger == nil {
		o.Logger = h.opt.Logger
	}
	if o.MeterProvider == nil {
		o.MeterProvider = h.opt.MeterProvider
	}
	return archiver.New(h.opt.Archive, &o)
}

var errNoArchive = fmt.Errorf("%w: the hub was opened without an archive: set Options.Archive", streamhub.ErrInvalidArgument)

// ArchiveNow does at once what the policies of [Options.Archiving] name, in every space that no
// other instance archives.
func (h *Hub) ArchiveNow(ctx context.Context) error {
	if h.tier == nil {
		return fault.At(streamhub.Error{Op: "archive"}, errNoArchive)
	}
	return h.archiver.Turn(ctx)
}

// RestoreSpace brings a space that Redis has lost back from the archive; its segments go on after the last archived
// entry, and what is archived is read again. A space that is not empty is [streamhub.ErrConflict].
// No program may append to the space meanwhile; a restore that failed may be repeated.
func (h *Hub) RestoreSpace(ctx context.Context, space archive.SpaceID) (tier.Restored, error) {
	if h.tier == nil {
		return tier.Restored{}, fault.At(streamhub.Error{Op: "restore"}, errNoArchive)
	}
	return h.tier.Restore(ctx, h.log, space, func(ctx context.Context, segments []string) error {
		return h.live.Restored(ctx, space.Store, space.Space, segments)
	})
}

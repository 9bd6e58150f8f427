package hub

import (
	"context"
	"errors"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
)

func (h *Hub) openTier() (*tier.Tier, error) {
	o := h.opt.Archiving
	if o.Logger == nil {
		o.Logger = h.opt.Logger
	}
	if o.MeterProvider == nil {
		o.MeterProvider = h.opt.MeterProvider
	}
	return tier.New(h.opt.Archive, &o)
}

var errNoArchive = errors.New("the hub was opened without an archive")

// ArchiveNow does at once what the policies of [Options.Archiving] name, in every space that no
// other instance archives.
func (h *Hub) ArchiveNow(ctx context.Context) error {
	if h.tier == nil {
		return &streamhub.Error{Op: "archive", Err: errors.Join(streamhub.ErrInvalidArgument, errNoArchive)}
	}
	return h.archiver.Turn(ctx)
}

// RestoreSpace brings a space that Redis has lost back from the archive; see [tier.Tier.Restore].
func (h *Hub) RestoreSpace(ctx context.Context, space archive.SpaceID) (tier.Restored, error) {
	if h.tier == nil {
		return tier.Restored{}, &streamhub.Error{Op: "restore", Err: errors.Join(streamhub.ErrInvalidArgument, errNoArchive)}
	}
	return h.tier.Restore(ctx, h.log, space)
}

package archiver

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/option"
)

// A Tier joins an archive to a log in Redis. Every process with the archive reads through its Tier; a [Runner] moves
// history into the archive. It is safe for concurrent use.
type Tier struct {
	archive *archive.Archive
	opt     tier.Options
	meters  *meters
}

var _ hotlog.Cold = (*Tier)(nil)

// New returns the tier on backend, which stays the caller's. It uses the values of ctx and ignores its end.
func New(ctx context.Context, backend archive.Backend, options *tier.Options) (*Tier, error) {
	t := &Tier{}
	if options != nil {
		t.opt = *options
	}
	if t.opt.Every == 0 {
		t.opt.Every = 10 * time.Second
	}
	if t.opt.Recent <= 0 {
		t.opt.Recent = time.Minute
	}
	if t.opt.WindowBytes <= 0 {
		t.opt.WindowBytes = 8 << 20
	}
	if t.opt.ChunkBytes <= 0 {
		t.opt.ChunkBytes = 1 << 20
	}
	option.Logger(&t.opt.Logger)
	t.archive = archive.New(backend, &archive.Options{CacheBytes: t.opt.CacheBytes})
	var err error
	t.meters, err = newMeters(ctx, t.opt.MeterProvider)
	return t, err
}

// Archive returns the archive that the tier reads and writes.
func (t *Tier) Archive() *archive.Archive { return t.archive }

// policy returns the policy of a space, as tier.Options.PolicyFor says.
func (t *Tier) policy(id archive.SpaceID) *policy {
	if t.opt.PolicyFor != nil {
		if p := t.opt.PolicyFor(id.Store, id.Space); p != nil {
			return (*policy)(p)
		}
	}
	return (*policy)(&t.opt.Policy)
}

// Frames implements [hotlog.Cold]. It returns all frames of the chunk that holds sequence; the
// caller skips those before it.
func (t *Tier) Frames(ctx context.Context, of hotlog.ColdSegment, sequence uint64) ([]archive.Frame, error) {
	c, err := t.archive.Chunk(ctx, archive.SpaceID{Store: of.Store, Space: of.Space}, of.Segment, of.Incarnation, sequence)
	if err != nil {
		return nil, err
	}
	return c.Frames, nil
}

// Locate implements [hotlog.Cold]. It reads the index of the archive only, never a chunk.
func (t *Tier) Locate(ctx context.Context, of hotlog.ColdSegment, sequence uint64) (archive.Range, error) {
	return t.archive.Locate(ctx, archive.SpaceID{Store: of.Store, Space: of.Space}, of.Segment, of.Incarnation, sequence)
}

// Changes implements [hotlog.Cold].
func (t *Tier) Changes(ctx context.Context, id uuid.UUID, space string, from streamhub.TimelineID) (*archive.Window, error) {
	return t.archive.Window(ctx, archive.SpaceID{Store: id, Space: space}, from)
}

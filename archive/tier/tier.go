package tier

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/store"
)

// Options configure a [Tier]; nil stands for the defaults.
type Options struct {
	// Policy is that of every space that PolicyFor has none for. The zero Policy moves nothing.
	Policy Policy
	// PolicyFor, if not nil, returns the policy of a space, or nil for Policy.
	PolicyFor func(store uuid.UUID, space string) *Policy
	// Every is how often the archiver looks what is due; the default is 10 s. Negative: only when it
	// is asked to, with hub.Hub.ArchiveNow.
	Every time.Duration
	// Recent is how long the archived part of a timeline stays in Redis for followers that look for
	// their place in it; the default is a minute. Without room it goes at once.
	Recent time.Duration
	// WindowBytes is about how much is archived in one step; the default is 8 MiB. ChunkBytes is
	// about the size of one chunk before it is compressed; the default is 1 MiB.
	WindowBytes, ChunkBytes int
	// CacheBytes bounds what is kept unfolded for readers; the default is 64 MiB.
	CacheBytes int
	// Logger gets what no caller is told; the default discards it.
	Logger *slog.Logger
	// MeterProvider defaults to the global one of OpenTelemetry.
	MeterProvider metric.MeterProvider
}

// A Tier is an archive for a log in Redis.
type Tier struct {
	archive *archive.Archive
	opt     Options
	meters  *meters
}

var _ store.Cold = (*Tier)(nil)

// New returns the tier on backend, which stays the caller's.
func New(backend archive.Backend, options *Options) (*Tier, error) {
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
	if t.opt.Logger == nil {
		t.opt.Logger = slog.New(slog.DiscardHandler)
	}
	t.archive = archive.New(backend, &archive.Options{CacheBytes: t.opt.CacheBytes})
	var err error
	t.meters, err = newMeters(t.opt.MeterProvider)
	return t, err
}

// Archive is what the tier reads and writes.
func (t *Tier) Archive() *archive.Archive { return t.archive }

func (t *Tier) policy(id archive.SpaceID) *Policy {
	if t.opt.PolicyFor != nil {
		if p := t.opt.PolicyFor(id.Store, id.Space); p != nil {
			return p
		}
	}
	return &t.opt.Policy
}

// Frames is that of [store.Cold].
func (t *Tier) Frames(ctx context.Context, of store.ColdSegment, sequence uint64) ([]store.ColdFrame, error) {
	c, err := t.archive.Chunk(ctx, archive.SpaceID{Store: of.Store, Space: of.Space}, of.Segment, of.Incarnation, sequence)
	if err != nil {
		return nil, err
	}
	frames := make([]store.ColdFrame, len(c.Frames))
	for i := range c.Frames {
		frames[i] = store.ColdFrame(c.Frames[i])
	}
	return frames, nil
}

// Locate is that of [store.Cold].
func (t *Tier) Locate(ctx context.Context, of store.ColdSegment, sequence uint64) (store.ColdRange, error) {
	r, err := t.archive.Locate(ctx, archive.SpaceID{Store: of.Store, Space: of.Space}, of.Segment, of.Incarnation, sequence)
	return store.ColdRange(r), err
}

// Changes is that of [store.Cold].
func (t *Tier) Changes(ctx context.Context, id uuid.UUID, space string, from streamhub.TimelineID) (store.ColdPart, error) {
	w, err := t.archive.Window(ctx, archive.SpaceID{Store: id, Space: space}, archive.ID{MS: from.MS, N: from.N})
	if err != nil {
		return store.ColdPart{}, err
	}
	part := store.ColdPart{After: place(w.After), To: place(w.To), Changes: make([]store.ColdChange, len(w.Changes))}
	for i := range w.Changes {
		part.Changes[i] = cold(&w.Changes[i])
	}
	return part, nil
}

func cold(c *archive.Change) store.ColdChange {
	return store.ColdChange{
		At:      streamhub.TimelineID{MS: c.ID.MS, N: c.ID.N, Index: c.Index},
		Segment: c.Segment, Kind: c.Kind, Last: c.Last, Records: c.Records,
	}
}

func place(id archive.ID) streamhub.TimelineID { return streamhub.TimelineID{MS: id.MS, N: id.N} }

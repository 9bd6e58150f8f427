package model

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/memredis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// cold is the archive of a way.
type cold struct {
	backend archive.Backend
	policy  atomic.Pointer[tier.Policy] // of the turn that is taken
	opened  int
}

// Sizes of what is archived: so small that a program of a few dozen entries fills several windows and chunks.
const (
	windowBytes = 600
	chunkBytes  = 150
)

// options lets a hub use the archive. The first hub trims the timeline at once, later ones after a while, so that both
// cases occur.
func (c *cold) options(o *hub.Options) {
	if c.backend == nil {
		c.backend = archive.NewMemory()
	}
	o.Archive = c.backend
	o.Archiving = tier.Options{
		Every: -1, WindowBytes: windowBytes, ChunkBytes: chunkBytes, Recent: 1,
		PolicyFor: func(uuid.UUID, string) *tier.Policy { return c.policy.Load() },
	}
	if c.opened++; c.opened > 1 {
		o.Archiving.Recent = time.Minute
	}
}

func (w *memory) Archive(ctx context.Context, by int, policy tier.Policy) error {
	if !w.kind.archived() {
		return nil
	}
	w.cold.policy.Store(&policy)
	defer w.cold.policy.Store(nil)
	return w.hubs[by].ArchiveNow(ctx)
}

func (w *memory) EndLeases(ctx context.Context) error {
	for _, space := range []string{"s", "t"} {
		key := "sh:{" + w.id.String() + "." + redisx.Escape("streamhub/archive/"+space) + "}:l"
		if err := w.command.Del(ctx, key).Err(); err != nil {
			return err
		}
	}
	return nil
}

// maxSpaces is more than programs have.
const maxSpaces = 100

func (w *memory) Ends(ctx context.Context) (map[string]streamhub.TimelineID, error) {
	if !w.kind.archived() {
		return nil, nil
	}
	a := archive.New(w.cold.backend, nil)
	spaces, err := a.SpacesOf(ctx, w.id, "", maxSpaces)
	ends := map[string]streamhub.TimelineID{}
	for _, id := range spaces {
		m, err := a.Manifest(ctx, id)
		if err != nil {
			return nil, err
		}
		if m.Commit.Window > 0 {
			ends[id.Space] = m.Commit.Position
		}
	}
	return ends, err
}

func (w *memory) Last(ctx context.Context, space string) (streamhub.TimelineID, error) {
	end, err := w.stores[0].SpaceEnd(ctx, space)
	if err != nil || end == "" {
		return streamhub.TimelineID{}, err
	}
	p, err := end.Position()
	return p.Timeline, err
}

// again makes a call that may be repeated until its outcome is known.
func again(ctx context.Context, call func() error) error {
	for {
		if err := call(); !streamhub.Retryable(err) || ctx.Err() != nil {
			return err
		}
	}
}

// Restore fills another Redis, which then takes the place of the one that there is.
func (w *memory) Restore(ctx context.Context) (err error) {
	other, err := memredis.Start(w.redis.Now())
	if err != nil {
		return err
	}
	defer other.Close()
	conn := other.Client(w.link)
	defer conn.Close()
	var h *hub.Hub
	if err := again(ctx, func() (err error) {
		h, err = hub.Open(ctx, conn, w.options())
		return err
	}); err != nil {
		return err
	}
	ends, err := w.Ends(ctx)
	for space := range ends {
		if failed := again(ctx, func() error {
			_, err := h.RestoreSpace(ctx, archive.SpaceID{Store: w.id, Space: space})
			return err
		}); failed != nil {
			err = fmt.Errorf("restore: %w", failed)
		}
	}
	if closed := h.Close(); err == nil {
		err = closed
	}
	if err == nil {
		w.redis.Rewind(other.Save())
	}
	return err
}

package hotlog

import (
	"context"
	"math"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/seed-147127fe/streamhub"
)

// A SpaceStart belongs to a reader along a space that began without a cursor, and is passed along with all of its
// pages. It separates trims from before the reader began, which are not reported, from later ones, which are.
type SpaceStart struct {
	mu  sync.Mutex
	end streamhub.TimelineID // of the timeline when the reader began
	// lineage is the one that wrote end. Redis may come back without that place.
	lineage uint64
	seen    streamhub.TimelineID // how far the timeline after end was looked at
	trimmed map[string]struct{}  // segments that it names as trimmed, escaped
	// unsure says that what came after end is not all in the timeline any more.
	unsure bool
}

// begin records the current end of the timeline.
func (b *SpaceStart) begin(last []redis.XMessage, state *spaceState) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end, b.lineage, b.trimmed, b.unsure = streamhub.TimelineID{}, 0, nil, false
	if len(last) > 0 {
		if b.end, err = parseTimelineID(last[0].ID); err != nil {
			return err
		}
		b.lineage = state.lineageAt(b.end)
	}
	b.seen = b.end
	return nil
}

// trimmedSince reports whether entries of c, which are trimmed, may have been there when the reader began. A
// change without a segment is of any. All trims of a segment after the end name the segment there, and what they
// removed lies after everything that was trimmed before. So a reader that has c before it has missed some of that.
func (b *SpaceStart) trimmedSince(ctx context.Context, r *spaceReader, c *change) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end.Before(c.id) || b.unsure {
		return true, nil
	}
	for more := true; more; {
		var page []change
		var err error
		from := streamhub.TimelineID{MS: b.seen.MS, N: b.seen.N + 1}
		page, _, more, err = r.store.log.changes(ctx, r.spaceKeys, from, streamhub.TimelineID{MS: math.MaxUint64, N: math.MaxUint64}, maxChanges)
		if err != nil {
			return false, err
		}
		for i := range page {
			if b.seen = page[i].id; page[i].kind != changeTrim {
				continue
			}
			if b.trimmed == nil {
				b.trimmed = map[string]struct{}{}
			}
			b.trimmed[page[i].segment] = struct{}{}
		}
	}
	// Asked for after the timeline: nothing was removed from it in between.
	state, err := r.store.log.spaceState(ctx, r.spaceKeys)
	if err != nil {
		return false, err
	}
	b.unsure = b.end.Before(state.swept) || state.archived && b.end.Before(state.first) || state.lost(b.lineage, b.end)
	_, named := b.trimmed[c.segment]
	return b.unsure || named || c.segment == "" && len(b.trimmed) > 0, nil
}

package archiver

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// wholeEvery is how often every segment is read, whatever the timeline says. It bounds how long the table can be wrong.
const wholeEvery = 10 * time.Minute

// A table has, for each segment with entries in Redis, the time when some of them are to leave, and their size. The
// timeline names every segment for which that changes, so a turn reads only those and the due ones. A table takes about
// 100 bytes a segment; the segment takes a multiple of that in Redis.
type table struct {
	mu     sync.Mutex // guards the fields below; held while segments are read
	policy policy     // the policy with which the due times were computed
	// seen is the place in the timeline up to which the table is right; zero before every segment was read.
	seen     hotlog.Mark
	whole    time.Time // when every segment was last read
	segments map[string]hot
	bytes    int64
}

// A hot is a segment with entries in Redis.
type hot struct {
	due     int64 // when entries leave by age or because the segment is idle; Unix milliseconds
	bytes   int64
	presses bool // entries leave as soon as the space is pressed
}

// refresh brings the table up to the end of the timeline and returns the size of the segments, which is 0 unless the
// policy needs sizes. It also reads the segments in also: this instance has archived or moved their entries, which the
// timeline does not show.
func (t *table) refresh(ctx context.Context, s *space, policy *policy, also []string) (bytes int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen.IsZero() || t.policy != *policy || time.Since(t.whole) > wholeEvery {
		err = t.build(ctx, s, policy)
	} else if err = t.update(ctx, s, also); errors.Is(err, streamhub.ErrHistoryLost) {
		err = t.build(ctx, s, policy)
	}
	return t.bytes, err
}

// update reads the segments that the timeline names since the last update, and those in also. The error is a
// [streamhub.HistoryLostError] if the timeline cannot tell. The lock is held.
func (t *table) update(ctx context.Context, s *space, also []string) error {
	names, last, err := s.store.ChangedSince(ctx, s.id.Space, t.seen)
	if err != nil {
		return err
	}
	names = append(names, also...)
	slices.Sort(names)
	for page := range slices.Chunk(slices.Compact(names), namesPage) {
		found, err := s.store.Hot(ctx, s.id.Space, page, t.policy.HotBytes > 0)
		if err != nil {
			return err
		}
		for _, name := range page {
			t.remove(name)
		}
		t.put(found)
	}
	t.seen = last
	return nil
}

// build reads every segment. The lock is held.
func (t *table) build(ctx context.Context, s *space, policy *policy) error {
	t.seen, t.policy, t.segments, t.bytes = hotlog.Mark{}, *policy, map[string]hot{}, 0
	_, seen, err := s.store.ChangedSince(ctx, s.id.Space, hotlog.Mark{})
	if err != nil {
		return err
	}
	for after := ""; ; {
		found, next, err := s.store.HotSegments(ctx, s.id.Space, after, namesPage, policy.HotBytes > 0)
		if err != nil {
			return err
		}
		if next == "" {
			t.seen, t.whole = seen, time.Now()
			return nil
		}
		t.put(found)
		after = next
	}
}

// put stores segments that were read. The lock is held.
func (t *table) put(found []hotlog.HotSegment) {
	for i := range found {
		h := &found[i]
		t.remove(h.Segment)
		due, presses := t.policy.due(h)
		t.segments[h.Segment] = hot{due, h.Bytes, presses}
		t.bytes += h.Bytes
	}
}

// remove forgets a segment and its bytes, if it is there. It runs under mu.
func (t *table) remove(name string) {
	t.bytes -= t.segments[name].bytes
	delete(t.segments, name)
}

// due returns the segments from which entries have to leave Redis now.
func (t *table) due(now int64, pressed bool) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, h := range t.segments {
		if h.due <= now || pressed && h.presses {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// stuck records that no whole frame of a segment could leave: the segment is not due until it changes
// or becomes idle.
func (t *table) stuck(h *hotlog.HotSegment, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.segments[h.Segment]
	if !ok {
		return
	}
	known.due, known.presses = math.MaxInt64, false
	if idle := t.policy.idleAt(h); idle > now {
		known.due = idle
	}
	t.segments[h.Segment] = known
}

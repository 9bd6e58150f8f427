package archiver

import (
	"context"
	"fmt"
	"maps"

	"github.com/seed-147127fe/streamhub/archive"
)

// Compare compares what this instance knows of a space, after a turn at the time now, with a visit of every segment, and
// requires that the turn has left nothing that was due.
func (r *Runner) Compare(ctx context.Context, id archive.SpaceID, now int64) error {
	r.mu.Lock()
	s := r.spaces[id]
	r.mu.Unlock()
	policy := r.tier.policy(id)
	if _, err := s.table.refresh(ctx, s, policy, nil); err != nil {
		return err
	}
	var fresh table
	if _, err := fresh.refresh(ctx, s, policy, nil); err != nil {
		return err
	}
	if fresh.bytes != s.table.bytes || fresh.seen != s.table.seen {
		return fmt.Errorf("%d bytes up to %v, not %d up to %v", s.table.bytes, s.table.seen, fresh.bytes, fresh.seen)
	}
	known := maps.Clone(s.table.segments)
	for name, want := range fresh.segments {
		have := known[name]
		delete(known, name)
		if have.bytes != want.bytes || have.due < want.due {
			return fmt.Errorf("%s: %+v, not %+v", name, have, want)
		}
		found, err := s.store.Hot(ctx, s.id.Space, []string{name}, false)
		if err != nil {
			return err
		}
		h := &found[0]
		upTo, until := policy.cut(h, now, s.pressed)
		if upTo < h.First {
			continue
		}
		if first, err := s.store.MoveCold(ctx, s.id.Space, s.owner(), *h, upTo, until); err != nil || first != h.First {
			return fmt.Errorf("%s: the turn left entries before %d, %w", name, first, err)
		}
	}
	if len(known) > 0 {
		return fmt.Errorf("%v have no entries in Redis", known)
	}
	return nil
}

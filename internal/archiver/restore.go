package archiver

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// Restore brings a space back into a Redis that has lost it: its segments continue after their last archived entry, and
// archived entries can be read again. Producers are remembered as far as their appends were archived. The error is
// [streamhub.ErrConflict] if Redis has the space, unless an earlier restore has just written it. Any other error names
// each segment that could not be restored; the others are restored, and the call may be repeated. No program may append
// meanwhile. If restored is not nil it is called with the names of the segments once all of them are there, and before
// the space is open to its readers.
func (t *Tier) Restore(ctx context.Context, log *hotlog.Log, id archive.SpaceID, restored func(ctx context.Context, segments []string) error) (tier.Restored, error) {
	r := tier.Restored{Space: id}
	s := log.Store(id.Store)
	if err := s.Restorable(ctx, id.Space); err != nil {
		return r, err
	}
	lives, first, meta, last, err := t.fold(ctx, id)
	if err != nil || first == nil {
		return r, err
	}
	var names []string
	var failed []error // each names its segment
	for _, l := range lives {
		if l.ended() && !forked(lives, l) {
			if l.released || !l.held {
				continue
			}
			l.Unread = true // its forks are lost, so the next sweep may remove it
		}
		if err := ctx.Err(); err != nil {
			return r, errors.Join(append(failed, err)...)
		}
		entries, err := t.end(ctx, id, lives, l)
		r.Entries += entries
		if err != nil {
			failed = append(failed, fmt.Errorf("segment %q: %w", l.Segment, err))
			continue
		}
		l.Deleted = l.ended()
		if err := s.RestoreSegment(ctx, id.Space, l.RestoredSegment); err != nil {
			failed = append(failed, err)
			continue
		}
		r.Segments++
		if !l.Deleted {
			names = append(names, l.Segment)
		}
	}
	if len(failed) > 0 {
		// Without a timeline the space cannot be read yet, so the restore can be repeated.
		return r, errors.Join(failed...)
	}
	if restored != nil {
		if err := restored(ctx, names); err != nil {
			return r, err
		}
	}
	return r, s.RestoreSpace(ctx, id.Space, first.ID, meta, last)
}

// fold reads the windows of a space. It returns one life for each name (the last incarnation in the windows), the first
// change, and the meta of the space in the last window. last holds the changes at the last place of the timeline:
// RestoreSpace writes that place again, and the timeline continues after it.
func (t *Tier) fold(ctx context.Context, id archive.SpaceID) (lives map[string]*life, first *archive.Change, meta []byte, last []archive.Change, err error) {
	lives = map[string]*life{}
	err = t.archive.Windows(ctx, id, func(w *archive.Window) error {
		if first == nil {
			first = &w.Changes[0]
		}
		meta, last = w.Meta, last[:0]
		for i := range w.Changes {
			if c := &w.Changes[i]; c.ID == w.To {
				last = append(last, *c)
			}
		}
		fold(lives, w)
		return nil
	})
	return lives, first, meta, last, err
}

// end sets the two values that the next append continues and that the windows do not have: the TRX number and the
// timestamp of the last frame. It returns how many entries the segment has; 0 if they were trimmed.
func (t *Tier) end(ctx context.Context, id archive.SpaceID, lives map[string]*life, l *life) (entries uint64, err error) {
	if l.Last == 0 {
		return 0, t.origin(ctx, id, lives, l)
	}
	c, err := t.archive.Chunk(ctx, id, l.Segment, l.Incarnation, l.Last)
	if errors.Is(err, streamhub.ErrNotFound) {
		return 0, nil // the last entry was trimmed
	}
	if err != nil {
		return 0, err
	}
	f := &c.Frames[len(c.Frames)-1]
	l.Number, l.Timestamp = f.Number, f.Timestamp
	return l.Last, nil
}

// origin sets the number and the proof of a fork that has no entry of its own: those of the entry
// that it was made at. The first append to the fork continues from that entry. The entry may lie in
// an ancestor further up, if the parent is itself a fork and inherits it.
func (t *Tier) origin(ctx context.Context, id archive.SpaceID, lives map[string]*life, l *life) error {
	at := uint64(math.MaxUint64)
	for of := l; ; {
		segment, incarnation, limit, ok := hotlog.MetaParent(of.Meta)
		if at = min(at, limit); !ok || at == 0 {
			return nil // it begins empty
		}
		if of = lives[segment]; of == nil || of.Incarnation != incarnation {
			return nil // its parent is lost
		}
		if _, _, below, ok := hotlog.MetaParent(of.Meta); ok && below >= at {
			continue
		}
		c, err := t.archive.Chunk(ctx, id, of.Segment, of.Incarnation, at)
		if errors.Is(err, streamhub.ErrNotFound) {
			return nil // its entries are lost
		}
		if err != nil {
			return err
		}
		for i := range c.Frames {
			if f := &c.Frames[i]; f.Last >= at {
				l.Number, l.Proof, err = hotlog.EntryOf(f, at)
				return err
			}
		}
		return nil
	}
}

// A life is the state of one incarnation of a segment after the windows that were read so far.
type life struct {
	hotlog.RestoredSegment
	birth streamhub.TimelineID // where its first change lies
	// deleted says that it was deleted, released that its last fork went after that.
	deleted, released bool
	// held says that in its last window it was deleted but still read by forks.
	held bool
}

// ended reports whether only forks may read it. held counts too, because a sweep may have removed the delete from the
// timeline.
func (l *life) ended() bool { return l.deleted || l.held }

// fold adds what a window tells to lives. Parts come first: they create the lives to which the
// changes of the same window belong.
func fold(lives map[string]*life, w *archive.Window) {
	for i := range w.Parts {
		p := &w.Parts[i]
		l := lives[p.Segment]
		if l == nil || l.Incarnation != p.Incarnation {
			l = &life{
				RestoredSegment: hotlog.RestoredSegment{Segment: p.Segment, Incarnation: p.Incarnation},
				birth:           hotlog.MetaBirth(p.Meta),
			}
			lives[p.Segment] = l
		}
		l.Meta = p.Meta
		l.held = hotlog.MetaHeld(p.Meta)
		// A window in which the segment has no entries does not change its end.
		if p.Last() > 0 {
			l.Last, l.Proof = p.Last(), p.Proof
		}
	}
	for i := range w.Changes {
		c := &w.Changes[i]
		l := lives[c.Segment]
		// Kinds are those of the timeline: c for close, d for delete. The second delete of one life
		// is the release: the last fork that read it is gone.
		if c.Kind != 'd' || l == nil || c.ID.Before(l.birth) {
			continue // it is of a former incarnation
		}
		l.deleted, l.released = true, l.deleted
	}
	closed := map[string]bool{}
	for i := range w.Changes {
		switch c := &w.Changes[i]; c.Kind {
		case 'c':
			closed[c.Segment] = true
		case 'd':
			delete(closed, c.Segment) // the close belonged to an earlier life
		}
	}
	// A close that is archived stays in force; see [hotlog.RestoredSegment].
	for segment := range closed {
		if l := lives[segment]; l != nil {
			l.Closed = true
		}
	}
}

// forked reports whether a living segment is a fork of l, or of a fork of it.
func forked(lives map[string]*life, l *life) bool {
	for _, f := range lives {
		segment, incarnation, _, ok := hotlog.MetaParent(f.Meta)
		if ok && segment == l.Segment && incarnation == l.Incarnation && (!f.ended() || forked(lives, f)) {
			return true
		}
	}
	return false
}

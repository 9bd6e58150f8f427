package model

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/tier"
)

// copies is what the archive of each space has held, by where it ended. An archiver changes no answer, so all that the model
// keeps is what a restore brings back.
type copies map[string]map[streamhub.TimelineID]*space

// Archived notes that the archive of a space has come to hold all of it, and ends there. It reports whether segments
// have expired by that, since an archiver notices deadlines.
func (m *Model) Archived(name string, end streamhub.TimelineID) (expired bool) {
	sp, of := m.space(name), m.copies[name]
	if of == nil {
		of = map[streamhub.TimelineID]*space{}
		m.copies[name] = of
	}
	own, before, named := sp.clone(), of[sp.end], map[string]bool{}
	from := 0
	if before != nil {
		from = len(before.line)
	}
	for _, c := range sp.line[from:] {
		named[c.segment] = true
	}
	for segment, l := range own.segments {
		switch {
		case named[segment]:
			expired = expired || m.due(l)
			m.look(name, segment)
		case before != nil && before.segments[segment] != nil:
			// A window describes the segments that it names. What changed of others without a change in the timeline is
			// not archived.
			l.deadline = before.segments[segment].deadline
		}
	}
	sp.end, own.end = end, end
	of[end] = own
	return expired
}

// pruned reports whether the archive may have dropped what saved had moved to it: entries that were trimmed or deleted since.
func (m *Model) pruned(saved *server) bool {
	for name, sp := range saved.spaces {
		if sp.end.IsZero() {
			continue
		}
		for segment, l := range sp.segments {
			now := m.space(name).segments[segment]
			if now == nil || now.id != l.id || now.ended != nil && len(now.forks) == 0 || now.first > l.first {
				return true
			}
		}
	}
	return false
}

// Restore lets Redis hold what the archives hold that end at these places, and nothing else.
func (m *Model) Restore(ends map[string]streamhub.TimelineID) {
	was := m.server
	m.server = &server{reigns: was.reigns, spaces: map[string]*space{}, trims: maps.Clone(was.trims), rights: newRights()}
	for name, end := range ends {
		own := m.copies[name][end].clone()
		switch {
		case !m.keeps(RuleRestored):
			continue
		case !m.keeps(RuleArchivedOnly) && was.spaces[name] != nil:
			own = was.spaces[name].clone()
		}
		for segment, l := range own.segments {
			if l.ended != nil && len(l.forks) == 0 {
				delete(own.segments, segment) // nothing tells that it was there
			}
		}
		m.server.spaces[name] = own
	}
	m.Promote()
}

// Restorable reports whether the model knows what the archives hold that end at these places.
func (m *Model) Restorable(ends map[string]streamhub.TimelineID) bool {
	for name, end := range ends {
		if m.copies[name][end] == nil {
			return false
		}
	}
	return true
}

// archive lets the archiver of a writer take a turn, after which Redis keeps so many entries of each segment.
func (r *run) archive(s Step) error {
	r.way.Advance(time.Millisecond) // tokens of leases grow with the clock, also after Redis went back
	r.model.Now++
	if err := r.meet(s); err != nil {
		return err
	}
	policy := tier.Policy{Age: 1, KeepLast: uint64(s.Limit)}
	before, err := r.way.Ends(r.ctx)
	if err != nil {
		return err
	}
	err = r.way.Archive(r.ctx, s.By, policy)
	if s.Lose+s.Drop > 0 {
		r.way.Lose(0, 0, false)
		s.Lose, s.Drop = 0, 0
		if err := r.way.EndLeases(r.ctx); err != nil { // what came of them is not known either
			return err
		}
		err = r.way.Archive(r.ctx, s.By, policy)
	}
	if err != nil {
		err = r.way.Archive(r.ctx, s.By, policy) // another one had the space, or Redis forgot that it was this one
	}
	r.outcome = string(streamhub.CodeOf(err))
	if contradicts := r.wentBack && errors.Is(err, streamhub.ErrConflict); err != nil && !contradicts {
		return err
	}
	after, err := r.way.Ends(r.ctx)
	if err != nil {
		return err
	}
	expired := false
	for name, end := range after {
		if end == before[name] || r.model.copies[name][end] != nil {
			continue
		}
		noticed := r.model.Archived(name, end)
		expired = expired || noticed
		if last, err := r.way.Last(r.ctx, name); err != nil || end != last && !noticed {
			return errors.Join(err, fmt.Errorf("the archive of space %q ends at %v, want %v", name, end, last))
		}
	}
	if r.saved != nil && r.model.pruned(r.saved.model.(*server)) {
		r.saved = nil // that Redis counts on what has left the archive: it must not come back without a restore
	}
	if expired { // what the turn itself has ended is for the next one
		return r.archive(s)
	}
	return nil
}

// meet ends what a follower may have found expired: which of it was archived would not be known.
func (r *run) meet(s Step) error {
	for name, sp := range r.model.server.spaces {
		s.Space = name
		for segment, l := range sp.segments {
			if !r.met[l.id] || !r.model.due(l) {
				continue
			}
			if err := r.meetOne(s, segment); err != nil {
				return err
			}
		}
	}
	return nil
}

// meetOne ends a segment whose deadline has passed.
func (r *run) meetOne(s Step, segment string) error {
	_, err := r.way.Store(s.By).Status(r.ctx, s.Space, segment)
	if !errors.Is(err, streamhub.ErrNotFound) {
		return fmt.Errorf("the deadline of %q in space %q has passed, and its status says %w", segment, s.Space, err)
	}
	r.model.look(s.Space, segment)
	return nil
}

// restore lets Redis lose all that it has, and brings back what is archived. Followers end before that and go on after it: a
// hub that lives on may give what was lost until it notices.
func (r *run) restore(s Step) error {
	ends, err := r.way.Ends(r.ctx)
	if err != nil || len(ends) == 0 || !r.model.Restorable(ends) {
		return err
	}
	followers := maps.Clone(r.followers)
	r.endFollowers()
	r.wentBack = true
	if err := r.way.Restore(r.ctx); err != nil {
		return err
	}
	r.way.Lose(0, 0, false)
	r.model.Restore(ends)
	for _, f := range followers {
		if f.could = nil; f.over {
			r.followers[f.step.At%slots] = f
		} else {
			r.again(f)
		}
	}
	return nil
}

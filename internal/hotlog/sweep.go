package hotlog

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// sweepPage is how many names, or deadlines, one command lists.
const sweepPage = 256

// Stores returns the ids of all stores that were ever appended to.
func (l *Log) Stores(ctx context.Context) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	it := l.conn.SScan(ctx, storesKey, 0, "", sweepPage).Iterator()
	for it.Next(ctx) {
		if id, err := uuid.Parse(it.Val()); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, redisx.ReadOutcome(it.Err())
}

// Sweep cleans up every space of the store: it ends segments whose deadline has passed, removes the rows of appenders
// that were idle for a day, and removes timeline entries that name nothing any more. Any number of instances may sweep
// at once. Reads and appends are correct without it. A failure in one space does not stop the others.
func (s *Store) Sweep(ctx context.Context) error {
	var failed []error
	for after := ""; ; {
		spaces, err := s.Spaces(ctx, after, sweepPage)
		if err != nil || len(spaces) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for _, space := range spaces {
			err := s.sweepSpace(ctx, keysOf(s.id, space))
			if err != nil {
				failed = append(failed, s.fail("sweep", space, "", err))
			}
			if ctx.Err() != nil || s.log.conn.Away(err) {
				return errors.Join(append(failed, ctx.Err())...)
			}
		}
		after = spaces[len(spaces)-1]
	}
}

// sweepSpace ends expired segments before it shortens the timeline, so that their changes can be
// removed in the same run.
func (s *Store) sweepSpace(ctx context.Context, k spaceKeys) error {
	err := s.sweepDue(ctx, k)
	if ctx.Err() != nil || s.log.conn.Away(err) {
		return err
	}
	return errors.Join(err, s.shorten(ctx, k))
}

// sweepDue handles the deadlines of a space that have passed.
func (s *Store) sweepDue(ctx context.Context, k spaceKeys) error {
	now, err := s.log.conn.Time(ctx).Result()
	if err != nil {
		return redisx.ReadOutcome(err)
	}
	var failed []error // errors of single segments, which do not stop the others
	for {
		due, err := s.log.conn.ZRangeByScore(ctx, k.deadlines(), &redis.ZRangeBy{
			Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Offset: int64(len(failed)), Count: sweepPage,
		}).Result()
		if err != nil {
			return errors.Join(append(failed, redisx.ReadOutcome(err))...)
		}
		for _, member := range due {
			if err := s.sweepMember(ctx, k, member); errors.Is(err, streamhub.ErrUnavailable) || ctx.Err() != nil {
				return errors.Join(append(failed, err)...)
			} else if err != nil {
				failed = append(failed, err)
			}
		}
		if len(due) < sweepPage {
			return errors.Join(failed...)
		}
	}
}

// sweepMember handles one deadline. It begins with a letter before the segment: 't' for its time to live, 'p' for its
// idle appenders, 'r' for the forks that may have read it after its end.
func (s *Store) sweepMember(ctx context.Context, k spaceKeys, member string) error {
	if len(member) < 2 {
		return nil
	}
	name, ok := redisx.Unescape(member[1:])
	at := place{k, name, member[1:]}
	if ok && member[0] == 'p' {
		return redisx.ReadOutcome(func() error {
			_, err := s.log.call(ctx, s.log.prune, 2, k.deadlines(), at.meta(at.segment))
			return err
		}())
	}
	if ok && (member[0] == 't' || member[0] == 'r') {
		m, err := s.log.readMeta(ctx, at)
		if err != nil {
			return err
		}
		switch {
		case member[0] == 't' && !m.gone() && m.deadline > 0:
			_, err := s.log.end(ctx, at, &m, streamhub.Verdict{Kind: streamhub.VerdictExpired}, "expire")
			return err // a renewal has written the new deadline here
		case member[0] == 'r' && m.exists && m.state == stateDeleted:
			if code, err := s.log.end(ctx, at, &m, streamhub.Verdict{Kind: streamhub.VerdictDeleted}, "release"); err != nil || code != "EARLY" {
				return err
			}
		}
	}
	return redisx.ReadOutcome(s.log.conn.ZRem(ctx, k.deadlines(), member).Err())
}

const (
	sweepEntries = 1024 // of a timeline, read and removed together
	// sweepKept is roughly the largest number of remaining changes that one sweep of a space reads.
	sweepKept = 4096
	// passDone is the recorded place of a completed pass over a timeline.
	passDone = "-"
)

// shorten removes the entries of the timeline that name nothing any more, wherever they are. A pass
// goes over what the timeline holds when it begins. It may take several sweeps. Each reads
// what it removes and a bounded part of what stays; a pass over a timeline that has not changed since
// the last one is left out. The space remembers "<place of the next entry to read> <end of the pass>".
func (s *Store) shorten(ctx context.Context, k spaceKeys) error {
	facts, err := s.log.conn.HMGet(ctx, k.state(), "n", "a").Result()
	if err != nil {
		return redisx.ReadOutcome(err)
	}
	if facts[1] != nil {
		return nil // the archiver shortens this timeline
	}
	end, err := s.log.timelineEnd(ctx, k)
	if err != nil || end.IsZero() {
		return err
	}
	r, err := s.newSpaceReader(k.space, streamhub.Position{})
	if err != nil {
		return err
	}
	progress, _ := facts[0].(string)
	place, until, _ := strings.Cut(progress, " ")
	from := streamhub.TimelineID{}
	r.end = end
	switch {
	case place == passDone && until == end.String():
		return nil
	case place != "" && place != passDone:
		if from, err = parseTimelineID(place); err == nil {
			r.end, err = parseTimelineID(until)
		}
		if err != nil {
			return err
		}
	}
	for left := sweepKept; ; {
		p := &spacePage{}
		if p.changes, p.next, p.more, err = s.log.changes(ctx, k, from, r.end, sweepEntries); err != nil {
			return err
		}
		if err := r.refresh(ctx, p); err != nil {
			return err
		}
		dead, trimmed, kept := p.dead()
		left -= kept
		from = p.next
		next := from.String()
		if !p.more {
			next = passDone
		}
		if len(dead) > 0 || !p.more || left <= 0 {
			args := append([]any{k.timeline(), k.state(), trimmed.place(), next + " " + r.end.String()}, dead...)
			if _, err := s.log.call(ctx, s.log.sweep, 2, args...); err != nil {
				return redisx.ReadOutcome(err)
			}
		}
		if !p.more || left <= 0 {
			return nil
		}
	}
}

// namedBy reports whether c, which brought no record, names something that is named nowhere else. An archive that begins
// later learns of a close only here. It learns of a segment without entries only by its creation, its end, or the trim
// that took the last one.
func (m *meta) namedBy(c *change) bool {
	if c.kind == changeClose {
		return true
	}
	if m.first != 0 && m.first <= m.last {
		return false
	}
	return c.kind != changeTrim || c.last == m.first
}

// dead returns the places of the page that name nothing any more, and how many changes are in the
// other places. It also returns the last change among the former whose entries were trimmed while
// their segment lives.
func (p *spacePage) dead() (places []any, trimmed change, kept int) {
	for begin := 0; begin < len(p.changes); {
		end, alive := begin, false
		var cut change
		for ; end < len(p.changes) && p.changes[end].id == p.changes[begin].id; end++ {
			c, m := &p.changes[end], p.metas[end]
			// What forks read of a deleted segment stays: an archiver finds it only here.
			switch {
			case m.erased() || c.id.Before(m.birth):
			case c.records == 0:
				alive = alive || m.namedBy(c)
			case c.last >= m.first:
				alive = true
			default:
				cut = *c
			}
		}
		if alive {
			kept += end - begin
		} else {
			places = append(places, p.changes[begin].id.String())
			if !cut.id.IsZero() {
				trimmed = cut
			}
		}
		begin = end
	}
	return places, trimmed, kept
}

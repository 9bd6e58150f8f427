package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

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

// Sweep does what is due in every space of the store: it ends segments whose deadline has passed,
// forgets appenders that were idle for a day, and shortens timelines whose start names nothing
// any more. Any number of instances may sweep at once; none of it needs to happen for reads and
// appends to be right.
func (s *Store) Sweep(ctx context.Context) error {
	for after := ""; ; {
		spaces, err := s.Spaces(ctx, after, sweepPage)
		if err != nil || len(spaces) == 0 {
			return err
		}
		for _, space := range spaces {
			if err := s.sweepSpace(ctx, keysOf(s.id, space)); err != nil {
				return s.fail("sweep", space, "", err)
			}
		}
		after = spaces[len(spaces)-1]
	}
}

func (s *Store) sweepSpace(ctx context.Context, k spaceKeys) error {
	now, err := s.log.conn.Time(ctx).Result()
	if err != nil {
		return redisx.ReadOutcome(err)
	}
	for {
		due, err := s.log.conn.ZRangeByScore(ctx, k.deadlines(), &redis.ZRangeBy{
			Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Count: sweepPage,
		}).Result()
		if err != nil {
			return redisx.ReadOutcome(err)
		}
		var errs []error // one bad segment does not keep the others
		for _, member := range due {
			errs = append(errs, s.sweepMember(ctx, k, member))
		}
		if err := errors.Join(errs...); err != nil || len(due) < sweepPage {
			return errors.Join(err, s.shorten(ctx, k))
		}
	}
}

// sweepMember deals with one deadline: 't' and a segment for its time to live, 'p' and a segment
// for its idle appenders, 'r' and a segment for the forks that may have read it after its end.
func (s *Store) sweepMember(ctx context.Context, k spaceKeys, member string) error {
	if len(member) < 2 {
		return nil
	}
	name, ok := redisx.Unescape(member[1:])
	at := place{k, name, member[1:]}
	if ok && member[0] == 'p' {
		return redisx.ReadOutcome(func() error {
			_, err := s.log.call(ctx, s.log.prune, 2, k.timeline(), at.meta(at.segment))
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

// shorten removes the start of the timeline up to the first change that still names entries.
func (s *Store) shorten(ctx context.Context, k spaceKeys) error {
	r, err := s.newSpaceReader(k.space, streamhub.Position{})
	if err != nil {
		return err
	}
	from := timelineID{}
	for {
		p := &spacePage{}
		var err error
		if p.changes, p.next, p.more, err = s.log.changes(ctx, k, from, r.end, maxChanges/8); err != nil || len(p.changes) == 0 {
			return err
		}
		if err := r.refresh(ctx, p); err != nil {
			return err
		}
		keep := p.next
		for i := range p.changes {
			c, m := &p.changes[i], p.metas[i]
			if alive := c.records > 0 && !m.gone() && !c.id.before(m.birth) && c.last >= m.first; alive {
				keep = c.id
				break
			}
		}
		if first := p.changes[0].id; keep != first {
			if _, err := s.log.call(ctx, s.log.trimTimeline, 2, k.timeline(), k.state(), keep.String(), ""); err != nil {
				return redisx.ReadOutcome(err)
			}
		}
		if keep != p.next || !p.more {
			return nil
		}
		from = p.next
	}
}

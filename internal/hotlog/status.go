package hotlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Status describes a segment. If it does not exist or was deleted, the error is [streamhub.ErrNotFound].
func (s *Store) Status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	status, err := s.status(ctx, space, segment)
	return status, s.fail("status", space, segment, err)
}

func (s *Store) status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	at, err := s.place(space, segment)
	if err != nil {
		return streamhub.Status{}, err
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return streamhub.Status{}, err
	}
	if m.gone() {
		return streamhub.Status{}, goneOf(&m)
	}
	return s.statusOf(ctx, at, &m)
}

// statusOf completes the status of a fork: its first entry may lie in a parent, which keeps it or has
// trimmed it.
func (s *Store) statusOf(ctx context.Context, at place, m *meta) (streamhub.Status, error) {
	status := m.status(at.space, at.name)
	if m.parent == nil {
		return status, nil
	}
	chain, err := s.sources(ctx, at, m)
	if err != nil {
		return status, err
	}
	var proof uint64
	var timestamp int64
	status.FirstSequence, timestamp, proof = firstOf(chain)
	status.FirstTimestamp = millis.Time(timestamp)
	if status.LastSequence == 0 {
		status.FirstSequence = 0
	}
	status.Kept = before(&status, proof)
	return status, nil
}

// LastOf returns the last sequence that a named producer has appended to a segment; 0 if there is none, or no such
// segment.
func (s *Store) LastOf(ctx context.Context, space, segment, producer string) (sequence uint64, err error) {
	defer func() { err = s.fail("status", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return 0, err
	}
	row, err := s.log.conn.HGet(ctx, at.meta(at.segment), "p:"+redisx.Escape(producer)).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, redisx.ReadOutcome(err)
	}
	sequence, ok := rowLast(row)
	if !ok {
		return 0, fmt.Errorf("%w: the row of a producer has %d bytes", streamhub.ErrCorrupt, len(row))
	}
	return sequence, nil
}

// Statuses describes every segment of a space, in byte order. The page begins beyond after and
// holds up to limit; it is empty at the end.
func (s *Store) Statuses(ctx context.Context, space, after string, limit int) ([]streamhub.Status, error) {
	names, err := s.Segments(ctx, space, after, limit)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	pipe := s.log.conn.Pipeline()
	places, cmds := make([]place, len(names)), make([]*redis.SliceCmd, len(names))
	for i, name := range names {
		if places[i], err = s.place(space, name); err != nil {
			return nil, s.fail("status", space, name, err)
		}
		cmds[i] = metaCmd(ctx, places[i])
		_ = pipe.Process(ctx, cmds[i])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, s.fail("status", space, "", redisx.ReadOutcome(err))
	}
	statuses := make([]streamhub.Status, 0, len(names))
	for i, cmd := range cmds {
		m, err := parseMeta(cmd.Val())
		// Only a segment with a deadline needs a second look: it may have expired.
		if err == nil && m.deadline != 0 {
			m, err = s.readMeta(ctx, places[i])
		}
		if err == nil && !m.gone() {
			var status streamhub.Status
			if status, err = s.statusOf(ctx, places[i], &m); err == nil {
				statuses = append(statuses, status)
			}
		}
		if err != nil {
			return nil, s.fail("status", space, names[i], err)
		}
	}
	if len(statuses) == 0 && len(names) > 0 { // all of them were removed meanwhile
		return s.Statuses(ctx, space, names[len(names)-1], limit)
	}
	return statuses, nil
}

// Peek returns the last entry of a segment; if it keeps none, the error is [streamhub.ErrNotFound].
func (s *Store) Peek(ctx context.Context, space, segment string) (entry streamhub.Entry, err error) {
	defer func() { err = s.fail("peek", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return entry, err
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return entry, err
	}
	r, err := s.newReader(ctx, at, &m, streamhub.Position{}, 0)
	if err != nil {
		return entry, err
	}
	if r.next > m.last {
		return entry, errEmpty
	}
	r.next, r.count = m.last, 1
	found := false
	err = r.read(ctx, func(f *frame, base *streamhub.Entry, to uint64) (bool, error) {
		return f.entries(base, to, to, func(e *streamhub.Entry) bool {
			entry, found = *e, true
			return false
		})
	})
	if err == nil && !found {
		err = errEmpty // the entry was trimmed meanwhile
	}
	return entry, err
}

// errEmpty is the error for a segment without entries.
var errEmpty = fmt.Errorf("%w: the segment keeps no entry", streamhub.ErrNotFound)

// Touch renews the sliding time to live of a segment and returns the deadline in force, the zero
// Time if it has none.
func (s *Store) Touch(ctx context.Context, space, segment string) (deadline time.Time, err error) {
	defer func() { err = s.fail("touch", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return deadline, err
	}
	return s.deadline(ctx, at, s.log.touch)
}

// deadline runs touch.lua or expire.lua, which answer with the deadline of a segment: + and Unix
// milliseconds, 0 for none. Each gets the incarnation and then args. A segment whose time is over is
// ended.
func (s *Store) deadline(ctx context.Context, at place, script *redisx.Script, args ...any) (deadline time.Time, err error) {
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return deadline, err
	}
	if m.gone() {
		return deadline, goneOf(&m)
	}
	answer, err := s.log.run(ctx, script, 2, append([]any{at.deadlines(), at.meta(at.segment), hex16(m.incarnation)}, args...)...)
	if err != nil {
		return deadline, err
	}
	var v int64
	switch {
	case answer[0] == '+':
		err = parseNumbers(answer[1:], &v)
	case strings.HasPrefix(answer, "EXPIRED"):
		if err = s.log.expire(ctx, at, m.incarnation); err == nil {
			err = streamhub.ErrNotFound
		}
	default:
		err, _ = scriptError(answer)
	}
	return millis.Time(v), err
}

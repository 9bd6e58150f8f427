package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// trimStep bounds how many entries one run of the script removes.
const trimStep = 10_000

// Trim removes entries from the start of a segment up to sequence upTo: whole frames, so some that
// were asked for may stay. It returns the first sequence that is kept. Readers that come for what
// is gone get an [streamhub.TrimmedError]. Entries that a fork reads are not removed
// ([streamhub.ErrConflict]).
func (s *Store) Trim(ctx context.Context, space, segment string, upTo uint64) (firstKept uint64, err error) {
	defer func() { err = s.fail("trim", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return 0, err
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return 0, err
	}
	if m.gone() {
		return 0, goneOf(&m)
	}
	for {
		if m.first == 0 || upTo < m.first {
			return s.firstKept(ctx, at, &m)
		}
		step := min(upTo, m.first+trimStep-1, m.last)
		keep, err := s.trimTo(ctx, at, &m, step) // a frame is never longer than a step
		if err != nil {
			return m.first, err
		}
		if keep == m.first {
			return s.firstKept(ctx, at, &m)
		}
		if keep > upTo || keep > m.last {
			return keep, nil
		}
		m.first = keep
	}
}

func (s *Store) firstKept(ctx context.Context, at place, m *meta) (uint64, error) {
	chain, err := s.sources(ctx, at, m)
	if err != nil {
		return 0, err
	}
	first, _, _ := firstOf(chain)
	return first, nil
}

// trimTo removes the frames that end at or before upTo.
func (s *Store) trimTo(ctx context.Context, at place, m *meta, upTo uint64) (firstKept uint64, err error) {
	pipe := s.log.conn.Pipeline()
	// The frame that ends at or before upTo, and the one behind it.
	before := pipe.XRevRangeN(ctx, at.log(at.segment, m.incarnation), strconv.FormatUint(upTo, 10), "-", 1)
	behind := pipe.XRangeN(ctx, at.log(at.segment, m.incarnation), strconv.FormatUint(upTo+1, 10), "+", 1)
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, redisx.ReadOutcome(err)
	}
	gone, err := messageFrames(before.Val())
	if err != nil {
		return 0, err
	}
	if len(gone) == 0 {
		return m.first, nil
	}
	last := gone[0].last
	proof, err := gone[0].proof(last)
	if err != nil {
		return 0, err
	}
	ts := "0"
	kept, err := messageFrames(behind.Val())
	if err != nil {
		return 0, err
	}
	if len(kept) > 0 {
		ts = strconv.FormatInt(kept[0].timestamp, 10)
	}
	answer, err := s.log.run(ctx, s.log.trim, 4, at.timeline(), at.meta(at.segment), at.log(at.segment, m.incarnation),
		at.forks(at.segment, m.incarnation), strconv.FormatUint(last+1, 10), ts, string(binary.BigEndian.AppendUint64(nil, proof)))
	if err != nil {
		return 0, err
	}
	code, rest, _ := cutN(answer, ' ', 1)
	switch {
	case answer[0] == '+':
		err = parseNumbers(answer[1:], &firstKept)
		return firstKept, err
	case code == "AGAIN":
		return s.trimTo(ctx, at, m, upTo)
	case code == "CAP":
		return 0, fmt.Errorf("%w: a fork reads the entries up to %s", streamhub.ErrConflict, rest)
	}
	err, _ = scriptError(answer)
	return 0, err
}

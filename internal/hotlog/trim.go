package hotlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// trimStep bounds how many entries one run of the script removes, and so how long it holds up the
// server.
const trimStep = 10_000

// Trim removes entries from the start of a segment up to sequence upTo: only whole frames, so some of these entries may
// stay. It returns the first sequence that is kept. Readers of removed entries get an [streamhub.TrimmedError]. Entries
// that a fork reads are not removed ([streamhub.ErrConflict]).
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
	first := m.first
	defer func() {
		if m.first > first { // something is trimmed
			err = redisx.Unsure(err)
		}
	}()
	if m.first < m.hot && upTo >= m.first {
		if err := s.trimCold(ctx, at, &m, upTo); err != nil {
			return m.first, err
		}
	}
	for {
		if m.hot == 0 || upTo < m.hot {
			return s.firstKept(ctx, at, &m)
		}
		step := min(upTo, m.hot+trimStep-1, m.last)
		keep, err := s.trimTo(ctx, at, &m, step) // a frame is never longer than a step
		if err != nil {
			return m.first, err
		}
		if keep == m.hot {
			return s.firstKept(ctx, at, &m)
		}
		if keep > upTo || keep > m.last {
			return keep, nil
		}
		m.first, m.hot = keep, keep
	}
}

// trimCold moves the start of a segment whose first entries are archived. It changes the meta only;
// the archiver removes the entries, when it meets this trim in the timeline.
func (s *Store) trimCold(ctx context.Context, at place, m *meta, upTo uint64) error {
	src := source{at, *m, math.MaxUint64}
	keep := min(upTo+1, m.hot)
	first, ts, proof := m.hot, int64(0), m.hotProof
	if before := keep - 1; keep < m.hot {
		frames, err := s.log.coldFrames(ctx, &src, before)
		if err == nil && len(frames) == 0 {
			err = fmt.Errorf("%w: entry %d is missing from the archive", streamhub.ErrCorrupt, before)
		}
		if err != nil {
			return err
		}
		// The frame that holds before stays, unless it ends there.
		first = frames[0].first()
		if ts = frames[0].timestamp; frames[0].last == before {
			if frames, err = s.log.coldFrames(ctx, &src, keep); err != nil || len(frames) == 0 {
				return errors.Join(err, fmt.Errorf("%w: entry %d is missing from the archive", streamhub.ErrCorrupt, keep))
			}
			first, ts = keep, frames[0].timestamp
		}
		if first <= m.first {
			return nil
		}
		if frames, err = s.log.coldFrames(ctx, &src, first-1); err != nil || len(frames) == 0 {
			return errors.Join(err, fmt.Errorf("%w: entry %d is missing from the archive", streamhub.ErrCorrupt, first-1))
		}
		if proof, err = frames[0].proof(first - 1); err != nil {
			return err
		}
	}
	kept, err := s.runTrim(ctx, at, m, first, ts, proof)
	if err != nil {
		return err
	}
	m.first = kept
	return nil
}

// firstKept is the first sequence that a reader gets, also if it lies in a parent of the fork.
func (s *Store) firstKept(ctx context.Context, at place, m *meta) (uint64, error) {
	chain, err := s.sources(ctx, at, m)
	if err != nil {
		return 0, err
	}
	first, _, _ := firstOf(chain)
	return first, nil
}

// A cut makes first, whose timestamp is ts, the first sequence in Redis; proof is that of the one
// before it.
type cut func(first uint64, ts int64, proof uint64) (firstKept uint64, err error)

// trimTo removes the frames that end at or before upTo.
func (s *Store) trimTo(ctx context.Context, at place, m *meta, upTo uint64) (firstKept uint64, err error) {
	return s.cutAt(ctx, at, m, upTo, func(first uint64, ts int64, proof uint64) (uint64, error) {
		return s.runTrim(ctx, at, m, first, ts, proof)
	})
}

// cutAt finds the frames on both sides of the cut and calls run with what the meta must say of it. If a new entry has
// meanwhile become the first one, it reads again.
func (s *Store) cutAt(ctx context.Context, at place, m *meta, upTo uint64, run cut) (firstKept uint64, err error) {
	pipe := s.log.conn.Pipeline()
	// The frame that ends at or before upTo, and the one after it.
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
		return m.hot, nil
	}
	last := gone[0].last
	proof, err := gone[0].proof(last)
	if err != nil {
		return 0, err
	}
	ts := int64(0)
	kept, err := messageFrames(behind.Val())
	if err != nil {
		return 0, err
	}
	if len(kept) > 0 {
		ts = kept[0].timestamp
	}
	firstKept, err = run(last+1, ts, proof)
	if errors.Is(err, errAgain) {
		return s.cutAt(ctx, at, m, upTo, run)
	}
	return firstKept, err
}

// errAgain says that a new entry arrived meanwhile that must become the first one.
var errAgain = errors.New("an entry came meanwhile")

// runTrim makes first the first sequence, whose timestamp is ts, after an entry with this proof.
func (s *Store) runTrim(ctx context.Context, at place, m *meta, first uint64, ts int64, proof uint64) (firstKept uint64, err error) {
	answer, err := s.log.run(ctx, s.log.trim, 5, at.timeline(), at.state(), at.meta(at.segment), at.log(at.segment, m.incarnation),
		at.forks(at.segment, m.incarnation), strconv.FormatUint(first, 10), strconv.FormatInt(ts, 10),
		string(appendProof(nil, proof)))
	if err != nil {
		return 0, err
	}
	code, rest, _ := cutN(answer, ' ', 1)
	switch {
	case answer[0] == '+':
		err = parseNumbers(answer[1:], &firstKept)
		return firstKept, err
	case code == "AGAIN":
		return 0, errAgain
	case code == "CAP":
		return 0, fmt.Errorf("%w: a fork reads the entries up to %s: delete the fork first, or trim after them", streamhub.ErrConflict, rest)
	}
	err, _ = scriptError(answer)
	return 0, err
}

package hotlog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// maxDeleteReason bounds the reason of a deletion, in bytes. What is left of a segment keeps it for a day, beside every quota.
const maxDeleteReason = 4 << 10

// Delete ends a segment with the verdict deleted and removes its entries; those that forks read
// stay until the last fork goes. Deleting what is deleted already is no error; deleting what never
// was is [streamhub.ErrNotFound].
func (s *Store) Delete(ctx context.Context, space, segment, reason string) (err error) {
	defer func() { err = s.fail("delete", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return err
	}
	if len(reason) > maxDeleteReason {
		return fmt.Errorf("%w: the reason has %d bytes, the limit of a deletion is %d", streamhub.ErrTooLarge, len(reason), maxDeleteReason)
	}
	for {
		m, err := s.log.readMeta(ctx, at)
		if err != nil {
			return err
		}
		if !m.exists {
			return streamhub.ErrNotFound
		}
		// OTHER says that the segment was deleted and created again after its meta was read.
		answer, err := s.log.end(ctx, at, &m, streamhub.Verdict{Kind: streamhub.VerdictDeleted, Reason: reason}, "delete")
		if err != nil || answer != answerOther {
			return err
		}
	}
}

// expire ends a segment whose deadline has passed. The script checks the deadline once more: it may
// have been renewed.
func (l *Log) expire(ctx context.Context, at place, incarnation uint64) error {
	m, err := l.readMeta(ctx, at)
	if err != nil || !m.exists || m.incarnation != incarnation {
		return err
	}
	_, err = l.end(ctx, at, &m, streamhub.Verdict{Kind: streamhub.VerdictExpired}, "expire")
	return err
}

// answerOther is the answer of delete.lua for a segment that has another incarnation now.
const answerOther = "OTHER"

// end runs delete.lua for the incarnation that m names. The set of the parent's forks is among its
// keys, so a fork leaves that set in the same step. Then the parent is released, if the fork was its
// last reader. A crash in between leaves the parent to the sweep.
func (l *Log) end(ctx context.Context, at place, m *meta, verdict streamhub.Verdict, mode string) (string, error) {
	text, err := encodeVerdict(verdict)
	if err != nil {
		return "", err
	}
	keys := []any{
		at.timeline(), at.state(), at.inventory(), at.deadlines(),
		at.meta(at.segment), at.log(at.segment, m.incarnation), at.forks(at.segment, m.incarnation),
	}
	member := ""
	if p := m.parent; p != nil {
		keys = append(keys, at.forks(p.segment, p.incarnation))
		member = at.segment + " " + hex16(m.incarnation) + " " + strconv.FormatUint(p.limit, 10)
	}
	answer, err := l.run(ctx, l.remove, len(keys), append(keys, text, mode, member)...)
	if err != nil {
		return "", err
	}
	code, _, _ := cutN(answer, ' ', 1)
	switch code {
	case "+":
		if m.parent != nil {
			err = redisx.Unsure(l.release(ctx, at.spaceKeys, m.parent)) // the segment itself is deleted
		}
		return code, err
	case "SOFT", "GONE", "EARLY", answerOther:
		return code, nil
	}
	err, _ = scriptError(answer)
	return code, err
}

// release removes a deleted parent that no fork reads any more.
func (l *Log) release(ctx context.Context, k spaceKeys, parent *parentRef) error {
	name, _ := redisx.Unescape(parent.segment)
	at := place{k, name, parent.segment}
	m, err := l.readMeta(ctx, at)
	if err != nil || !m.exists || m.incarnation != parent.incarnation || m.state != stateDeleted {
		return err
	}
	_, err = l.end(ctx, at, &m, streamhub.Verdict{Kind: streamhub.VerdictDeleted}, "release")
	return err
}

// newFork looks at the parent of a fork that is to be created at at.
func (s *Store) newFork(ctx context.Context, at place, o *streamhub.CreateOptions) (*forkOrder, error) {
	parent, err := s.place(at.space, o.ForkOf)
	if err != nil {
		return nil, err
	}
	if parent.segment == at.segment {
		return nil, fmt.Errorf("%w: ForkOf names the segment itself", streamhub.ErrInvalidArgument)
	}
	m, err := s.readMeta(ctx, parent)
	if err != nil {
		return nil, err
	}
	if m.gone() {
		return nil, goneOf(&m)
	}
	if o.ForkIncarnation != 0 && o.ForkIncarnation != m.incarnation {
		return nil, streamhub.ErrNotFound
	}
	limit := m.last
	if o.ForkAt != nil {
		limit = *o.ForkAt
	}
	order := &forkOrder{
		Segment: parent.segment, Incarnation: hex16(m.incarnation), Limit: strconv.FormatUint(limit, 10),
		Number: strconv.FormatUint(m.number, 10), Proof: hex16(m.proof),
		metaKey: parent.meta(parent.segment), forksKey: parent.forks(parent.segment, m.incarnation),
	}
	if limit > m.last {
		return nil, fmt.Errorf("%w: ForkAt is %d, and %q ends at %d", streamhub.ErrInvalidArgument, limit, o.ForkOf, m.last)
	}
	if limit == m.last {
		return order, nil
	}
	order.Number, order.Proof = "0", hex16(0)
	if limit == 0 {
		return order, nil
	}
	r, err := s.newReader(ctx, parent, &m, streamhub.Position{}, limit)
	if err != nil {
		return nil, err
	}
	r.to, r.count = limit, 1
	err = r.read(ctx, func(f *frame, base *streamhub.Entry, to uint64) (bool, error) {
		return f.entries(base, to, to, func(e *streamhub.Entry) bool {
			order.Number = strconv.FormatUint(e.TRX.Number, 10)
			order.Proof = hex.EncodeToString(e.TRX.ID[8:])
			return false
		})
	})
	return order, err
}

// unknown reports whether err leaves open what happened.
func unknown(err error) bool { return errors.Is(err, streamhub.ErrUnknownOutcome) }

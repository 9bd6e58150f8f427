package hotlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// describe reads the metas that a restore of segments will need, and leaves out the segments that were
// deleted or replaced since their frames were read.
func (s *Store) describe(ctx context.Context, k spaceKeys, segments []WindowSegment) (still []WindowSegment, err error) {
	for begin := 0; begin < len(segments); begin += pipelineRanges {
		part := segments[begin:min(begin+pipelineRanges, len(segments))]
		pipe := s.log.conn.Pipeline()
		cmds := make([]*redis.MapStringStringCmd, len(part))
		for i := range part {
			cmds[i] = pipe.HGetAll(ctx, k.meta(redisx.Escape(part[i].Segment)))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, redisx.ReadOutcome(err)
		}
		for i := range part {
			fields := cmds[i].Val()
			h := fields["h"]
			if len(h) < numbersAt || h[incarnationAt:proofAt] != hex16(part[i].Incarnation) || h[stateAt] == stateTombstone {
				continue
			}
			part[i].Meta = encodeMeta(fields)
			still = append(still, part[i])
		}
	}
	return still, nil
}

// encodeMeta writes the fields of a meta that outlive Redis: varint of pairs, and for each length
// and bytes of name and value. Where the segment begins becomes field a. The rows of appenders are kept
// for as long as an append may be in doubt.
func encodeMeta(fields map[string]string) []byte {
	kept := map[string]string{}
	last, _ := parseHead(fields["h"])
	for name, value := range fields {
		switch {
		case name == "f" && fields["a"] == "":
			kept["a"] = value
		case name == "f", name == "z", strings.HasPrefix(name, "p:~") && rowTime(value) < last.timestamp-keptFor.Milliseconds():
		default:
			kept[name] = value
		}
	}
	return encodeFields(kept)
}

// decodeMeta reads what encodeMeta wrote.
func decodeMeta(b []byte) (map[string]string, error) {
	fields, ok := decodeFields(b)
	if !ok || len(fields["h"]) < numbersAt {
		return nil, fmt.Errorf("%w: an archived meta of %d bytes", streamhub.ErrCorrupt, len(b))
	}
	return fields, nil
}

func encodeFields(fields map[string]string) []byte {
	b := binary.AppendUvarint(nil, uint64(len(fields)))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, text := range []string{name, fields[name]} {
			b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
		}
	}
	return b
}

func decodeFields(b []byte) (fields map[string]string, ok bool) {
	d := decoder{b: b}
	fields = map[string]string{}
	for range d.uvarint(uint64(len(b))) {
		name := strings.Clone(d.text())
		fields[name] = strings.Clone(d.text())
	}
	return fields, d.ok() && len(d.b) == 0
}

// spaceFields are those fields of a space that outlive Redis: where its timeline began, what sweeps removed of it
// before it was archived, and its lineages. They tell cursors of what is gone on purpose from those of what was lost.
var spaceFields = []string{"s", "w", "t", "g"}

// describeSpace reads what a restore of a space will need besides its timeline.
func (s *Store) describeSpace(ctx context.Context, k spaceKeys) ([]byte, error) {
	values, err := s.log.conn.HMGet(ctx, k.state(), spaceFields...).Result()
	if err != nil {
		return nil, redisx.ReadOutcome(err)
	}
	kept := map[string]string{}
	for i, name := range spaceFields {
		if text, ok := values[i].(string); ok {
			kept[name] = text
		}
	}
	return encodeFields(kept), nil
}

// A RestoredSegment is the state of a segment in the archive.
type RestoredSegment struct {
	Segment     string
	Incarnation uint64
	// Meta is that of its last window.
	Meta []byte
	// Last, Number, Timestamp and Proof are those of the last archived entry. Last is zero if there is
	// none, Number if the entry itself was trimmed. Of a fork without entries of its own, Number and
	// Proof are those of the entry that it was made at.
	Last, Number, Proof uint64
	Timestamp           int64
	// Closed says that its end is archived too. Otherwise it takes appends again.
	Closed bool
	// Deleted says that only its forks may read it, Unread that these are gone: the next sweep removes it.
	Deleted, Unread bool
}

// MetaHeld reports whether the segment with this meta was deleted but is still read by its forks.
func MetaHeld(meta []byte) bool {
	fields, err := decodeMeta(meta)
	return err == nil && fields["h"][stateAt] == stateDeleted
}

// MetaBirth returns the place of the first change of the segment with this meta.
func MetaBirth(meta []byte) streamhub.TimelineID {
	fields, err := decodeMeta(meta)
	if err != nil {
		return streamhub.TimelineID{}
	}
	birth, _ := parseTimelineID(fields["b"])
	return birth
}

// MetaParent returns the segment that one with this meta is a fork of, and the last sequence that it shares with
// it; ok is false if it is none.
func MetaParent(meta []byte) (segment string, incarnation, limit uint64, ok bool) {
	fields, err := decodeMeta(meta)
	if err != nil {
		return "", 0, 0, false
	}
	p, err := parseParent(fields["p"])
	if err != nil || p == nil {
		return "", 0, 0, false
	}
	segment, ok = redisx.Unescape(p.segment)
	return segment, p.incarnation, p.limit, ok
}

// EntryOf returns the number of the TRX and the proof of the entry of an archived frame that has sequence.
func EntryOf(c *archive.Frame, sequence uint64) (number, proof uint64, err error) {
	f, err := parseFrame(c.Last, c.Number, c.Timestamp, c.Data)
	if err != nil {
		return 0, 0, err
	}
	_, err = f.entries(&streamhub.Entry{}, sequence, sequence, func(e *streamhub.Entry) bool {
		number, proof = e.TRX.Number, proofOf(e.TRX.ID)
		return false
	})
	return number, proof, err
}

// RestoreSegment writes a completely archived segment into a Redis that does not have it. It may be repeated. The error
// is [streamhub.ErrConflict] if the segment exists in another incarnation.
func (s *Store) RestoreSegment(ctx context.Context, space string, g RestoredSegment) (err error) {
	defer func() { err = s.fail("restore", space, g.Segment, err) }()
	at, err := s.place(space, g.Segment)
	if err != nil {
		return err
	}
	fields, fork, err := restoredFields(g)
	if err != nil {
		return err
	}
	keys, member, due := []any{at.inventory(), at.deadlines(), at.meta(at.segment)}, "", ""
	if fork != nil {
		keys = append(keys, at.forks(fork.segment, fork.incarnation))
		member = at.segment + " " + hex16(g.Incarnation) + " " + strconv.FormatUint(fork.limit, 10)
	}
	switch {
	case g.Unread:
		due = "0 r" + at.segment
	case !g.Deleted && fields["d"] != "":
		due = fields["d"] + " t" + at.segment
	}
	// In parts, because there may be any number of rows of producers. The segment exists with the head, which is last.
	pairs := make([]any, 0, 2*len(fields))
	for name, value := range fields {
		if name != "h" {
			pairs = append(pairs, name, value)
		}
	}
	for part := range slices.Chunk(append(pairs, "h", fields["h"]), restoreArgs) {
		answer, err := s.log.run(ctx, s.log.restore, len(keys), slices.Concat(keys, []any{hex16(g.Incarnation), due, member}, part)...)
		if err == nil && answer != "+" {
			err = fmt.Errorf("%w: it exists with another incarnation", streamhub.ErrConflict)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restoredFields returns the meta of a segment that continues after its last archived entry, and its parent if it is a
// fork.
func restoredFields(g RestoredSegment) (fields map[string]string, fork *parentRef, err error) {
	if fields, err = decodeMeta(g.Meta); err != nil {
		return nil, nil, err
	}
	h, err := parseHead(fields["h"])
	if err != nil || h.incarnation != g.Incarnation {
		return nil, nil, fmt.Errorf("%w: the meta of another incarnation", streamhub.ErrCorrupt)
	}
	if fork, err = parseParent(fields["p"]); err != nil {
		return nil, nil, err
	}
	first, _, before, err := parseFirst(fields["a"])
	if err != nil {
		return nil, nil, err
	}
	born := uint64(0)
	if fork != nil {
		born = fork.limit // its own entries begin after it
	}
	if last := max(g.Last, born); first > last+1 {
		g.Last, g.Proof, g.Number = first-1, before, 0 // what came after the last archived entry was trimmed
	}
	g.endIn(&h, born, fields["b"])
	head := h.appendTo(nil)
	if h.timed {
		head[timedAt] = 't'
	}
	fields["h"] = string(strconv.AppendInt(head, h.timestamp, 10))
	if h.state == stateEmpty {
		delete(fields, "s")
	}
	if first == 0 || first > g.Last {
		delete(fields, "a") // nothing is left to be read
	}
	if g.Last > 0 {
		fields["f"] = strconv.FormatUint(g.Last+1, 10) + " 0 " + string(appendProof(nil, g.Proof))
		fields["z"] = strconv.FormatUint(g.Last, 10)
	}
	for name, value := range fields {
		if strings.HasPrefix(name, "p:") && !within(value, h.last) {
			delete(fields, name)
		}
	}
	return fields, fork, nil
}

// endIn makes h the head after the last archived entry, in the state that is archived. born is the sequence before the
// first entry of the segment's own, birth the place of its first change.
func (g *RestoredSegment) endIn(h *head, born uint64, birth string) {
	if g.Last == 0 && h.last == born {
		// The meta says what the first append continues, also where the parent was trimmed or closed.
		g.Number, g.Proof = h.number, h.proof
	}
	switch {
	case g.Deleted:
		h.state = stateDeleted
	case g.Closed:
		h.state = stateClosed
	default:
		h.state = stateEmpty
	}
	if h.last, h.proof = g.Last, g.Proof; g.Last == 0 {
		h.last = born
	}
	switch {
	case g.Closed: // nothing comes after a close, so what the meta says of its last append is archived too
	case g.Last == 0:
		h.number = g.Number
		if at, err := parseTimelineID(birth); err == nil {
			h.timestamp = int64(at.MS)
		}
	case g.Number > 0:
		h.number, h.timestamp = g.Number, g.Timestamp
	}
}

// restoreArgs is about how many arguments one run of the restore script gets.
const restoreArgs = 2048

// within reports whether the append that the row of a producer remembers ends at or before last. One
// that was lost must not be remembered.
func within(row string, last uint64) bool {
	end, ok := rowLast(row)
	return ok && end <= last
}

// rowLast returns the last sequence of the append that the row of a producer remembers.
func rowLast(row string) (last uint64, ok bool) {
	if len(row) < rowNumbersAt {
		return 0, false
	}
	var epoch, seq, first uint64
	return last, parseNumbers(row[rowNumbersAt:], &epoch, &seq, &first, &last) == nil
}

// rowTime is when the append that the row of a producer remembers was stored, in Unix milliseconds.
func rowTime(row string) int64 {
	at, _ := strconv.ParseInt(row[strings.LastIndexByte(row, ' ')+1:], 10, 64)
	return at
}

// restoredOwner is who owns the archive of a space from its restore until an archiver claims it; see lua/resume.lua.
const restoredOwner = "0 restored"

// Restorable is nil if a space may be restored: Redis has no timeline of it, or the one that a restore has written
// and that has not changed since. Otherwise it is [streamhub.ErrConflict].
func (s *Store) Restorable(ctx context.Context, space string) (err error) {
	defer func() { err = s.fail("restore", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil {
		return err
	}
	k := keysOf(s.id, space)
	pipe := s.log.conn.Pipeline()
	last, archived := pipe.XRevRangeN(ctx, k.timeline(), "+", "-", 1), pipe.HGet(ctx, k.state(), "a")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return redisx.ReadOutcome(err)
	}
	if end := last.Val(); len(end) > 0 && archived.Val() != end[0].ID+" "+restoredOwner {
		return fmt.Errorf("%w: the space is not empty: only a space that Redis has lost can be restored", streamhub.ErrConflict)
	}
	return nil
}

// RestoreSpace writes the timeline of a space whose segments were restored, so that it continues after its archived
// part. last has the changes at the last archived place, meta the state of the space from the last window, if any, and
// start is the first archived place. It may be repeated. The error is [streamhub.ErrConflict] if the space has another
// timeline.
func (s *Store) RestoreSpace(ctx context.Context, space string, start streamhub.TimelineID, meta []byte, last []archive.Change) (err error) {
	defer func() { err = s.fail("restore", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil || len(last) == 0 {
		return err
	}
	k := keysOf(s.id, space)
	if err := s.log.registerSpaces(ctx, []spaceKeys{k}); err != nil {
		return err
	}
	fields, err := spaceFieldsOf(meta, last[0].ID)
	if err != nil {
		return err
	}
	if fields["s"] == "" {
		fields["s"] = start.String()
	}
	args := []any{k.timeline(), k.state(), last[0].ID.String(), len(fields)}
	for name, value := range fields {
		args = append(args, name, value)
	}
	for i := range last {
		c := &last[i]
		args = append(args, redisx.Escape(c.Segment), reference(c))
	}
	answer, err := s.log.run(ctx, s.log.resume, 2, args...)
	if err == nil && answer != "+" {
		err = fmt.Errorf("%w: the space is not empty", streamhub.ErrConflict)
	}
	return err
}

// spaceFieldsOf decodes the result of describeSpace, adapted to a timeline that ends at end: reigns that began later
// begin there.
func spaceFieldsOf(meta []byte, end streamhub.TimelineID) (map[string]string, error) {
	if len(meta) == 0 {
		return map[string]string{}, nil
	}
	fields, ok := decodeFields(meta)
	if !ok {
		return nil, fmt.Errorf("%w: an archived meta of a space of %d bytes", streamhub.ErrCorrupt, len(meta))
	}
	var reigns []string
	for _, pair := range strings.Fields(fields["g"]) {
		lineage, after, _ := strings.Cut(pair, ":")
		if id, err := parseTimelineID(after); err == nil && end.Before(id) {
			pair = lineage + ":" + end.String()
		}
		reigns = append(reigns, pair)
	}
	if fields["g"] = strings.Join(reigns, " "); len(reigns) == 0 {
		delete(fields, "g")
	}
	return fields, nil
}

// reference is the inverse of parseChange.
func reference(c *archive.Change) string {
	ref := strconv.FormatUint(c.Last, 10)
	if changeKind(c.Kind) != changeAppend {
		ref = string(rune(c.Kind)) + ref
	}
	if usual := changeKind(c.Kind) == changeAppend && c.Records == 1 || changeKind(c.Kind) != changeAppend && c.Records == 0; !usual {
		ref += ":" + strconv.FormatUint(c.Records, 10)
	}
	return ref
}

package hotlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// The states of a segment; see lua/head.lua.
const (
	stateEmpty     = 'e'
	stateOpen      = 'o'
	stateClosed    = 'c'
	stateDeleted   = 'd'
	stateTombstone = 'x'
)

// A head is the part of a segment's meta that every append reads and writes: field h, see the
// constants below.
type head struct {
	incarnation uint64
	proof       uint64 // of the last entry
	lineage     uint64 // of the last append
	state       byte
	// timed says that the segment has a deadline, which is field d of the meta.
	timed      bool
	last       uint64
	number     uint64 // TRX number of the last append
	generation uint64
	// timestamp is that of the last append, in Unix milliseconds.
	timestamp int64
}

// headLayout is the version of the layout, the first byte of a head. A program refuses a version that
// it does not know instead of guessing.
const headLayout = '1'

// Where the parts of a head begin; each ends where the next one begins. The scripts have the same names for them: see
// numbers.
const (
	layoutAt      = 0
	incarnationAt = 1  // 16 hex digits
	proofAt       = 17 // 8 bytes
	lineageAt     = 25 // 16 hex digits
	stateAt       = 41
	timedAt       = 42 // t or -
	numbersAt     = 43 // "<last> <number> <generation> <timestamp>"
)

// The row of a producer is the id of its last append, the digest of its records, and
// "<epoch> <seq> <first> <last> <number> <timestamp>".
const (
	rowDigestAt  = 16
	rowNumbersAt = 24
)

// parseHead reads field h of a meta. Anything unexpected is [streamhub.ErrCorrupt].
func parseHead(s string) (h head, err error) {
	if len(s) < numbersAt {
		return h, fmt.Errorf("%w: a head of %d bytes", streamhub.ErrCorrupt, len(s))
	}
	if s[layoutAt] != headLayout {
		return h, fmt.Errorf("%w: layout version %q, this program knows %c", streamhub.ErrCorrupt, s[layoutAt], headLayout)
	}
	h.proof = binary.BigEndian.Uint64([]byte(s[proofAt:lineageAt]))
	h.state, h.timed = s[stateAt], s[timedAt] == 't'
	if h.incarnation, err = parseHex16(s[incarnationAt:proofAt]); err == nil {
		if h.lineage, err = parseHex16(s[lineageAt:stateAt]); err == nil {
			err = parseNumbers(s[numbersAt:], &h.last, &h.number, &h.generation, &h.timestamp)
		}
	}
	if err != nil {
		return h, fmt.Errorf("%w: head %q", streamhub.ErrCorrupt, s)
	}
	return h, nil
}

// parseNumbers reads decimals that are separated by single spaces into *uint64 and *int64.
func parseNumbers(s string, into ...any) error {
	for _, p := range into {
		field, rest, _ := strings.Cut(s, " ")
		v, err := strconv.ParseUint(field, 10, 63)
		if err != nil {
			return err
		}
		switch p := p.(type) {
		case *uint64:
			*p = v
		case *int64:
			*p = int64(v)
		}
		s = rest
	}
	return nil
}

// A meta is the decoded state of a segment, from one HMGET of its hash.
type meta struct {
	head
	exists bool
	// first is the first kept sequence in the segment's own log, 0 if it never had an entry.
	first          uint64
	firstTimestamp int64
	trimProof      uint64 // of the entry before first, if entries were trimmed
	// hot is the first sequence that is in Redis; what lies before it, from first on, is archived.
	hot          uint64
	hotTimestamp int64
	hotProof     uint64 // of the entry before hot
	// lineages is newest first.
	lineages      []reign
	verdict       *streamhub.Verdict
	deadline, ttl int64 // milliseconds
	contentType   string
	// birth is the place of the segment's first change. Changes before it are of an earlier
	// incarnation.
	birth  streamhub.TimelineID
	parent *parentRef
	origin string
}

// A reign is one lineage and the first sequence that was stored in it.
type reign struct {
	lineage, first uint64
}

// A parentRef is what a fork continues: the entries of parent up to limit.
type parentRef struct {
	segment     string // escaped
	incarnation uint64
	limit       uint64
}

// metaFields are read together; parseMeta takes them in this order.
var metaFields = []any{"h", "l", "f", "s", "d", "w", "c", "b", "p", "o", "a"}

// parseMeta reads the values of metaFields. No head means that there is no segment: exists is false.
func parseMeta(values []any) (m meta, err error) {
	text := func(i int) string { s, _ := values[i].(string); return s }
	if len(values) != len(metaFields) {
		return m, fmt.Errorf("%w: %d fields of meta", streamhub.ErrCorrupt, len(values))
	}
	if text(0) == "" {
		return m, nil
	}
	m.exists = true
	if m.head, err = parseHead(text(0)); err != nil {
		return m, err
	}
	for _, pair := range strings.Fields(text(1)) {
		id, first, _ := strings.Cut(pair, ":")
		var r reign
		if r.lineage, err = parseHex16(id); err != nil {
			break // the list was cut to its length in the middle of a pair
		}
		if r.first, err = strconv.ParseUint(first, 10, 63); err != nil {
			break
		}
		m.lineages = append(m.lineages, r)
	}
	if m.first, m.firstTimestamp, m.trimProof, err = parseFirst(text(2)); err != nil {
		return m, err
	}
	// Without an archive field f says both: what is kept, and what is in Redis. With one, field a
	// says what is kept.
	m.hot, m.hotTimestamp, m.hotProof = m.first, m.firstTimestamp, m.trimProof
	if s := text(10); s != "" {
		if m.first, m.firstTimestamp, m.trimProof, err = parseFirst(s); err != nil {
			return m, err
		}
	}
	if s := text(3); s != "" {
		if m.verdict, err = parseVerdict(s); err != nil {
			return m, err
		}
	}
	for i, p := range map[int]*int64{4: &m.deadline, 5: &m.ttl} {
		if s := text(i); s != "" {
			if *p, err = strconv.ParseInt(s, 10, 64); err != nil {
				return m, fmt.Errorf("%w: deadline %q", streamhub.ErrCorrupt, s)
			}
		}
	}
	m.contentType = text(6)
	if s := text(7); s != "" {
		if m.birth, err = parseTimelineID(s); err != nil {
			return m, err
		}
	}
	if m.parent, err = parseParent(text(8)); err != nil {
		return m, err
	}
	m.origin = text(9)
	return m, nil
}

// parseParent reads "<segment> <incarnation> <limit>"; nil is no parent.
func parseParent(s string) (p *parentRef, err error) {
	if s == "" {
		return nil, nil
	}
	f := strings.Fields(s)
	if len(f) == 3 {
		p = &parentRef{segment: f[0]}
		if p.incarnation, err = parseHex16(f[1]); err == nil {
			p.limit, err = strconv.ParseUint(f[2], 10, 63)
		}
	}
	if p == nil || err != nil {
		return nil, fmt.Errorf("%w: parent %q", streamhub.ErrCorrupt, s)
	}
	return p, nil
}

// parseFirst reads "<first sequence> <timestamp> <proof of the one before>".
func parseFirst(s string) (first uint64, timestamp int64, proof uint64, err error) {
	if s == "" {
		return 0, 0, 0, nil
	}
	numbers, last, trimmed := cutN(s, ' ', 2)
	if err := parseNumbers(numbers, &first, &timestamp); err != nil {
		return 0, 0, 0, fmt.Errorf("%w: first entry %q", streamhub.ErrCorrupt, s)
	}
	if trimmed && len(last) == 8 {
		proof = binary.BigEndian.Uint64([]byte(last))
	}
	return first, timestamp, proof, nil
}

// cutN cuts s after the nth sep.
func cutN(s string, sep byte, n int) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == sep {
			if n--; n == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return s, "", false
}

func parseVerdict(s string) (*streamhub.Verdict, error) {
	v := new(streamhub.Verdict)
	if err := json.Unmarshal([]byte(s), v); err != nil {
		return nil, fmt.Errorf("%w: verdict: %w", streamhub.ErrCorrupt, err)
	}
	return v, nil
}

// gone reports whether the segment does not exist for callers; forks may still read its entries.
func (m *meta) gone() bool { return m.erased() || m.held() }

// held reports whether the segment was deleted and forks read its entries.
func (m *meta) held() bool { return m.exists && m.state == stateDeleted }

// erased reports whether nothing is left of the segment.
func (m *meta) erased() bool { return !m.exists || m.state == stateTombstone }

// position of the last entry.
func (m *meta) position() streamhub.Position {
	return streamhub.Position{Incarnation: m.incarnation, Lineage: m.lineage, Sequence: m.last, Proof: m.proof}
}

// lineageAt returns the lineage in which the entry at sequence was stored. For entries older than the list it is the
// oldest known.
func (m *meta) lineageAt(sequence uint64) uint64 {
	for _, r := range m.lineages { // newest first
		if r.first <= sequence {
			return r.lineage
		}
	}
	if n := len(m.lineages); n > 0 {
		return m.lineages[n-1].lineage
	}
	return m.lineage
}

// listFull is how many reigns the list holds at least when it is full: then the oldest are
// forgotten and an unknown lineage says nothing.
const listFull = 2048 / (16 + 1 + 16 + 1)

// lost compares a position with the current segment. It returns the first sequence up to p that was replaced or lost,
// or 0. A later lineage that began at a sequence up to that of p has replaced entries before p. sure is false if the
// list of lineages is full and no longer holds that of p: then only the proof can tell.
func (m *meta) lost(p streamhub.Position) (first uint64, sure bool) {
	if p.Incarnation != m.incarnation {
		return 1, true
	}
	known := m.reigned(p.Lineage)
	sure = known >= 0 || len(m.lineages) < listFull
	if known < 0 {
		known = len(m.lineages)
	}
	for _, r := range slices.Backward(m.lineages[:known]) { // the earliest of the later ones first
		if r.first <= p.Sequence {
			return r.first, sure
		}
	}
	if p.Sequence > m.last {
		return m.last + 1, true
	}
	return 0, true
}

// reigned returns the index of a lineage in the list, or -1. The list is newest first.
func (m *meta) reigned(lineage uint64) int {
	return slices.IndexFunc(m.lineages, func(r reign) bool { return r.lineage == lineage })
}

// status is the status of a segment without its parents; see Store.statusOf for forks.
func (m *meta) status(space, segment string) streamhub.Status {
	s := streamhub.Status{
		Space: space, Segment: segment,
		FirstSequence: m.first, FirstTimestamp: millis.Time(m.firstTimestamp),
		LastSequence: m.last, LastTimestamp: millis.Time(m.timestamp),
		State: streamhub.StateOpen, Verdict: m.verdict, Generation: m.generation,
		ContentType: m.contentType, TTL: time.Duration(m.ttl) * time.Millisecond, ExpiresAt: millis.Time(m.deadline),
		Origin: m.origin, Position: m.position(),
	}
	switch m.state {
	case stateClosed:
		s.State = streamhub.StateClosed
	case stateDeleted, stateTombstone:
		s.State = streamhub.StateDeleted
	}
	if m.parent != nil {
		s.Parent, _ = redisx.Unescape(m.parent.segment)
		s.ForkedAt = m.parent.limit
	}
	proof := m.trimProof
	if s.FirstSequence == 0 && s.LastSequence > 0 {
		s.FirstSequence, proof = s.LastSequence+1, m.proof
	}
	s.Kept = before(&s, proof)
	return s
}

// before is the position before the first entry that a segment keeps.
func before(s *streamhub.Status, proof uint64) streamhub.Position {
	if s.FirstSequence < 2 {
		return streamhub.Position{}
	}
	p := s.Position
	p.Sequence, p.Proof = s.FirstSequence-1, proof
	return p
}

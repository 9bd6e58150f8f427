package model

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Model is what a store must be. It is not safe for concurrent use.
type Model struct {
	// Now is the clock of Redis in Unix milliseconds.
	Now int64

	// remote says that programs are clients of gateways. A client knows of a segment what was
	// acknowledged to it, and nothing by a refusal or a creation.
	remote bool
	off    map[Rule]bool
	server *server
	names  uint64 // counts the incarnations, TRX ids and changes that were given out
	procs  map[int]*process
	// past is what the positions that were given out stand for, by cursor.
	past   map[streamhub.Cursor]past
	copies copies
	// saw is the real answer to the call that the model is about to answer, where contracts leave
	// the choice to the store; nil where there is no answer yet.
	saw    *error
	sawAll []error
	// call is what the changes of the last AppendAll have together.
	call uint64
	// delivered is how many entries the real store gave before an error.
	delivered int
	// fates says what came of appends whose outcome is unknown, by their place in the call.
	fates map[int]fate
	// informed reports whether the reader along a space need not be told that an entry of a life was trimmed; nil is one that
	// has to be told of all.
	informed func(life, sequence uint64) bool
	// onlooker says that deadlines are noticed and end nothing, patient that they are not noticed.
	onlooker, patient bool
	// kept is the first sequence that the real store kept after a trim.
	kept uint64
}

// server is what Redis holds. Taking a copy is taking a backup.
type server struct {
	reign   uint64
	reigns  uint64 // how many there were, in any history
	spaces  map[string]*space
	trims   map[uint64]uint64 // what was kept first, by life
	rights  rights
	streams streams
}

type space struct {
	segments map[string]*life // the current one of each name, tombstones too
	line     []*change
	end      streamhub.TimelineID // of what is archived, as far as Redis knows
}

// A life is one incarnation of a segment.
type life struct {
	id      uint64
	entries []*entry // 1, 2, 3, …; with those that were trimmed and those that a fork shares
	first   uint64   // the first sequence that is kept
	own     uint64   // the first sequence of its own that is kept, 0 if it never had one
	number  uint64   // of the last append

	closed      *streamhub.Verdict
	ended       *streamhub.Verdict // it was deleted, or has expired
	endedAt     int64
	generation  uint64
	timestamp   int64
	reign       uint64 // of the last append
	reigns      []uint64
	contentType string
	streamSeq   string
	origin      string
	ttl         int64
	deadline    int64
	parent      string
	parentLife  uint64
	forkedAt    uint64
	forks       map[uint64]uint64 // its forks and the last sequence that each shares
	rows        map[string]row    // of named producers
	born        int               // how long the timeline was
	before      []uint64          // lives that were deleted before it, the last one first
	source      *forked           // of a fork over HTTP
}

// An entry is never changed. prev is the one that its writer found before it.
type entry struct {
	prev      *entry
	sequence  uint64
	timestamp int64
	trx       uuid.UUID
	number    uint64
	record    streamhub.Record
	reign     uint64
	ends      bool // it is the last one of an append
	joined    bool // the append may share its frame with the next one
}

// A row is what a segment remembers of a producer.
type row struct {
	epoch, seq uint64
	digest     string
	result     streamhub.AppendResult
}

// A change is one step of the timeline of a space.
type change struct {
	id          uint64
	segment     string
	life        uint64
	first, last uint64 // records, none if first > last
	timestamp   int64
	together    uint64 // changes that came with one call have no order among segments
}

// A process is what one hub remembers.
type process struct {
	tails map[[2]string]*tail
}

// A tail is what a process knows of the end of a segment.
type tail struct {
	life uint64 // 0 if none was seen
	// at is after what was acknowledged last in this life to a producer, "" for the process itself.
	at     map[string]past
	answer map[uuid.UUID]remembered
	// vague says that an answer was lost, so that what the process has seen is unknown.
	vague bool
	// maybe are the writers that the lost answer may have told of a loss.
	maybe map[string]bool
	// Of the append under way: stray says that it names another incarnation than the one that its
	// client knows, blind that it is not compared with what the process knows.
	stray, blind bool
}

type remembered struct {
	digest string
	result streamhub.AppendResult
	at     *entry // for one that was not acknowledged: it counts while this is there
}

// fate is what came of an append.
type fate int

const (
	told    fate = iota // its caller knows
	stored              // though its caller does not know
	nowhere             // it was not made, and its caller does not know
)

// past is what a cursor stands for: the entry after which it lies, and along a space the change.
type past struct {
	life     uint64
	sequence uint64
	reign    uint64
	at       *entry
	change   uint64
	space    string // of the change
	trimmed  uint64 // the reader was told of what was trimmed up to this change
}

// New makes an empty model without some of the rules.
func New(off ...Rule) *Model {
	m := &Model{off: map[Rule]bool{}, procs: map[int]*process{}, past: map[streamhub.Cursor]past{}, copies: copies{}}
	for _, rule := range off {
		m.off[rule] = true
	}
	m.server = &server{reign: 1, reigns: 1, spaces: map[string]*space{}, trims: map[uint64]uint64{}, rights: newRights()}
	return m
}

func (s *server) clone() *server {
	c := &server{reign: s.reign, reigns: s.reigns, spaces: map[string]*space{}, trims: maps.Clone(s.trims)}
	c.streams = s.streams.clone()
	c.rights = rights{maps.Clone(s.rights.held), maps.Clone(s.rights.token)}
	for name, sp := range s.spaces {
		c.spaces[name] = sp.clone()
	}
	return c
}

func (sp *space) clone() *space {
	own := &space{segments: map[string]*life{}, line: slices.Clone(sp.line), end: sp.end}
	for segment, l := range sp.segments {
		copied := *l
		copied.entries = slices.Clone(l.entries)
		copied.reigns = slices.Clone(l.reigns)
		copied.forks, copied.rows = maps.Clone(l.forks), maps.Clone(l.rows)
		own.segments[segment] = &copied
	}
	return own
}

// Save returns a copy of what Redis holds, Rewind puts it back: what was written since is lost, while
// processes and cursors remember it. Redis has begun another lineage.
func (m *Model) Save() any { return m.server.clone() }

// Rewind: see Save.
func (m *Model) Rewind(saved any) {
	reigns := m.server.reigns
	m.server = saved.(*server).clone()
	m.server.reigns = reigns
	m.Promote()
}

// Promote begins another lineage and loses nothing.
func (m *Model) Promote() {
	m.server.reigns++
	m.server.reign = m.server.reigns
}

func (m *Model) name() uint64 { m.names++; return m.names }

func (m *Model) trx() uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], m.name())
	return id
}

func proofOf(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

func (m *Model) space(name string) *space {
	sp := m.server.spaces[name]
	if sp == nil {
		sp = &space{segments: map[string]*life{}}
	}
	return sp
}

func (m *Model) process(i int) *process {
	if m.procs[i] == nil {
		m.procs[i] = &process{tails: map[[2]string]*tail{}}
	}
	return m.procs[i]
}

func (p *process) tail(space, segment string) *tail {
	key := [2]string{space, segment}
	if p.tails[key] == nil {
		p.tails[key] = newTail()
	}
	return p.tails[key]
}

func newTail() *tail {
	return &tail{maybe: map[string]bool{}, at: map[string]past{}, answer: map[uuid.UUID]remembered{}}
}

// forget lets the process start again with a segment. A client still knows which of its appends have an unknown outcome.
func (m *Model) forget(t *tail) {
	own := newTail()
	for id, was := range t.answer {
		if m.remote && was.at != nil {
			own.answer[id] = was
		}
	}
	*t = *own
}

// tombstone is how long a deleted segment is known as one.
const tombstone = 24 * 60 * 60 * 1000

// find returns the current life of a segment, its tombstone, or nil. One whose deadline has passed is
// still there until an operation meets it.
func (m *Model) find(spaceName, segment string) *life {
	sp := m.space(spaceName)
	l := sp.segments[segment]
	if l != nil && l.ended != nil && len(l.forks) == 0 && m.Now >= l.endedAt+tombstone {
		delete(sp.segments, segment)
		return nil
	}
	return l
}

// look is find for an operation that notices deadlines.
func (m *Model) look(spaceName, segment string) *life {
	l := m.find(spaceName, segment)
	if l != nil && m.due(l) {
		if m.onlooker {
			over := *l
			over.ended = &streamhub.Verdict{Kind: streamhub.VerdictExpired}
			return &over
		}
		m.end(spaceName, segment, l, streamhub.Verdict{Kind: streamhub.VerdictExpired})
	}
	return l
}

func (m *Model) due(l *life) bool {
	return !m.patient && l.ended == nil && l.deadline > 0 && m.Now >= l.deadline && m.keeps(RuleExpires)
}

func (l *life) last() uint64 { return uint64(len(l.entries)) }

// tip is the last entry, nil if there never was one.
func (l *life) tip() *entry {
	if len(l.entries) == 0 {
		return nil
	}
	return l.entries[len(l.entries)-1]
}

func (l *life) at(sequence uint64) *entry {
	if sequence == 0 || sequence > l.last() {
		return nil
	}
	return l.entries[sequence-1]
}

// held says that its forks still read it.
func (l *life) held() bool { return l.ended != nil && len(l.forks) > 0 }

// position of the life after sequence.
func (m *Model) position(l *life, sequence, reign uint64) streamhub.Position {
	p := streamhub.Position{Incarnation: l.id, Lineage: reign, Sequence: sequence}
	e := l.at(sequence)
	if e != nil {
		p.Proof = proofOf(e.trx)
	}
	m.past[p.Cursor()] = past{life: l.id, sequence: sequence, reign: reign, at: e}
	return p
}

// record notes a change in the timeline of a space.
func (m *Model) record(name, segment string, l *life, first, last, together uint64) {
	sp := m.space(name)
	m.server.spaces[name] = sp
	sp.line = append(sp.line, &change{m.name(), segment, l.id, first, last, m.Now, together})
}

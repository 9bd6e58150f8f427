package model

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// batch is what the appends of one call share.
type batch struct {
	id   uint64
	fate fate                // of the append that is made
	rest map[[2]string]error // what waits after an append to another incarnation
	// vague are segments with an append whose outcome is unknown.
	vague map[[2]string]bool
	life  map[[2]string]uint64 // what the process had seen before the call
}

func (m *Model) batch() *batch {
	return &batch{id: m.name(), rest: map[[2]string]error{}, vague: map[[2]string]bool{}, life: map[[2]string]uint64{}}
}

// Append is the answer to an append by process p.
func (m *Model) Append(p int, space, segment string, records []streamhub.Record, o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	b := m.batch()
	b.fate = m.fates[0]
	return m.append(p, space, segment, records, o, b)
}

// AppendAll is the answer to several appends in one call.
func (m *Model) AppendAll(p int, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	results, errs := make([]streamhub.AppendResult, len(appends)), make([]error, len(appends))
	b := m.batch()
	m.call = b.id
	order := make([]int, len(appends))
	for i := range order {
		order[i] = i
	}
	if !m.keeps(RuleBatchOrder) {
		slices.Reverse(order)
	}
	for _, i := range order {
		a := appends[i]
		if m.sawAll != nil {
			m.saw = &m.sawAll[i]
		}
		b.fate = m.fates[i]
		results[i], errs[i] = m.append(p, a.Space, a.Segment, a.Records, a.Options, b)
	}
	return results, errs
}

// CloseSegment is the answer to a close by process p.
func (m *Model) CloseSegment(p int, space, segment string, v streamhub.Verdict, o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	own := streamhub.AppendOptions{}
	if o != nil {
		own = *o
	}
	own.Close, own.MustExist = &v, true
	return m.Append(p, space, segment, nil, &own)
}

func (m *Model) append(p int, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions, b *batch) (streamhub.AppendResult, error) {
	var o streamhub.AppendOptions
	if options != nil {
		o = *options
	}
	none := streamhub.AppendResult{}
	if len(records) == 0 && o.Close == nil || o.Close != nil && !m.known(o.Close.Kind) {
		return none, streamhub.ErrInvalidArgument
	}
	t := m.process(p).tail(space, segment)
	digest := digestOf(records)
	key := [2]string{space, segment}
	if b.fate != told {
		for w := range t.at {
			t.maybe[w] = true
		}
	}
	if b.fate == nowhere {
		t.vague, b.vague[key] = true, true
		return none, streamhub.ErrUnknownOutcome
	}
	was, ok := t.answer[o.TRX]
	if l := m.find(space, segment); ok && was.at != nil && (l == nil || l.at(was.at.sequence) != was.at) {
		ok = false // no answer says that it was ever there
	}
	if ok && o.Producer == nil && m.keeps(RuleTRX) {
		if was.digest != digest && m.keeps(RuleMismatch) {
			return none, streamhub.ErrBatchMismatch
		}
		if m.remote {
			was.at = nil
			t.answer[o.TRX] = was
		}
		was.result.Repeated = true
		return was.result, nil
	}
	if b.vague[key] && m.saw != nil && (errors.Is(*m.saw, streamhub.ErrHistoryLost) || errors.Is(*m.saw, streamhub.ErrNotFound)) {
		return none, *m.saw // the one before it was told so, as far as is known
	}
	if _, ok := b.life[key]; !ok {
		b.life[key] = t.life
	}
	t.stray = m.remote && o.Incarnation != 0 && o.Incarnation != b.life[key]
	// A client may learn from its gateway that the append contradicts its producer's row.
	contradicts := m.remote && m.saw != nil && errors.Is(*m.saw, streamhub.ErrBatchMismatch)
	if err := b.rest[key]; err != nil && !t.stray && !contradicts && m.keeps(RuleBatchRest) {
		return none, err
	}
	vague := t.vague
	t.blind = t.stray || m.passes(t, m.find(space, segment))
	l, err := m.meant(t, space, segment, &o, digest)
	if err != nil {
		b.vague[key] = b.vague[key] || vague
		if other := (*anotherLife)(nil); errors.As(err, &other) {
			m.forget(t)
			b.rest[key] = other.error
			return none, other.error
		}
		return none, err
	}
	if l == nil && o.MustExist && m.keeps(RuleMustExist) {
		return none, streamhub.ErrNotFound
	}
	if o.CheckOnly && m.keeps(RuleCheckOnly) {
		// The checks are made on a copy.
		saved, was := m.server.clone(), *t
		t.at, t.answer, t.maybe = maps.Clone(t.at), maps.Clone(t.answer), maps.Clone(t.maybe)
		r, err := m.checked(t, space, segment, l, records, &o, digest, b)
		if m.server = saved; err == nil || t.life != 0 {
			*t = was
		}
		if err == nil && !r.Repeated {
			r = streamhub.AppendResult{First: r.First, Last: r.Last, Created: r.Created}
		}
		return r, err
	}
	return m.checked(t, space, segment, l, records, &o, digest, b)
}

// passes reports whether an append goes on in the life that is there, or begins one, though the process
// has seen another one that was deleted on purpose. A client of a gateway is told of that only while
// there is nothing else, unless its append names the incarnation.
func (m *Model) passes(t *tail, l *life) bool {
	return m.remote && l != nil && slices.Contains(l.before, t.life)
}

// anotherLife is the error of an append to a life that is over. What waits after it gets it too.
type anotherLife struct{ error }

// meant finds the life that an append is for; nil if it begins one. A process that has seen one means
// that one, and is told once that it is over.
func (m *Model) meant(t *tail, space, segment string, o *streamhub.AppendOptions, digest string) (*life, error) {
	if t.vague && !t.stray && m.saw != nil {
		var deleted *streamhub.DeletedError
		seen := errors.Is(*m.saw, streamhub.ErrHistoryLost) || errors.As(*m.saw, &deleted)
		if l := m.find(space, segment); seen && t.life == 0 && l != nil {
			t.life = l.id
		} else if !seen && (l == nil || l.id != t.life || l.ended != nil || m.due(l)) {
			m.forget(t)
		}
	}
	if t.life != 0 && o.Incarnation != 0 && o.Incarnation != t.life && m.keeps(RuleLife) && !m.remote {
		return nil, &streamhub.HistoryLostError{FirstLost: 1}
	}
	l := m.find(space, segment)
	if t.life != 0 && !t.blind && m.keeps(RuleTold) {
		switch {
		case l == nil || l.id != t.life:
			return nil, &anotherLife{&streamhub.HistoryLostError{FirstLost: 1}}
		case l.ended == nil && m.due(l) && !l.repeats(o, digest):
			m.look(space, segment)
		}
		if l.ended != nil {
			return nil, &anotherLife{&streamhub.DeletedError{Verdict: *l.ended, Held: l.held()}}
		}
		return l, nil
	}
	if l != nil && (l.ended == nil || l.held()) && o.Incarnation != 0 && o.Incarnation != l.id && m.keeps(RuleLife) {
		if m.remote && !t.stray {
			m.forget(t)
		}
		return nil, &streamhub.HistoryLostError{FirstLost: 1}
	}
	if l != nil && m.due(l) && !l.repeats(o, digest) {
		l = m.look(space, segment)
	}
	if l != nil && l.held() {
		return nil, &anotherLife{&streamhub.DeletedError{Verdict: *l.ended, Held: true}}
	}
	if l == nil || l.ended != nil {
		if o.Incarnation != 0 && m.keeps(RuleLife) {
			return nil, streamhub.ErrNotFound
		}
		return nil, nil
	}
	if !m.remote {
		t.life = l.id
	}
	return l, nil
}

// repeats reports whether the append is the one that its producer made last.
func (l *life) repeats(o *streamhub.AppendOptions, digest string) bool {
	if o.Producer == nil {
		return false
	}
	r, ok := l.rows[o.Producer.ID]
	return ok && r.epoch == o.Producer.Epoch && r.seq == o.Producer.Seq
}

// hasMade reports whether a producer has made this append or a later one.
func (l *life) hasMade(p *streamhub.Producer) bool {
	if p == nil {
		return false
	}
	r, ok := l.rows[p.ID]
	return ok && (r.epoch > p.Epoch || r.epoch == p.Epoch && r.seq >= p.Seq)
}

// checked makes the checks in their order and stores the records.
func (m *Model) checked(t *tail, space, segment string, l *life, records []streamhub.Record, o *streamhub.AppendOptions, digest string, b *batch) (streamhub.AppendResult, error) {
	none := streamhub.AppendResult{}
	created := l == nil
	if created {
		l = m.born(space)
	}
	var mine *row
	if o.Producer != nil {
		if r, ok := l.rows[o.Producer.ID]; ok {
			mine = &r
		}
	}
	if mine != nil && l.repeats(o, digest) && m.keeps(RuleRepeat) && (m.keeps(RuleRepeatFirst) || l.closed == nil) {
		if mine.digest != digest && m.keeps(RuleMismatch) {
			return none, &streamhub.ProducerError{Kind: streamhub.ErrBatchMismatch, Epoch: mine.epoch, ExpectedSeq: mine.seq + 1}
		}
		r := mine.result
		r.Repeated, r.Created, r.Closed, r.Generation = true, false, l.closed != nil, l.generation
		r.Position = m.position(l, r.Last, l.reign)
		if t.life == 0 { // a client has learned of the life by this answer
			t.life = l.id
		}
		return r, nil
	}
	lost := m.forgotten(t, l, o.Producer)
	if lost != nil && (m.saw == nil || errors.Is(*m.saw, streamhub.ErrHistoryLost)) {
		m.forget(t)
		b.rest[[2]string{space, segment}] = lost
		return none, lost
	}
	if l.closed != nil && m.keeps(RuleClosed) {
		return none, &streamhub.ClosedError{Verdict: *l.closed, LastSequence: l.last()}
	}
	if o.ContentType != "" && !created && normal(l.contentType) != normal(o.ContentType) && m.keeps(RuleContent) {
		return none, streamhub.ErrConflict
	}
	if o.Generation < l.generation && m.keeps(RuleFence) && (o.Generation != 0 || m.keeps(RuleFenceNone)) {
		return none, &streamhub.FencedError{Current: l.generation, Got: o.Generation}
	}
	if err := m.inTurn(mine, o.Producer); err != nil && (lost == nil || !errors.Is(err, streamhub.ErrProducerGap)) {
		return none, err
	}
	if lost != nil && !o.CheckOnly { // a definite refusal may come first, but nothing is stored
		m.forget(t)
		b.rest[[2]string{space, segment}] = lost
		return none, lost
	}
	if o.StreamSeq != "" && !created && l.streamSeq != "" && o.StreamSeq <= l.streamSeq && m.keeps(RuleStreamSeq) {
		return none, streamhub.ErrConflict
	}
	next := l.last() + 1
	if expect := expected(o, records); expect != 0 && expect != next && m.keeps(RuleExpected) {
		e := &streamhub.SequenceError{Expected: next, Got: expect}
		if !m.keeps(RuleExpectedValue) {
			e.Expected++
		}
		return none, e
	}
	if created {
		m.settle(space, segment, l)
		if o.ContentType != "" {
			l.contentType = o.ContentType
		}
	}
	if m.remote && t.life != l.id {
		t.answer = map[uuid.UUID]remembered{}
	}
	t.life = l.id
	return m.store(t, space, segment, l, created, records, o, digest, b), nil
}

// inTurn checks the sequence of a named producer, which has the row mine or none.
func (m *Model) inTurn(mine *row, p *streamhub.Producer) error {
	if p == nil {
		return nil
	}
	want, epoch := uint64(0), p.Epoch
	if mine != nil {
		epoch = mine.epoch
		switch {
		case p.Epoch < mine.epoch && m.keeps(RuleEpoch):
			return &streamhub.ProducerError{Kind: streamhub.ErrProducerFenced, Epoch: epoch, ExpectedSeq: mine.seq + 1}
		case p.Epoch == mine.epoch:
			want = mine.seq + 1
			if p.Seq < want && m.keeps(RuleOld) {
				return &streamhub.ProducerError{Kind: streamhub.ErrUnknownOutcome, Epoch: epoch, ExpectedSeq: want}
			}
		}
	}
	if p.Seq != want && m.keeps(RuleGap) {
		return &streamhub.ProducerError{Kind: streamhub.ErrProducerGap, Epoch: epoch, ExpectedSeq: want}
	}
	return nil
}

// forgotten is the error for a writer whose last acknowledged entry is not in l, nil if it is.
func (m *Model) forgotten(t *tail, l *life, p *streamhub.Producer) error {
	at, ok := t.at[""]
	if !ok || t.blind || !m.keeps(RuleToldLost) {
		return nil
	}
	if t.maybe[""] && m.saw != nil && !errors.Is(*m.saw, streamhub.ErrHistoryLost) {
		return nil // that was the answer that was lost
	}
	if first, _ := m.lost(at, l); first != 0 {
		return &lostFrom{first, false}
	}
	if m.saw == nil || !errors.Is(*m.saw, streamhub.ErrHistoryLost) {
		return nil
	}
	// The process may have learned of one whose caller does not know that it was stored.
	first := uint64(0)
	for _, was := range t.answer {
		if was.at != nil && l.at(was.at.sequence) != was.at && (first == 0 || was.at.sequence < first) {
			first = was.at.sequence
		}
	}
	if first != 0 {
		return &lostFrom{first, false}
	}
	return nil
}

// born makes a life that no process knows yet.
func (m *Model) born(space string) *life {
	l := &life{id: m.name(), first: 1, forks: map[uint64]uint64{}, rows: map[string]row{}}
	l.born = len(m.space(space).line)
	return l
}

// lives is how many lives that were deleted a segment remembers.
const lives = 16

// settle puts a life where its name is.
func (m *Model) settle(space, segment string, l *life) {
	if old := m.find(space, segment); old != nil {
		l.before = append([]uint64{old.id}, old.before...)
		l.before = l.before[:min(len(l.before), lives)]
	}
	sp := m.space(space)
	if old := sp.segments[segment]; old != nil && !m.keeps(RuleRecreate) {
		l.entries, l.own, l.first = old.entries, uint64(len(old.entries))+1, 1
	}
	m.server.spaces[space] = sp
	sp.segments[segment] = l
}

// store adds the records.
func (m *Model) store(t *tail, space, segment string, l *life, created bool, records []streamhub.Record, o *streamhub.AppendOptions, digest string, b *batch) streamhub.AppendResult {
	id := o.TRX
	if id == uuid.Nil {
		id = m.trx()
	}
	if m.keeps(RuleFenceRises) {
		l.generation = max(l.generation, o.Generation)
	}
	if m.keeps(RuleNumber) || len(records) > 0 {
		l.number++
	}
	l.timestamp, l.reign = m.Now, m.server.reign
	m.took(l)
	first := l.last() + 1
	joined := o.Close == nil && o.Producer == nil && o.ExpectedSequence == 0 && o.ContentType == "" && o.StreamSeq == "" &&
		!o.MustExist && o.Incarnation == 0
	for i, r := range records {
		e := &entry{
			prev: l.tip(), sequence: l.last() + 1, timestamp: m.Now, trx: id, number: l.number, record: r,
			reign: m.server.reign, ends: i == len(records)-1, joined: joined && r.Sequence == 0 && records[0].Sequence == 0,
		}
		if !m.keeps(RuleMetadata) {
			e.record.Metadata = nil
		}
		if !m.keeps(RuleTimestamp) && i > 0 {
			e.timestamp++
		}
		l.entries = append(l.entries, e)
	}
	if len(records) > 0 && l.own == 0 {
		l.own = first
	}
	if o.StreamSeq != "" {
		l.streamSeq = o.StreamSeq
	}
	if l.ttl > 0 && m.keeps(RuleRenews) {
		l.deadline = m.Now + l.ttl
	}
	if o.Close != nil {
		l.closed = o.Close
	}
	m.record(space, segment, l, first, l.last(), b.id)
	t.vague = b.fate == stored
	r := streamhub.AppendResult{
		First: first, Last: l.last(), Timestamp: millis.Time(m.Now), TRX: streamhub.TRX{ID: id, Number: l.number}, Created: created,
		Closed: l.closed != nil, Generation: l.generation, Position: m.position(l, l.last(), l.reign),
	}
	if o.Producer != nil {
		l.rows[o.Producer.ID] = row{o.Producer.Epoch, o.Producer.Seq, digest, r}
	} else if o.TRX != uuid.Nil {
		was := remembered{digest: digest, result: r}
		if b.fate == stored && len(records) > 0 {
			was.at = l.tip()
		}
		t.answer[o.TRX] = was
	}
	if !m.remote && b.fate == told && o.Producer == nil {
		for id, was := range t.answer { // the row of the process has told what came of those in doubt
			was.at = nil
			t.answer[id] = was
		}
	}
	if tip := l.tip(); tip != nil && b.fate == told {
		delete(t.maybe, "")
		t.at[""] = past{life: l.id, sequence: tip.sequence, reign: l.reign, at: tip}
	}
	return r
}

// took notes that the reign has taken part in the life.
func (m *Model) took(l *life) {
	if !slices.Contains(l.reigns, m.server.reign) {
		l.reigns = append(l.reigns, m.server.reign)
	}
}

func (m *Model) known(kind streamhub.VerdictKind) bool {
	return kind != "" && (!m.keeps(RuleVerdictKind) || slices.Contains([]streamhub.VerdictKind{
		streamhub.VerdictDone, streamhub.VerdictFailed, streamhub.VerdictCancelled, streamhub.VerdictLost,
		streamhub.VerdictSuperseded, streamhub.VerdictExpired, streamhub.VerdictDeleted,
	}, kind))
}

func expected(o *streamhub.AppendOptions, records []streamhub.Record) uint64 {
	if o.ExpectedSequence == 0 && len(records) > 0 {
		return records[0].Sequence
	}
	return o.ExpectedSequence
}

func digestOf(records []streamhub.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%s %v;", hex.EncodeToString(r.Payload), r.Metadata) // maps print in order
	}
	return b.String()
}

func normal(contentType string) string {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media
}

// unsure reports whether the process may have forgotten an append to a life that is over or has lost
// entries: the answer to another one, which would have told it so, was lost.
func (m *Model) unsure(p int, space, segment string, trx uuid.UUID) bool {
	t, l := m.process(p).tail(space, segment), m.find(space, segment)
	_, ok := t.answer[trx]
	if !ok || !t.vague {
		return false
	}
	if l == nil || l.id != t.life || l.ended != nil || m.due(l) {
		return true
	}
	at, ok := t.at[""]
	first, _ := m.lost(at, l)
	return ok && first != 0
}

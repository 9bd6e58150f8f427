package history

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-147127fe/streamhub"
)

// A Loss is an event by which a segment may have lost its end: a failover to a replica that lagged,
// a restart from an older state. What was written and seen between the last kept entry and the loss
// belongs to a history that can no longer be read. The log does not tell it, so operations of
// that time are only held against each other and against what was kept.
type Loss struct {
	// Keep is the last sequence that the segment still had after the loss.
	Keep uint64
	// From is when the last kept entry was written and To when the loss was over, on the clock of
	// the recorder; To 0 is any time.
	From, To int64
	// Unconfirmed says that only appends may be gone whose durability was not confirmed.
	Unconfirmed bool
}

// covers reports whether o ran while there was a history that was lost.
func (l *Loss) covers(o *Op) bool {
	return (o.Outcome == Unknown || o.Return >= l.From) && (l.To == 0 || o.Call <= l.To)
}

// LossesOf names what a log shows of losses by itself: where another reign of the primary begins,
// all before it that is not there is gone. A reign under which nothing was written leaves no mark,
// so let every segment be written to before its log is read. zero is the time at which the clock of
// the recorder was 0, by the clock of Redis.
func LossesOf(log *Log, zero time.Time, unconfirmed bool) []Loss {
	const slack = int64(5 * time.Millisecond)
	at := func(e *Seen) int64 { return time.UnixMilli(e.Timestamp).Sub(zero).Nanoseconds() }
	var losses []Loss
	for i := 1; i < len(log.Entries); i++ {
		old, young := &log.Entries[i-1], &log.Entries[i]
		if old.Lineage != young.Lineage {
			losses = append(losses, Loss{Keep: old.Sequence, From: at(old) - slack, To: at(young) + slack, Unconfirmed: unconfirmed})
		}
	}
	return losses
}

// A step is what the model sees of an operation.
type step struct {
	op     *Op
	action action
	// first and last are where a write went, 0 if that is not known.
	first, last uint64
}

type action uint8

const (
	write  action = iota
	repeat        // another acknowledgement of a write
	refuse
	look // status or read
)

// A state is a segment at one moment. It never changes.
type state struct {
	tail, generation uint64
	exists, closed   bool
	entries          Chain // of the entries
	all              Chain // of every change
	producers        []producer
}

type producer struct {
	id         string
	epoch, seq uint64
	content    string
}

func (s *state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tail %d generation %d", s.tail, s.generation)
	if s.closed {
		b.WriteString(" closed")
	}
	for _, p := range s.producers {
		fmt.Fprintf(&b, " %s/%d/%d", p.id, p.epoch, p.seq)
	}
	return b.String()
}

func (s *state) producer(id string) *producer {
	for i := range s.producers {
		if s.producers[i].id == id {
			return &s.producers[i]
		}
	}
	return nil
}

// next returns what the producer of o has to carry: its seq, and whether its epoch is over.
func (s *state) next(o *Op) (want uint64, over bool) {
	p := s.producer(o.Producer.ID)
	switch {
	case p == nil || o.Producer.Epoch > p.epoch:
		return 0, false
	case o.Producer.Epoch < p.epoch:
		return 0, true
	}
	return p.seq + 1, false
}

// takes reports whether the segment accepts the append. The order of the refusals is that of the
// store: closed, generation, producer, sequence.
func (s *state) takes(o *Op) bool {
	if s.closed || o.Generation < s.generation || o.MustExist && !s.exists {
		return false
	}
	if o.Producer != nil {
		if want, over := s.next(o); over || o.Producer.Seq != want {
			return false
		}
	}
	return o.Expect == 0 || o.Expect == s.tail+1
}

func (s *state) append(o *Op) *state {
	n := *s
	n.exists = true
	for i, d := range o.Records {
		n.entries = n.entries.Link(s.tail+1+uint64(i), o.TRX, d)
	}
	n.tail += uint64(len(o.Records))
	n.generation = max(s.generation, o.Generation)
	n.closed = o.Close
	n.all = s.all.Link(n.tail, o.TRX, uint64(n.entries)^o.Generation)
	if p := o.Producer; p != nil {
		n.producers = slices.Clone(s.producers)
		mine := producer{p.ID, p.Epoch, p.Seq, identity(o)}
		if old := n.producer(p.ID); old != nil {
			*old = mine
		} else {
			n.producers = append(n.producers, mine)
		}
	}
	return &n
}

// after returns the state after the step, nil if the segment does not do that.
func (s *state) after(st *step) *state {
	o := st.op
	switch st.action {
	case write:
		if !s.takes(o) || st.first != 0 && (st.first != s.tail+1 || st.last != s.tail+uint64(len(o.Records))) {
			return nil
		}
		n := s.append(o)
		known := (o.Outcome == OK || o.Outcome == Weak) && !o.Repeated
		if known && (o.InForce != n.generation || o.Closed != n.closed) {
			return nil
		}
		return n
	case repeat:
		// Without a producer the answer may be one that the hub kept, from long ago.
		if s.tail >= st.last && (o.Producer == nil || o.InForce == s.generation && o.Closed == s.closed) {
			return s
		}
	case refuse:
		if s.refuses(o) {
			return s
		}
	case look:
		if s.shows(o) {
			return s
		}
	}
	return nil
}

// refuses reports whether the segment gives this answer.
func (s *state) refuses(o *Op) bool {
	p := o.Producer
	if p == nil && (o.Code == "batch_mismatch" || o.Code == "producer_gap" || o.Code == "producer_fenced") {
		return true // the audit says what that is
	}
	if o.Code == "batch_mismatch" {
		mine := s.producer(p.ID)
		return mine != nil && mine.epoch == p.Epoch && mine.seq == p.Seq && mine.content != identity(o)
	}
	if o.Code == "not_found" {
		return o.MustExist && !s.exists
	}
	if o.Code == "closed" {
		return s.closed && o.Last == s.tail
	}
	if s.closed {
		return false
	}
	if o.Code == "fenced" {
		return o.Generation < s.generation && o.InForce == s.generation
	}
	if o.Generation < s.generation {
		return false
	}
	var want uint64
	var over bool
	if p != nil {
		want, over = s.next(o)
	}
	switch o.Code {
	case "producer_fenced":
		mine := s.producer(p.ID)
		return over && o.Epoch == mine.epoch && o.Seq == mine.seq+1
	case "producer_gap":
		return !over && p.Seq != want && o.Seq == want
	case "sequence_mismatch":
		return !over && (p == nil || p.Seq == want) && o.Expect != 0 && o.Expect != s.tail+1 && o.First == s.tail+1
	}
	return true // as above
}

// shows reports whether the segment looks like that.
func (s *state) shows(o *Op) bool {
	switch {
	case o.Code == "not_found":
		return !s.exists
	case o.Last != s.tail:
		return false
	case o.Kind == Read:
		return o.Chain == s.entries
	}
	return o.InForce == s.generation && o.Closed == s.closed
}

var model = porcupine.Model{
	Init: func() any { return &state{} },
	Step: func(at, input, _ any) (bool, any) {
		next := at.(*state).after(input.(*step))
		return next != nil, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(*state), b.(*state)
		return x.all == y.all && x.tail == y.tail
	},
	Hash:          func(a any) uint64 { return uint64(a.(*state).all) },
	DescribeState: func(a any) string { return a.(*state).String() },
}

// steps turns the operations of a segment into those of the model.
func (s *segment) steps() []porcupine.Operation {
	var all []porcupine.Operation
	clients := map[string]int{}
	add := func(st *step, name string, call, end int64) {
		id, ok := clients[name]
		if !ok {
			id = len(clients)
			clients[name] = id
		}
		all = append(all, porcupine.Operation{ClientId: id, Input: st, Call: call, Return: end})
	}
	for _, g := range s.groups {
		acked := g.acked()
		begin := int64(math.MaxInt64)
		for _, o := range g.attempts {
			begin = min(begin, o.Call)
			switch {
			case o.Outcome == Refused && o.Code == "history_lost":
				// The audit knows whether it may be.
			case o.Outcome == Refused:
				// One that repeats another may have been given its answer.
				add(&step{op: o, action: refuse}, o.Client, g.since(o), o.Return)
			case (o.Outcome == OK || o.Outcome == Weak) && (o != acked || o.Repeated):
				add(&step{op: o, action: repeat, last: o.Last}, o.Client, o.Call, o.Return)
			}
		}
		switch {
		case acked != nil && s.gone(acked):
			// It was stored in a history that was lost.
		case acked != nil:
			add(&step{op: acked, action: write, first: acked.First, last: acked.Last}, acked.Client, begin, acked.Return)
		case g.stored():
			o := g.attempts[0]
			st := &step{op: o, action: write}
			if len(g.runs) > 0 {
				st.first, st.last = g.runs[0].first, g.runs[0].last
			}
			add(st, o.Client, begin, forever)
		}
	}
	for _, o := range s.reads {
		if o.Outcome == OK || o.Code == "not_found" {
			add(&step{op: o, action: look}, o.Client, o.Call, o.Return)
		}
	}
	return all
}

// secondOpinion is how long the search may take where the states have decided.
const secondOpinion = 2 * time.Second

// linearize finds one order of the operations of the segment that explains them all.
func (s *segment) linearize(limit time.Duration, most int) []Violation {
	steps := s.steps()
	if len(steps) > most {
		return []Violation{{Kind: "too long", Segment: s.key, Text: fmt.Sprintf("%d operations, the checker takes %d", len(steps), most)}}
	}
	found, decided := s.chained(steps)
	if decided && len(s.losses) > 0 {
		// The search knows no lost histories.
		if found != nil {
			return []Violation{*found}
		}
		return nil
	}
	if decided {
		limit = min(limit, secondOpinion)
	}
	result := porcupine.CheckOperationsTimeout(model, steps, limit)
	switch {
	case decided && result != porcupine.Unknown && (found == nil) != (result == porcupine.Ok):
		return []Violation{{Kind: "checkers disagree", Segment: s.key, Text: fmt.Sprintf("the search says %s, the states say %v", result, found)}}
	case found != nil:
		return []Violation{*found}
	case decided, result == porcupine.Ok:
		return nil
	case result == porcupine.Unknown:
		return []Violation{{Kind: "undecided", Segment: s.key, Text: fmt.Sprintf("%d operations were not checked within %v", len(steps), limit)}}
	}
	v := Violation{Kind: "order", Segment: s.key, Text: "no order explains the operations"}
	_, info := porcupine.CheckOperationsVerbose(model, steps, limit)
	var best []int
	for _, partial := range info.PartialLinearizations() {
		for _, ids := range partial {
			if len(ids) > len(best) {
				best = ids
			}
		}
	}
	v.explain(steps, best)
	return []Violation{v}
}

// explain names the operation at which the longest order got stuck, the state it met, and those
// that ran at the same time.
func (v *Violation) explain(steps []porcupine.Operation, order []int) {
	at := model.Init()
	done := make([]bool, len(steps))
	for _, id := range order {
		_, at = model.Step(at, steps[id].Input, nil)
		done[id] = true
	}
	stuck := -1
	for id := range steps {
		if !done[id] && (stuck < 0 || steps[id].Return < steps[stuck].Return) {
			stuck = id
		}
	}
	if stuck < 0 {
		return
	}
	v.Text = fmt.Sprintf("no order explains the operations: %d of %d fit, up to %s; the first of Ops does not, the next ones had just run, the rest ran with it",
		len(order), len(steps), model.DescribeState(at))
	op := func(id int) Op { return *steps[id].Input.(*step).op }
	v.Ops = append(v.Ops, op(stuck))
	for _, id := range order[max(0, len(order)-3):] {
		v.Ops = append(v.Ops, op(id))
	}
	for id := range steps {
		if !done[id] && id != stuck && steps[id].Call <= steps[stuck].Return && len(v.Ops) < 12 {
			v.Ops = append(v.Ops, op(id))
		}
	}
}

// codes that an append may be refused with.
var refusals = []streamhub.Code{
	"sequence_mismatch", "fenced", "closed", "producer_gap", "producer_fenced", "batch_mismatch", "not_found",
}

package history

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"
)

// forever is when an operation ended whose end is not known.
const forever = math.MaxInt64

// A run is a stretch of entries with one TRX id.
type run struct {
	trx         uuid.UUID
	first, last uint64
	number      uint64
	at          int // where it begins in the log
}

// A group is every attempt at one append.
type group struct {
	attempts []*Op
	runs     []run // where its records stand in the log
	closedBy bool  // the log says that this append closed the segment
}

// stored reports whether the log shows the append.
func (g *group) stored() bool { return len(g.runs) > 0 || g.closedBy }

// acked returns the first attempt that was acknowledged, or nil.
func (g *group) acked() *Op {
	var first *Op
	for _, o := range g.attempts {
		if (o.Outcome == OK || o.Outcome == Weak) && (first == nil || o.Return < first.Return) {
			first = o
		}
	}
	return first
}

// open reports whether an attempt has an unknown outcome.
func (g *group) open() bool {
	return slices.ContainsFunc(g.attempts, func(o *Op) bool { return o.Outcome == Unknown })
}

// since returns the earliest time at which the state that o observed can have begun.
func (g *group) since(o *Op) int64 {
	begin := o.Call
	for _, other := range g.attempts {
		if other.Outcome == Unknown && other.Call < begin {
			begin = other.Call
		}
	}
	return begin
}

// elsewhere reports whether o was stored at another place than the group: what it was is lost, and
// it was stored again.
func (g *group) elsewhere(o *Op) bool {
	first := g.acked()
	return first != nil && (o.Outcome == OK || o.Outcome == Weak) && o.First != first.First
}

// takeOpen takes the attempts after the last answer, which may be those that stored it again.
func (g *group) takeOpen(old *group) {
	n := len(old.attempts)
	for n > 0 && old.attempts[n-1].Outcome == Unknown {
		n--
	}
	g.attempts = append(g.attempts, old.attempts[n:]...)
	old.attempts = old.attempts[:n]
}

// A segment is everything known of one segment.
type segment struct {
	key    string
	log    *Log
	groups []*group
	reads  []*Op // and status
	losses []Loss
	byTRX  map[uuid.UUID][]*group
	runs   []run // all of the log
}

// identity is equal for two attempts at one append.
func identity(o *Op) string {
	if p := o.Producer; p != nil {
		return fmt.Sprintf("%q %d %d %x", p.ID, p.Epoch, p.Seq, o.Records)
	}
	return fmt.Sprintf("%s %x", o.TRX, o.Records)
}

// settle sorts the operations by segment and append, and finds each append in the log.
func settle(ops []Op, logs []Log, losses map[string][]Loss) []*segment {
	var order []*segment
	byKey := map[string]*segment{}
	at := func(key string) *segment {
		s := byKey[key]
		if s == nil {
			s = &segment{key: key, losses: losses[key], byTRX: map[uuid.UUID][]*group{}}
			byKey[key] = s
			order = append(order, s)
		}
		return s
	}
	for i := range logs {
		at(logs[i].Key()).log = &logs[i]
	}
	groups := map[string]*group{}
	for i := range ops {
		o := &ops[i]
		s := at(o.Key())
		if o.Kind != Append {
			s.reads = append(s.reads, o)
			continue
		}
		id := s.key + " " + identity(o)
		g := groups[id]
		if g == nil || len(s.losses) > 0 && g.elsewhere(o) {
			old := g
			g = &group{}
			groups[id] = g
			s.groups = append(s.groups, g)
			if old != nil {
				g.takeOpen(old)
			}
		}
		g.attempts = append(g.attempts, o)
		if !slices.Contains(s.byTRX[o.TRX], g) {
			s.byTRX[o.TRX] = append(s.byTRX[o.TRX], g)
		}
	}
	for _, s := range order {
		if s.log != nil {
			s.place()
		}
	}
	return order
}

// place gives each group what the log holds of it.
func (s *segment) place() {
	for i, e := range s.log.Entries {
		if n := len(s.runs); n > 0 && s.runs[n-1].trx == e.TRX && s.runs[n-1].number == e.Number && s.runs[n-1].last+1 == e.Sequence {
			s.runs[n-1].last = e.Sequence
			continue
		}
		s.runs = append(s.runs, run{e.TRX, e.Sequence, e.Sequence, e.Number, i})
	}
	for _, r := range s.runs {
		if g := s.sender(r); g != nil {
			g.runs = append(g.runs, r)
		}
	}
	if v := s.log.Status.Verdict; v != nil {
		id, _ := uuid.Parse(v.Reason)
		for _, g := range s.byTRX[id] {
			g.closedBy = g.closedBy || g.attempts[0].Close
		}
	}
}

// sender returns the append that a run comes from, nil if there is none. Two appends have one id
// where a producer sent two contents under one seq: then the content tells.
func (s *segment) sender(r run) *group {
	all := s.byTRX[r.trx]
	for _, g := range all {
		records := g.attempts[0].Records
		if uint64(len(records)) != r.last-r.first+1 {
			continue
		}
		same := true
		for i, d := range records {
			same = same && s.log.Entries[r.at+i].Digest == d
		}
		if same {
			return g
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

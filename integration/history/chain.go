package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// The log says in which order the writes took place, and so through which states the segment went.
// That makes the question a small one. Let p(i) be when write i, which
// makes state i, took place. An operation that only the states a to b answer so took place after
// p(a) and before p(b+1). So there is an order if and only if there are times p(1) ≤ p(2) ≤ … with
//
//	call(i) ≤ p(i) ≤ return(i)               for every write i
//	p(a) ≤ return, call ≤ p(b+1)             for every other operation
//
// and the earliest such times are found in one pass. If there are none, two operations show it: one
// was called after the other had returned, and has to come before it.
//
// Operations that may belong to a history that was lost bound nothing; the audit looks at them.

// A bound is a limit of a time, and the operation that it comes from.
type bound struct {
	at int64
	op *step
}

// chained decides by the states. decided is false if the log does not tell the order of the writes
// or if an operation fits two stretches of it.
func (s *segment) chained(steps []porcupine.Operation) (v *Violation, decided bool) {
	if s.log == nil {
		return nil, false
	}
	var writes, others []int
	for i := range steps {
		switch steps[i].Input.(*step).action {
		case write:
			writes = append(writes, i)
		default:
			if !s.mayBeElsewhere(steps[i].Input.(*step).op) {
				others = append(others, i)
			}
		}
	}
	place := func(i int) (uint64, int) {
		st := steps[i].Input.(*step)
		if st.first == 0 || len(st.op.Records) == 0 {
			return math.MaxUint64, 1 // a close
		}
		return st.first, 0
	}
	slices.SortStableFunc(writes, func(a, b int) int {
		x, xc := place(a)
		y, yc := place(b)
		return cmp.Or(cmp.Compare(x, y), xc-yc)
	})

	// State 0 is before the first write, state i after write i; times have the same index.
	states := []*state{{}}
	byTail := map[uint64][]int{0: {0}}
	early, late := make([]bound, len(writes)+2), make([]bound, len(writes)+2)
	early[0] = bound{at: math.MinInt64}
	for i, id := range writes {
		st := steps[id].Input.(*step)
		now := states[i]
		n := now.after(st)
		if n == nil {
			return &Violation{
				Kind: "order", Segment: s.key, Ops: []Op{*st.op},
				Text: "the log has this write after a state that does not take it: " + now.String(),
			}, true
		}
		states = append(states, n)
		byTail[n.tail] = append(byTail[n.tail], i+1)
		early[i+1] = bound{steps[id].Call, st}
		late[i+1] = bound{steps[id].Return, st}
	}
	end := len(writes) + 1
	early[end], late[end] = bound{at: math.MaxInt64}, bound{at: math.MaxInt64}

	for _, id := range others {
		st := steps[id].Input.(*step)
		first, last, whole := fits(states, byTail, st)
		if first < 0 {
			v := &Violation{Kind: "order", Segment: s.key, Ops: []Op{*st.op}, Text: "no state that the segment was ever in gives this answer"}
			v.around(steps, writes, steps[id].Call)
			return v, true
		}
		if !whole {
			return nil, false
		}
		if first > 0 && steps[id].Return < late[first].at {
			late[first] = bound{steps[id].Return, st}
		}
		if last+1 < end && steps[id].Call > early[last+1].at {
			early[last+1] = bound{steps[id].Call, st}
		}
	}
	for i := end - 1; i > 0; i-- {
		if late[i+1].at < late[i].at {
			late[i] = late[i+1]
		}
	}
	for i := 1; i < end; i++ {
		if early[i-1].at > early[i].at {
			early[i] = early[i-1]
		}
		if early[i].at > late[i].at {
			before, behind, w := early[i].op.op, late[i].op.op, steps[writes[i-1]].Input.(*step).op
			v := &Violation{Kind: "order", Segment: s.key, Ops: []Op{*behind, *before},
				Text: fmt.Sprintf("the first of these operations comes after the write of entry %d and the second one before it, but the first had ended when the second began", w.First)}
			if w != before && w != behind {
				v.Ops = append(v.Ops, *w)
			}
			return v, true
		}
	}
	return nil, true
}

// mayBeElsewhere reports whether o may belong to a history that was lost.
func (s *segment) mayBeElsewhere(o *Op) bool {
	return slices.ContainsFunc(s.losses, func(l Loss) bool { return l.covers(o) })
}

// fits returns the first and the last state that answer so, -1 if none does, and whether all
// between them do.
func fits(states []*state, byTail map[uint64][]int, st *step) (first, last int, whole bool) {
	first, whole = -1, true
	try := func(i int) {
		if states[i].after(st) == nil {
			return
		}
		if first < 0 {
			first = i
		} else if last != i-1 {
			whole = false
		}
		last = i
	}
	o := st.op
	switch {
	case st.action == look && o.Code == "":
		for _, i := range byTail[o.Last] {
			try(i)
		}
	case st.action == refuse && o.Code == "sequence_mismatch":
		for _, i := range byTail[o.First-1] {
			try(i)
		}
	default:
		for i := range states {
			try(i)
		}
	}
	return first, last, whole
}

// around adds the writes that took place about a time.
func (v *Violation) around(steps []porcupine.Operation, writes []int, at int64) {
	for _, id := range writes {
		if steps[id].Return >= at && len(v.Ops) < 4 {
			v.Ops = append(v.Ops, *steps[id].Input.(*step).op)
		}
	}
}

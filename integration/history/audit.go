package history

import (
	"cmp"
	"fmt"
	"slices"
)

// audit compares the log of the segment with what its writers were told. It reports whether the
// log is one at all: otherwise no order of operations explains it.
func (s *segment) audit(report *Report) (sound bool) {
	sound = true
	fail := func(kind, text string, ops ...*Op) {
		v := Violation{Kind: kind, Segment: s.key, Text: text}
		for _, o := range ops {
			v.Ops = append(v.Ops, *o)
		}
		report.add(v)
		sound = sound && !slices.Contains(unsound, kind)
	}
	if s.log == nil {
		if slices.ContainsFunc(s.groups, func(g *group) bool { return g.acked() != nil }) {
			fail("no log", "appends were acknowledged and no log was given to compare them with")
		}
		return sound
	}
	s.auditLog(fail)
	var lost []*Op
	for _, g := range s.groups {
		lost = append(lost, s.auditGroup(g, report, fail)...)
	}
	s.auditLost(lost, fail)
	for _, o := range s.reads {
		if o.Outcome == Refused && o.Code != "not_found" && len(s.losses) == 0 {
			fail("false alarm", "a read failed although nothing was lost", o)
		}
	}
	return sound
}

var unsound = []string{"gap", "stored twice", "stray", "torn"}

type failer func(kind, text string, ops ...*Op)

// auditLog looks at the log alone.
func (s *segment) auditLog(fail failer) {
	log := s.log
	want := uint64(1)
	var number uint64
	var stamp int64
	for _, e := range log.Entries {
		if e.Sequence != want {
			fail("gap", fmt.Sprintf("the log has entry %d where %d belongs", e.Sequence, want))
			want = e.Sequence
		}
		want++
		if e.Timestamp < stamp {
			fail("time", fmt.Sprintf("entry %d is older than the one before it: %d < %d", e.Sequence, e.Timestamp, stamp))
		}
		stamp = max(stamp, e.Timestamp)
	}
	if last := want - 1; last != log.Status.LastSequence {
		fail("tail", fmt.Sprintf("the log ends at %d, the status says %d", last, log.Status.LastSequence))
	}
	seen := map[[16]byte]run{}
	for _, r := range s.runs {
		e := log.Entries[r.at]
		// A close without records has a number too.
		if e.Number != number+1 {
			fail("number", fmt.Sprintf("append %d of the segment, at entry %d, comes after append %d", e.Number, r.first, number))
		}
		number = e.Number
		if old, ok := seen[r.trx]; ok {
			fail("stored twice", fmt.Sprintf("append %s stands at %d–%d and again at %d–%d", r.trx, old.first, old.last, r.first, r.last), s.attempts(r)...)
		}
		seen[r.trx] = r
		if s.sender(r) == nil {
			fail("stray", fmt.Sprintf("nobody sent append %s, which stands at %d–%d", r.trx, r.first, r.last))
		}
	}
}

func (s *segment) attempts(r run) []*Op {
	if g := s.sender(r); g != nil {
		return g.attempts
	}
	return nil
}

// auditGroup looks at one append and returns the acknowledgements that a loss took.
func (s *segment) auditGroup(g *group, report *Report, fail failer) (lost []*Op) {
	var told []*Op
	definite := true // every attempt was refused or failed without a trace
	for _, o := range g.attempts {
		switch o.Outcome {
		case OK, Weak:
			told = append(told, o)
			definite = false
		case Unknown:
			report.Unknown++
			definite = false
		case Refused:
			report.Refused++
			called := slices.Contains(refusals, o.Code) || o.Code == "history_lost" && len(s.losses) > 0
			if !called {
				fail("unexpected error", "an append ended with an error that the state of the segment does not call for", o)
			}
			if o.Producer == nil && (o.Code == "producer_gap" || o.Code == "producer_fenced" || o.Code == "batch_mismatch") {
				fail("unexpected error", "an append without a producer was refused because of one", o)
			}
		}
	}
	if definite && g.stored() {
		fail("refused, yet there", "an append was refused and its records are in the log", g.attempts...)
	}
	if len(g.runs) > 1 {
		trx := g.runs[0].trx
		if slices.ContainsFunc(g.runs, func(r run) bool { return r.trx != trx }) {
			fail("stored twice", fmt.Sprintf("one append of a producer stands at %d and at %d", g.runs[0].first, g.runs[1].first), g.attempts...)
		}
	}
	for _, r := range g.runs {
		if n := r.last - r.first + 1; n != uint64(len(g.attempts[0].Records)) {
			fail("torn", fmt.Sprintf("of the %d records of one append %d stand at %d–%d", len(g.attempts[0].Records), n, r.first, r.last), g.attempts...)
		}
	}
	if g.open() && g.acked() == nil {
		if g.stored() {
			report.Settled++
		}
	}
	first := g.acked()
	for _, o := range told {
		report.Acked++
		if want := o.First + uint64(len(o.Records)) - 1; o.Last != want {
			fail("answer", fmt.Sprintf("%d records went to %d–%d", len(o.Records), o.First, o.Last), o)
		}
		if o.First != first.First || o.Last != first.Last {
			fail("answers differ", "the same append was acknowledged at two places", first, o)
		}
		if o.Expect != 0 && o.First != o.Expect && !o.Repeated {
			fail("answer", fmt.Sprintf("an append that had to begin at %d was acknowledged at %d", o.Expect, o.First), o)
		}
		if wrong := s.compare(o); wrong != "" {
			if s.mayBeLost(o) {
				report.Lost++
				lost = append(lost, o)
			} else {
				fail("acknowledged, yet gone", wrong, o)
			}
		}
	}
	return lost
}

// compare returns what is wrong with the records of an acknowledged append in the log.
func (s *segment) compare(o *Op) string {
	if len(o.Records) == 0 {
		if v := s.log.Status.Verdict; o.Close && (v == nil || v.Reason != o.TRX.String()) {
			return "an acknowledged close is not the end of the segment"
		}
		return ""
	}
	for i, digest := range o.Records {
		sequence := o.First + uint64(i)
		e := s.log.entry(sequence)
		if e == nil {
			return fmt.Sprintf("entry %d is missing, the log ends at %d", sequence, s.log.Status.LastSequence)
		}
		if e.TRX != o.TRX {
			return fmt.Sprintf("entry %d belongs to append %s", sequence, e.TRX)
		}
		if e.Digest != digest {
			return fmt.Sprintf("entry %d has other content", sequence)
		}
	}
	if o.Close {
		if v := s.log.Status.Verdict; v == nil || v.Reason != o.TRX.String() {
			return "an acknowledged close is not the end of the segment"
		}
	}
	return ""
}

// gone reports whether the log does not have an acknowledged append where it was told to be.
func (s *segment) gone(o *Op) bool { return len(s.losses) > 0 && s.log != nil && s.compare(o) != "" }

// mayBeLost reports whether a named loss covers the append.
func (s *segment) mayBeLost(o *Op) bool {
	return slices.ContainsFunc(s.losses, func(l Loss) bool {
		return l.covers(o) && (o.Last > l.Keep || o.Close) && (!l.Unconfirmed || o.Outcome == Weak)
	})
}

// auditLost holds the acknowledged appends of a lost history against each other.
func (s *segment) auditLost(lost []*Op, fail failer) {
	slices.SortFunc(lost, func(a, b *Op) int { return cmp.Compare(a.First, b.First) })
	for i, o := range lost {
		for _, other := range lost[i+1:] {
			if other.First > o.Last {
				break
			}
			if len(other.Records) > 0 && identity(o) != identity(other) && s.lostTogether(o, other) {
				fail("two winners", fmt.Sprintf("entry %d was acknowledged twice, to two appends", other.First), o, other)
			}
		}
	}
}

// lostTogether reports whether only one loss can have taken both.
func (s *segment) lostTogether(a, b *Op) bool {
	n := 0
	for i := range s.losses {
		if l := &s.losses[i]; l.covers(a) || l.covers(b) {
			n++
		}
	}
	return n == 1
}

// deliver compares a session with the log. order is that of the timeline, for one along a space.
func deliver(x *Session, logs map[string]*Log, losses map[string][]Loss, report *Report) {
	fail := func(kind, text string) {
		v := Violation{Kind: kind, Segment: x.Space + "/" + x.Segment, Text: text, Session: x.String()}
		report.add(v)
	}
	if x.Late > 0 {
		fail("not the end", fmt.Sprintf("%d entries or errors came after the end", x.Late))
	}
	next := map[string]uint64{}
	forked := map[string]bool{}
	var stamp int64
	for i := range x.Seen {
		e := &x.Seen[i]
		name := x.Segment
		if name == "" {
			name = e.Segment
		}
		want, begun := next[name]
		if !begun {
			if want = x.From; want == 0 || x.Segment == "" {
				want = e.Sequence
			}
		}
		switch {
		case e.Sequence > want:
			fail("gap", fmt.Sprintf("%s: %d came where %d belongs (element %d)", name, e.Sequence, want, i))
		case e.Sequence < want:
			fail("repeat", fmt.Sprintf("%s: %d came where %d belongs (element %d)", name, e.Sequence, want, i))
		}
		next[name] = e.Sequence + 1
		if x.Segment == "" && e.Timestamp < stamp {
			fail("order", fmt.Sprintf("%s/%d is older than what came before it", name, e.Sequence))
		}
		stamp = e.Timestamp
		log := logs[x.Space+"/"+name]
		if log == nil {
			continue
		}
		if wrong := differs(e, log); wrong != "" {
			if lossCovers(losses[log.Key()], e) {
				forked[name] = true
				continue
			}
			fail("other bytes", fmt.Sprintf("%s/%d: %s", name, e.Sequence, wrong))
		} else if forked[name] {
			fail("silent fork", fmt.Sprintf("%s/%d of the new history came after lost entries", name, e.Sequence))
		}
	}
	report.Delivered += len(x.Seen)
	reached := uint64(len(x.Seen))
	if x.Segment != "" {
		reached = max(next[x.Segment], x.From, 1) - 1
	}
	if reached < x.Reach {
		fail("behind", fmt.Sprintf("the follower is at %d and had to get to %d", reached, x.Reach))
	}
	x.judgeEnd(logs, losses, next, fail)
}

func (x *Session) judgeEnd(logs map[string]*Log, losses map[string][]Loss, next map[string]uint64, fail func(kind, text string)) {
	log := logs[x.Space+"/"+x.Segment]
	switch x.Code {
	case "":
	case "closed":
		if log == nil {
			return
		}
		v := log.Status.Verdict
		reached := max(next[x.Segment], x.From, 1) - 1
		switch {
		case v == nil:
			fail("false end", "the follower was told of an end and the segment is open")
		case x.Verdict == nil || v.Kind != x.Verdict.Kind || v.Reason != x.Verdict.Reason:
			fail("other end", fmt.Sprintf("the segment ended with %+v, the follower was told %+v", *v, x.Verdict))
		case x.Last != log.Status.LastSequence || reached != log.Status.LastSequence:
			fail("early end", fmt.Sprintf("the end came after %d and named %d; the segment ended at %d", reached, x.Last, log.Status.LastSequence))
		}
	case "history_lost":
		all := losses[x.Space+"/"+x.Segment]
		if len(all) == 0 {
			fail("false alarm", "the follower was told that history was lost and none was")
		} else if x.Segment != "" && !slices.ContainsFunc(all, func(l Loss) bool { return x.FirstLost == l.Keep+1 }) {
			fail("other loss", fmt.Sprintf("the follower was told that %d was lost first, what was lost is %+v", x.FirstLost, all))
		}
	case "shutdown":
	default:
		fail("unexpected error", "a follower ended although Redis came back")
	}
}

// differs compares an entry that a follower got with the log.
func differs(e *Seen, log *Log) string {
	is := log.entry(e.Sequence)
	switch {
	case is == nil:
		return "the log does not have it"
	case is.TRX != e.TRX:
		return fmt.Sprintf("the log has append %s, delivered was %s", is.TRX, e.TRX)
	case is.Digest != e.Digest, is.Number != e.Number, is.Timestamp != e.Timestamp:
		return fmt.Sprintf("the log has %+v, delivered was %+v", *is, *e)
	}
	return ""
}

func lossCovers(losses []Loss, e *Seen) bool {
	return slices.ContainsFunc(losses, func(l Loss) bool { return e.Sequence > l.Keep })
}

package history

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Options configure [Check]; nil stands for the defaults.
type Options struct {
	// Seed and Schedule are what a report repeats, so that a run can be made again.
	Seed     uint64
	Schedule []string
	// Losses names, by "<space>/<segment>", the events by which history may have been lost; the
	// default is none.
	Losses map[string][]Loss
	// Sessions are what followers got.
	Sessions []Session
	// Timeout bounds the search of one segment; the default is 30 s.
	Timeout time.Duration
	// MaxOps is the most operations of one segment that are searched; the default is 5,000. With a
	// negative one there is no search, only the audit.
	MaxOps int
}

// A Violation is one thing that must not be.
type Violation struct {
	Kind, Segment, Text string
	// Ops are the operations that show it, as few as possible.
	Ops []Op
	// Session is the follower that shows it, if any.
	Session string
}

func (v *Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", v.Segment, v.Kind, v.Text)
	for i := range v.Ops {
		b.WriteString("\n    " + v.Ops[i].String())
	}
	if v.Session != "" {
		b.WriteString("\n    " + v.Session)
	}
	return b.String()
}

// A Report is what [Check] found.
type Report struct {
	Seed       uint64
	Schedule   []string
	Violations []Violation
	// Dropped counts violations beyond those that are kept.
	Dropped int

	Operations, Acked, Refused int
	// Unknown outcomes; those Settled were in the log.
	Unknown, Settled int
	// Lost counts acknowledged appends that a [Loss] took.
	Lost int
	// Entries of all logs, and what was Delivered to followers.
	Entries, Delivered int
	Took               time.Duration
}

// maxViolations is how many a report keeps: the first ones say it all.
const maxViolations = 20

func (r *Report) add(v Violation) {
	if len(r.Violations) >= maxViolations {
		r.Dropped++
		return
	}
	r.Violations = append(r.Violations, v)
}

// Has reports whether a violation of this kind was found.
func (r *Report) Has(kind string) bool {
	for i := range r.Violations {
		if r.Violations[i].Kind == kind {
			return true
		}
	}
	return false
}

// Err is nil if there was no violation, and otherwise an error that tells everything.
func (r *Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	return errors.New(r.String())
}

func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d operations, %d acknowledged, %d refused, %d unknown of which %d were stored, %d lost; %d entries, %d delivered; checked in %v",
		r.Seed, r.Operations, r.Acked, r.Refused, r.Unknown, r.Settled, r.Lost, r.Entries, r.Delivered, r.Took.Round(time.Millisecond))
	if len(r.Violations) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "\n%d violations", len(r.Violations)+r.Dropped)
	for _, s := range r.Schedule {
		b.WriteString("\n  schedule: " + s)
	}
	for i := range r.Violations {
		b.WriteString("\n  " + r.Violations[i].String())
	}
	return b.String()
}

// Check compares the operations of all clients with each other and with the logs, read when the
// faults were over, and what followers got with the logs. It keeps neither argument.
func Check(ops []Op, logs []Log, options *Options) *Report {
	var o Options
	if options != nil {
		o = *options
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxOps == 0 {
		o.MaxOps = 5000
	}
	begin := time.Now()
	r := &Report{Seed: o.Seed, Schedule: o.Schedule, Operations: len(ops)}
	byKey := map[string]*Log{}
	for i := range logs {
		byKey[logs[i].Key()] = &logs[i]
		r.Entries += len(logs[i].Entries)
	}
	for _, s := range settle(ops, logs, o.Losses) {
		if s.audit(r) && o.MaxOps > 0 {
			for _, v := range s.linearize(o.Timeout, o.MaxOps) {
				r.add(v)
			}
		}
	}
	for i := range o.Sessions {
		deliver(&o.Sessions[i], byKey, o.Losses, r)
	}
	r.Took = time.Since(begin)
	return r
}

// Acked counts the appends that were acknowledged between two times, the second exclusive: a run in
// which too little was is no test.
func Acked(ops []Op, from, to int64) int {
	n := 0
	for i := range ops {
		if o := &ops[i]; o.Kind == Append && o.Outcome == OK && o.Return >= from && o.Return < to {
			n++
		}
	}
	return n
}

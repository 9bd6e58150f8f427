package streamhub

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A State says whether a segment still accepts appends.
type State string

const (
	// StateOpen is a segment that accepts appends.
	StateOpen State = "open"
	// StateClosed is a segment with a verdict: it can be read as before and accepts no appends.
	StateClosed State = "closed"
	// StateDeleted is a segment that is gone, or that only its forks still read.
	StateDeleted State = "deleted"
)

// A VerdictKind is the terminal state of a segment.
type VerdictKind string

// The kinds of verdicts.
const (
	VerdictDone       VerdictKind = "done"
	VerdictFailed     VerdictKind = "failed"
	VerdictCancelled  VerdictKind = "cancelled"
	VerdictLost       VerdictKind = "lost"
	VerdictSuperseded VerdictKind = "superseded"
	VerdictExpired    VerdictKind = "expired"
	VerdictDeleted    VerdictKind = "deleted"
)

var verdictKinds = []VerdictKind{
	VerdictDone, VerdictFailed, VerdictCancelled, VerdictLost, VerdictSuperseded, VerdictExpired, VerdictDeleted,
}

// VerdictKinds returns every kind of verdict.
func VerdictKinds() []VerdictKind { return slices.Clone(verdictKinds) }

// Known reports whether k is one of [VerdictKinds]. A segment is never closed with an unknown kind.
func (k VerdictKind) Known() bool { return slices.Contains(verdictKinds, k) }

// A Verdict says how a segment ended. It is written once.
type Verdict struct {
	Kind VerdictKind `json:"kind"`
	// Reason is for people: an error text, or who cancelled.
	Reason string `json:"reason,omitempty"`
	// Output is the result of the producer, if it has one.
	Output json.RawMessage `json:"output,omitempty"`
}

// String returns the kind, with the reason and up to 200 bytes of the output, for people and logs.
func (v Verdict) String() string {
	text := cmp.Or(string(v.Kind), "no verdict")
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	if len(v.Output) > 0 {
		text += fmt.Sprintf("; output %.200s", v.Output)
	}
	return text
}

// A Status describes a segment at one moment. Its times are in UTC and whole milliseconds.
type Status struct {
	Space, Segment string
	// FirstSequence is the first entry still kept, and LastSequence the last one written. If no entry is kept,
	// FirstSequence is LastSequence + 1. If none was ever written, both are 0.
	FirstSequence uint64
	// FirstTimestamp is the zero Time if no entry is kept, and LastTimestamp if none was ever written.
	FirstTimestamp time.Time
	LastSequence   uint64
	LastTimestamp  time.Time
	// Heartbeat marks a status that only shows that a subscription is alive.
	Heartbeat bool

	State State
	// Verdict says how the segment ended; nil while it is open.
	Verdict *Verdict
	// Generation is the highest fencing token that an append has named, 0 for none.
	Generation uint64
	// ContentType is the content type with which the segment was created, "" for none.
	ContentType string
	// TTL is the sliding time to live, 0 for none.
	TTL time.Duration
	// ExpiresAt is the deadline in force, the zero Time for none.
	ExpiresAt time.Time
	// Parent names the segment that this one is a fork of, and ForkedAt the last sequence taken from it.
	Parent   string
	ForkedAt uint64
	Origin   string   // see [CreateOptions]; not in JSON
	Position Position // of the last entry; not in JSON
	// Kept is the position before FirstSequence: a read from its cursor returns all kept entries. Its proof is 0 if the
	// entry before FirstSequence is unknown. It is not in JSON.
	Kept Position
}

// Cursor returns the cursor that resumes after the last entry of the segment.
func (s *Status) Cursor() Cursor { return s.Position.Cursor() }

// statusJSON is a status as JSON, with all times in milliseconds.
type statusJSON struct {
	Space          string   `json:"space"`
	Segment        string   `json:"segment"`
	FirstSequence  uint64   `json:"first_sequence"`
	FirstTimestamp int64    `json:"first_timestamp"`
	LastSequence   uint64   `json:"last_sequence"`
	LastTimestamp  int64    `json:"last_timestamp"`
	Heartbeat      bool     `json:"heartbeat"`
	State          State    `json:"state,omitempty"`
	Verdict        *Verdict `json:"verdict,omitempty"`
	Generation     uint64   `json:"generation,omitempty"`
	ContentType    string   `json:"content_type,omitempty"`
	ExpiresAt      int64    `json:"expires_at,omitempty"`
	Parent         string   `json:"parent,omitempty"`
	ForkedAt       uint64   `json:"forked_at,omitempty"`
	TTL            int64    `json:"ttl,omitempty"`
}

// MarshalJSON writes the fields, with all times in milliseconds.
func (s Status) MarshalJSON() ([]byte, error) {
	return json.Marshal(statusJSON{
		Space: s.Space, Segment: s.Segment,
		FirstSequence: s.FirstSequence, FirstTimestamp: millis.Of(s.FirstTimestamp),
		LastSequence: s.LastSequence, LastTimestamp: millis.Of(s.LastTimestamp),
		Heartbeat: s.Heartbeat, State: s.State, Verdict: s.Verdict, Generation: s.Generation, ContentType: s.ContentType,
		ExpiresAt: millis.Of(s.ExpiresAt), Parent: s.Parent, ForkedAt: s.ForkedAt, TTL: s.TTL.Milliseconds(),
	})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Status) UnmarshalJSON(data []byte) error {
	var v statusJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*s = Status{
		Space: v.Space, Segment: v.Segment,
		FirstSequence: v.FirstSequence, FirstTimestamp: millis.Time(v.FirstTimestamp),
		LastSequence: v.LastSequence, LastTimestamp: millis.Time(v.LastTimestamp),
		Heartbeat: v.Heartbeat, State: v.State, Verdict: v.Verdict, Generation: v.Generation, ContentType: v.ContentType,
		ExpiresAt: millis.Time(v.ExpiresAt), Parent: v.Parent, ForkedAt: v.ForkedAt, TTL: time.Duration(v.TTL) * time.Millisecond,
	}
	return nil
}

// Empty reports whether no entry is kept.
func (s *Status) Empty() bool { return s.LastSequence == 0 || s.FirstSequence > s.LastSequence }

package streamhub

import (
	"encoding/json"
	"time"
)

// A State says whether a segment still takes appends.
type State string

const (
	// StateOpen is a segment that takes appends.
	StateOpen State = "open"
	// StateClosed is a segment with a verdict: it is read as before and takes nothing more.
	StateClosed State = "closed"
	// StateDeleted is a segment that is gone, or that only its forks still read.
	StateDeleted State = "deleted"
)

// A VerdictKind is the terminal state of a segment.
type VerdictKind string

// The verdicts.
const (
	VerdictDone       VerdictKind = "done"
	VerdictFailed     VerdictKind = "failed"
	VerdictCancelled  VerdictKind = "cancelled"
	VerdictLost       VerdictKind = "lost"
	VerdictSuperseded VerdictKind = "superseded"
	VerdictExpired    VerdictKind = "expired"
	VerdictDeleted    VerdictKind = "deleted"
)

// Known reports whether k is one of the verdicts above. A segment is never closed with another one.
func (k VerdictKind) Known() bool {
	switch k {
	case VerdictDone, VerdictFailed, VerdictCancelled, VerdictLost, VerdictSuperseded, VerdictExpired, VerdictDeleted:
		return true
	}
	return false
}

// A Verdict says how a segment ended. It is written once.
type Verdict struct {
	Kind VerdictKind `json:"kind"`
	// Reason is for people: an error text, or who cancelled.
	Reason string `json:"reason,omitempty"`
	// Output is what the producer left behind, if anything.
	Output json.RawMessage `json:"output,omitempty"`
}

// A Status describes a segment at one moment.
type Status struct {
	Space   string `json:"space"`
	Segment string `json:"segment"`
	// FirstSequence is the first entry still kept, LastSequence the last one written. Where
	// nothing is kept FirstSequence is LastSequence + 1; where nothing was ever written both are 0.
	FirstSequence  uint64 `json:"first_sequence"`
	FirstTimestamp int64  `json:"first_timestamp"` // Unix milliseconds
	LastSequence   uint64 `json:"last_sequence"`
	LastTimestamp  int64  `json:"last_timestamp"` // Unix milliseconds
	// Heartbeat marks a status that only says that a subscription is alive.
	Heartbeat bool `json:"heartbeat"`

	State       State    `json:"state,omitempty"`
	Verdict     *Verdict `json:"verdict,omitempty"`
	Generation  uint64   `json:"generation,omitempty"`
	ContentType string   `json:"content_type,omitempty"`
	// TTL is the sliding time to live, 0 for none; ExpiresAt the deadline in force in Unix
	// milliseconds, 0 for none. As JSON both are milliseconds.
	TTL       time.Duration `json:"-"`
	ExpiresAt int64         `json:"expires_at,omitempty"`
	// Parent names the segment that this one is a fork of, and the last sequence taken from it.
	Parent   string   `json:"parent,omitempty"`
	ForkedAt uint64   `json:"forked_at,omitempty"`
	Origin   string   `json:"-"` // see [CreateOptions]
	Position Position `json:"-"` // of the last entry
	// Kept is the position before FirstSequence, from which everything that is kept can be read. Its
	// proof is 0 where nothing is known of the entry before.
	Kept Position `json:"-"`
}

// Cursor returns the position after the last entry of the segment.
func (s *Status) Cursor() Cursor { return s.Position.Cursor() }

// statusFields are written as they are.
type statusFields Status

type statusJSON struct {
	*statusFields
	TTL int64 `json:"ttl,omitempty"`
}

// MarshalJSON writes the fields, with all times in milliseconds.
func (s Status) MarshalJSON() ([]byte, error) {
	return json.Marshal(statusJSON{(*statusFields)(&s), s.TTL.Milliseconds()})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Status) UnmarshalJSON(data []byte) error {
	v := statusJSON{statusFields: (*statusFields)(s)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	s.TTL = time.Duration(v.TTL) * time.Millisecond
	return nil
}

// Empty reports whether no entry is kept.
func (s *Status) Empty() bool { return s.LastSequence == 0 || s.FirstSequence > s.LastSequence }

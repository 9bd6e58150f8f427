package history

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Kind is what an operation did.
type Kind string

const (
	Append Kind = "append" // of records, a close, or both
	Tail   Kind = "tail"   // the status was read
	Read   Kind = "read"   // everything from the first entry on was read
)

// An Outcome is what its caller knows of an operation.
type Outcome string

// The outcomes.
const (
	// OK is success.
	OK Outcome = "ok"
	// Weak is an append that was written while its durability was not confirmed.
	Weak Outcome = "weak"
	// Refused is an answer of the segment: it is not in the state that the append asked for.
	Refused Outcome = "refused"
	// None is a failure by which nothing happened, whatever the state of the segment.
	None Outcome = "none"
	// Unknown may have happened.
	Unknown Outcome = "unknown"
)

// An Op is one call of one client. Times are those of the clock of the [Recorder].
type Op struct {
	// ID pairs the two lines that a [Recorder] writes of it.
	ID             uint64
	Client         string
	Space, Segment string
	Kind           Kind
	Call, Return   int64

	// What an append asked for. Records are digests; see [Digest].
	TRX                uuid.UUID
	Producer           *streamhub.Producer `json:",omitempty"`
	Expect, Generation uint64
	Records            []uint64 `json:",omitempty"`
	Close, MustExist   bool

	Outcome Outcome
	Code    streamhub.Code `json:",omitempty"`
	Error   string         `json:",omitempty"`

	// What was answered. Of a refusal First is the sequence that the segment expected, InForce the
	// generation, Last the last sequence of a closed segment, Epoch and Seq those of its producer.
	First, Last, InForce uint64
	Epoch, Seq           uint64
	Repeated, Closed     bool
	// Chain is that of the entries that a Read got.
	Chain Chain
}

// Key names the segment.
func (o *Op) Key() string { return o.Space + "/" + o.Segment }

func (o *Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%.3f ms … ", float64(o.Call)/1e6)
	if o.Outcome == Unknown {
		b.WriteString("?")
	} else {
		fmt.Fprintf(&b, "%.3f ms", float64(o.Return)/1e6)
	}
	fmt.Fprintf(&b, "] %s %s %s", o.Client, o.Kind, o.Key())
	if o.Kind == Append {
		fmt.Fprintf(&b, " %d records trx %.8s", len(o.Records), o.TRX)
		if o.Expect != 0 {
			fmt.Fprintf(&b, " expect %d", o.Expect)
		}
		if o.Generation != 0 {
			fmt.Fprintf(&b, " generation %d", o.Generation)
		}
		if p := o.Producer; p != nil {
			fmt.Fprintf(&b, " producer %s/%d/%d", p.ID, p.Epoch, p.Seq)
		}
		if o.Close {
			b.WriteString(" close")
		}
	}
	fmt.Fprintf(&b, " → %s", o.Outcome)
	switch {
	case o.Code != "":
		fmt.Fprintf(&b, " %s: %s", o.Code, o.Error)
	case o.Kind == Append:
		fmt.Fprintf(&b, " %d–%d generation %d", o.First, o.Last, o.InForce)
		if o.Repeated {
			b.WriteString(" repeated")
		}
	default:
		fmt.Fprintf(&b, " last %d", o.Last)
	}
	if o.Closed {
		b.WriteString(" closed")
	}
	return b.String()
}

// note puts what err says into the operation.
func (o *Op) note(err error) {
	var sequence *streamhub.SequenceError
	var fenced *streamhub.FencedError
	var closed *streamhub.ClosedError
	var producer *streamhub.ProducerError
	var unknown *streamhub.UnknownOutcomeError
	if err == nil {
		o.Outcome = OK
		return
	}
	o.Code, o.Error = streamhub.CodeOf(err), err.Error()
	o.Outcome = Refused
	switch {
	case errors.As(err, &unknown):
		o.Outcome = Unknown
	case errors.As(err, &sequence):
		o.First = sequence.Expected
	case errors.As(err, &fenced):
		o.InForce = fenced.Current
	case errors.As(err, &closed):
		o.Last, o.Closed = closed.LastSequence, true
	case errors.As(err, &producer):
		o.Epoch, o.Seq = producer.Epoch, producer.ExpectedSeq
		if errors.Is(err, streamhub.ErrUnknownOutcome) {
			o.Outcome = Unknown // an old repeat: it may have been stored long ago
		}
	case errors.Is(err, streamhub.ErrNotConfirmed):
		o.Outcome, o.Code = Weak, ""
	case errors.Is(err, streamhub.ErrHistoryLost), errors.Is(err, streamhub.ErrNotFound):
	default:
		switch o.Code {
		case "unavailable", "canceled", "deadline_exceeded", "shutdown":
			o.Outcome = None
		}
	}
}

// Digest is what stays of a record.
func Digest(payload []byte, metadata map[string]string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d ", len(payload))
	h.Write(payload)
	keys := make([]string, 0, len(metadata))
	for k := range metadata {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(h, "%q=%q", k, metadata[k])
	}
	return h.Sum64()
}

// A Chain stands for a log up to some entry: each link covers the one before, so two logs with the
// same chain have the same entries.
type Chain uint64

// Link adds one entry.
func (c Chain) Link(sequence uint64, trx uuid.UUID, digest uint64) Chain {
	h := mix(uint64(c)^sequence) + digest
	for i := 0; i < len(trx); i += 8 {
		h = mix(h ^ uint64(trx[i])<<56 ^ uint64(trx[i+1])<<48 ^ uint64(trx[i+2])<<40 ^ uint64(trx[i+3])<<32 ^
			uint64(trx[i+4])<<24 ^ uint64(trx[i+5])<<16 ^ uint64(trx[i+6])<<8 ^ uint64(trx[i+7]))
	}
	return Chain(mix(h))
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

package streamhub

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The conditions that a caller acts on. Test for them with errors.Is; the types below carry details and are found with
// errors.As. Nothing was stored unless the comment says otherwise. docs/contracts.md lists which call ends with which.
var (
	// ErrSequenceMismatch: another append came first. Read the stored entries, then continue at
	// [SequenceError].Expected.
	ErrSequenceMismatch = errors.New("the segment is at another sequence")
	// ErrFenced: a writer with a higher generation is at work. Stop, or acquire the lease again.
	ErrFenced = errors.New("fenced by a higher generation")
	// ErrClosed: the segment has its verdict and accepts nothing more. A follower gets this error after the last entry.
	ErrClosed = errors.New("the segment is closed")
	// ErrProducerGap: an append of the producer is missing. Send the one with [ProducerError].ExpectedSeq.
	ErrProducerGap = errors.New("the producer skipped a sequence")
	// ErrProducerFenced: the producer runs elsewhere, with a higher epoch. Stop.
	ErrProducerFenced = errors.New("the producer's epoch is over")
	// ErrBatchMismatch: the id of the append, or its place in its producer, was used with other records: a fault of the program.
	ErrBatchMismatch = errors.New("another append was stored under this id")
	// ErrConflict: the segment or object exists with other options than the call asks for.
	ErrConflict = errors.New("the segment exists with another configuration")
	// ErrNotFound: the segment never existed or was deleted. For a while after a deletion the error is a
	// [DeletedError].
	ErrNotFound = errors.New("not found")
	// ErrHistoryLost: Redis came back without entries that were seen or acknowledged. A reader undoes what it derived
	// from them and reads again. A writer gets this error once, from its next append: the same call then succeeds.
	ErrHistoryLost = errors.New("history was lost")
	// ErrTrimmed: entries were removed before they were read. Go on from [TrimmedError].Cursor, knowing that some are missing.
	ErrTrimmed = errors.New("trimmed")
	// ErrLeaseNotAcquired: another holder has the lease. [LeaseHeldError] says who, and for how long at most.
	ErrLeaseNotAcquired = errors.New("the lease is held by another")
	// ErrLeaseLost: another holder may have begun. Stop the work.
	ErrLeaseLost = errors.New("the lease was lost")
	// ErrInvalidName, ErrInvalidCursor, ErrInvalidArgument and ErrTooLarge: the call is wrong, and a repeat fails in
	// the same way.
	ErrInvalidName     = errors.New("invalid name")
	ErrInvalidCursor   = errors.New("invalid cursor")
	ErrInvalidArgument = errors.New("invalid argument")
	ErrTooLarge        = errors.New("too large")
	// ErrUnavailable: Redis or the gateway cannot serve. Retry while [Retryable] says so.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnknownOutcome: the request was sent and no answer came. It may have been stored, or may be stored later.
	// Repeat it with the TRX id of the [UnknownOutcomeError], on the same hub or client; elsewhere only a [Producer] is
	// recognised.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrNotConfirmed: the append is stored, and its result comes with the error, but the [Durability] asked for was
	// not reached in time.
	ErrNotConfirmed = errors.New("written, durability not confirmed")
	// ErrCorrupt: the data in Redis or in the archive contradicts itself. Call an operator.
	ErrCorrupt = errors.New("corrupt")
	// ErrShutdown: the hub or the client was closed. Open another one.
	ErrShutdown = errors.New("the hub is closed")
	// ErrUnauthenticated and ErrPermissionDenied: the token is missing or has expired, or it does not allow the call.
	ErrUnauthenticated  = errors.New("unauthenticated")
	ErrPermissionDenied = errors.New("permission denied")
	// ErrLimitExceeded: a limit of the gateway or of the space is reached. Wait, or have it raised.
	ErrLimitExceeded = errors.New("limit exceeded")
	// ErrQuota: the store has reached its quota. Delete or trim, or have the quota raised.
	ErrQuota = errors.New("over the quota of the store")
)

// An Error says which call on what failed. Err is, or wraps, one of the sentinels or a context's
// error.
type Error struct {
	Op             string
	Store          uuid.UUID
	Space, Segment string
	Lease          string // the key of the lease, for a call on a lease
	Err            error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Space != "" {
		fmt.Fprintf(&b, " %q", e.Space)
		if e.Segment != "" {
			fmt.Fprintf(&b, "/%q", e.Segment)
		}
	}
	if e.Lease != "" {
		fmt.Fprintf(&b, " %q", e.Lease)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// A SequenceError is an [ErrSequenceMismatch].
type SequenceError struct {
	// Expected is the sequence of the next append; Got is the sequence that the call named.
	Expected, Got uint64
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("expected sequence %d, but the next one is %d: see what is stored, then go on from there", e.Got, e.Expected)
}
func (e *SequenceError) Unwrap() error { return ErrSequenceMismatch }

// A FencedError is an [ErrFenced].
type FencedError struct{ Current, Got uint64 }

func (e *FencedError) Error() string {
	if e.Got == 0 {
		return fmt.Sprintf("fenced: generation %d is in force, and this call names none: acquire the lease and pass its token", e.Current)
	}
	return fmt.Sprintf("fenced: generation %d is in force, and this call names %d: stop, or acquire the lease again", e.Current, e.Got)
}
func (e *FencedError) Unwrap() error { return ErrFenced }

// A ClosedError is an [ErrClosed]. A follower gets it after the last entry.
type ClosedError struct {
	Verdict Verdict
	// LastSequence is the last entry of the segment.
	LastSequence uint64
}

func (e *ClosedError) Error() string {
	text := fmt.Sprintf("closed as %s", e.Verdict.Kind)
	if e.LastSequence > 0 {
		text += fmt.Sprintf(" after sequence %d", e.LastSequence)
	}
	if e.Verdict.Reason != "" {
		text += ": " + e.Verdict.Reason
	}
	return text
}
func (e *ClosedError) Unwrap() error { return ErrClosed }

// A DeletedError is an [ErrNotFound]: there was a segment, and it was deleted or has expired.
type DeletedError struct {
	Verdict Verdict
	// Held says that forks still read the segment. Its name stays in use until the last fork is removed.
	Held bool
}

func (e *DeletedError) Error() string {
	text := fmt.Sprintf("not found: the segment was removed (%s)", e.Verdict.Kind)
	if e.Verdict.Reason != "" {
		text += ": " + e.Verdict.Reason
	}
	if e.Held {
		text += "; its forks still read it, and the name is free when the last of them is deleted"
	}
	return text
}
func (e *DeletedError) Unwrap() error { return ErrNotFound }

// A ProducerError is an [ErrProducerGap], [ErrProducerFenced], [ErrBatchMismatch], or [ErrUnknownOutcome] for a repeat
// that is older than the appends that Redis remembers; Kind is that sentinel.
type ProducerError struct {
	Kind error
	// Epoch is the current epoch of the producer, and ExpectedSeq the Seq of its next append.
	Epoch, ExpectedSeq uint64
}

func (e *ProducerError) Error() string {
	cure := "send that one"
	switch {
	case errors.Is(e.Kind, ErrProducerFenced):
		cure = "another process has taken over: stop, or raise the epoch and begin with seq 0"
	case errors.Is(e.Kind, ErrBatchMismatch):
		cure = "a repeat must have the same records; give another append another id or seq"
	case errors.Is(e.Kind, ErrUnknownOutcome):
		cure = "the repeat is older than what is remembered: read the segment to see whether it was stored"
	}
	return fmt.Sprintf("%v: epoch %d is in force and its next seq is %d: %s", e.Kind, e.Epoch, e.ExpectedSeq, cure)
}
func (e *ProducerError) Unwrap() error { return e.Kind }

// A QuotaError is an [ErrQuota]: nothing was stored.
type QuotaError struct {
	// Used is the estimated size of the store in Redis, in bytes; Quota is the limit.
	Used, Quota int64
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("over the quota of the store: it keeps about %d bytes and may keep %d: delete or trim segments, or have the quota raised", e.Used, e.Quota)
}
func (e *QuotaError) Unwrap() error { return ErrQuota }

// A TrimmedError is an [ErrTrimmed]: entries that were wanted were removed on purpose. A read that begins at Cursor
// returns all remaining entries after those that were read before, each once.
type TrimmedError struct {
	// FirstKept is the first sequence that can still be read; 0 along a space.
	FirstKept uint64
	// Cursor resumes after the missing entries: in a segment at FirstKept, in a space at the first remaining entry of
	// any segment.
	Cursor Cursor
	// Space is the space that Cursor belongs to, for a read of several spaces; "" for a segment.
	Space string
}

func (e *TrimmedError) Error() string {
	if e.FirstKept == 0 {
		return "trimmed: entries after the cursor were removed; the cursor of this error goes on with what is left"
	}
	return fmt.Sprintf("trimmed: entries that were asked for were removed; read on from sequence %d", e.FirstKept)
}
func (e *TrimmedError) Unwrap() error { return ErrTrimmed }

// A HistoryLostError is an [ErrHistoryLost]: entries that had been seen or acknowledged vanished or
// were replaced.
type HistoryLostError struct {
	// FirstLost is the first sequence that was lost or replaced; 0 along a space.
	FirstLost uint64
}

func (e *HistoryLostError) Error() string {
	if e.FirstLost == 0 {
		return "history was lost: entries before the cursor are not what they were; read the space again from the start"
	}
	return fmt.Sprintf("history was lost: the entries from sequence %d on are not what they were; read them again, then go on", e.FirstLost)
}
func (e *HistoryLostError) Unwrap() error { return ErrHistoryLost }

// A LeaseHeldError is an [ErrLeaseNotAcquired].
type LeaseHeldError struct {
	Holder string
	Token  uint64
	// Left is what remains of the ttl, by the clock of Redis.
	Left time.Duration
}

// Since returns when the holder acquired the lease, by the clock of Redis: the token is made from that clock. If the
// clock was set back, Since can be later than the acquisition.
func (e *LeaseHeldError) Since() time.Time { return time.UnixMicro(int64(e.Token)) }

func (e *LeaseHeldError) Error() string {
	return fmt.Sprintf("the lease is held by %q since %s, for another %v: try again then", e.Holder, e.Since().UTC().Format(time.RFC3339), e.Left)
}
func (e *LeaseHeldError) Unwrap() error { return ErrLeaseNotAcquired }

// An UnavailableReason says why Redis cannot serve, or that it cannot be reached.
type UnavailableReason string

// The reasons of an [UnavailableError].
const (
	ReasonDown     UnavailableReason = "down"        // no connection, or no primary
	ReasonLoading  UnavailableReason = "loading"     // reading its data after a start
	ReasonReadOnly UnavailableReason = "read-only"   // a replica answered
	ReasonFull     UnavailableReason = "full"        // out of memory or disk
	ReasonReplicas UnavailableReason = "no-replicas" // too few replicas are connected
	ReasonBusy     UnavailableReason = "busy"        // a script or too many clients block it
	ReasonDenied   UnavailableReason = "denied"      // wrong user or password, or a missing right
	ReasonTLS      UnavailableReason = "tls"         // the certificate is not trusted, or the port speaks no TLS
	ReasonPool     UnavailableReason = "pool"        // no free connection in this process
	ReasonGateway  UnavailableReason = "gateway"     // no connection to a gateway
)

// An UnavailableError is an [ErrUnavailable]. Nothing happened.
type UnavailableError struct {
	Reason UnavailableReason
	Err    error
}

// cures say what to do about each reason.
var cures = map[UnavailableReason]string{
	ReasonDown:     "check that it runs and can be reached from here",
	ReasonLoading:  "retry when it has read its data",
	ReasonReadOnly: "a replica answered: connect to the primary, or wait for the failover",
	ReasonFull:     "give it memory or disk, or remove data",
	ReasonReplicas: "check its replicas, or lower min-replicas-to-write",
	ReasonBusy:     "retry when it is less busy",
	ReasonDenied:   "check the user, its password and its ACL",
	ReasonTLS:      "check the certificate, and whether the port speaks TLS",
	ReasonPool:     "all connections of this process are in use: raise PoolSize, or call less at once",
	ReasonGateway:  "check its address, and that it runs",
}

func (e *UnavailableError) Error() string {
	//nolint:errorlint // only a bare one, which says all that this one would
	if inner, ok := e.Err.(*UnavailableError); ok {
		return inner.Error()
	}
	text := fmt.Sprintf("redis unavailable (%s): %v", e.Reason, e.Err)
	if e.Reason == ReasonGateway {
		text = fmt.Sprintf("gateway unavailable: %v", e.Err)
	}
	cure := cures[e.Reason]
	var knows interface{ Cure() string }
	if errors.As(e.Err, &knows) { // its text ends with a command to paste, so nothing is added
		cure = knows.Cure()
	}
	if cure != "" {
		text += "; " + cure
	}
	return text
}
func (e *UnavailableError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// An UnknownOutcomeError is an [ErrUnknownOutcome]: the request was sent and no answer came.
type UnknownOutcomeError struct {
	// TRX is the id with which the append can be repeated.
	TRX uuid.UUID
	Err error
}

func (e *UnknownOutcomeError) Error() string {
	if e.TRX == uuid.Nil {
		return fmt.Sprintf("outcome unknown: %v", e.Err)
	}
	return fmt.Sprintf("outcome unknown: %v; repeat the call on the same hub or client with the TRX id %s to learn it", e.Err, e.TRX)
}
func (e *UnknownOutcomeError) Unwrap() []error {
	return []error{ErrUnknownOutcome, e.Err}
}

package wire

import (
	"context"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// The kind of an error says which fields follow its code and text. docs/protocol.md has the same numbers. A client that
// does not know a kind uses code and text.
const (
	plainError = iota
	sequenceError
	fencedError
	closedError
	producerError
	historyLostError
	trimmedError
	unavailableError
	unknownOutcomeError
	leaseHeldError
	deletedError
)

// appendError writes the code of an error, its text without the name of the call, and its fields.
func appendError(b []byte, err error) []byte {
	var call *streamhub.Error
	if errors.As(err, &call) {
		err = call.Err
	}
	// The text of an internal error stays in the server.
	text := err.Error()
	switch code := streamhub.CodeOf(err); code {
	case streamhub.CodeInternal:
		text = "internal error"
	case streamhub.CodeOf(streamhub.ErrUnavailable):
		text = "the gateway cannot use its Redis"
	case streamhub.CodeOf(streamhub.ErrUnknownOutcome):
		text = "no answer from Redis"
	}
	b = appendNames(b, string(streamhub.CodeOf(err)), text)

	var (
		sequence    *streamhub.SequenceError
		fenced      *streamhub.FencedError
		closed      *streamhub.ClosedError
		producer    *streamhub.ProducerError
		lost        *streamhub.HistoryLostError
		trimmed     *streamhub.TrimmedError
		unavailable *streamhub.UnavailableError
		unknown     *streamhub.UnknownOutcomeError
		held        *streamhub.LeaseHeldError
		deleted     *streamhub.DeletedError
	)
	switch {
	case errors.As(err, &unknown): // checked first, because it may wrap another sentinel
		return append(append(b, unknownOutcomeError), unknown.TRX[:]...)
	case errors.As(err, &sequence):
		return appendUint(appendUint(append(b, sequenceError), sequence.Expected), sequence.Got)
	case errors.As(err, &fenced):
		return appendUint(appendUint(append(b, fencedError), fenced.Current), fenced.Got)
	case errors.As(err, &closed):
		return appendUint(appendVerdict(append(b, closedError), &closed.Verdict), closed.LastSequence)
	case errors.As(err, &producer):
		b = appendBytes(append(b, producerError), string(streamhub.CodeOf(producer.Kind)))
		return appendUint(appendUint(b, producer.Epoch), producer.ExpectedSeq)
	case errors.As(err, &lost):
		return appendUint(append(b, historyLostError), lost.FirstLost)
	case errors.As(err, &trimmed):
		return appendNames(appendUint(append(b, trimmedError), trimmed.FirstKept), string(trimmed.Cursor), trimmed.Space)
	case errors.As(err, &unavailable):
		return appendBytes(append(b, unavailableError), string(unavailable.Reason))
	case errors.As(err, &held):
		return appendInt(appendUint(appendBytes(append(b, leaseHeldError), held.Holder), held.Token), int64(held.Left))
	case errors.As(err, &deleted):
		return appendBool(appendVerdict(append(b, deletedError), &deleted.Verdict), deleted.Held)
	}
	return append(b, plainError)
}

// decodeError makes the error of package streamhub that a call in process would have returned. An error type with
// fields makes its own text. Any other error keeps the text of the server. A code that this version does not know
// becomes an error with only a text.
func decodeError(d *decoder) error {
	code, text := streamhub.Code(d.string()), d.string()
	remote := remoteError{code.Err(), text}
	switch d.byte() {
	case sequenceError:
		return &streamhub.SequenceError{Expected: d.uint(), Got: d.uint()}
	case fencedError:
		return &streamhub.FencedError{Current: d.uint(), Got: d.uint()}
	case closedError:
		return &streamhub.ClosedError{Verdict: decodeVerdict(d), LastSequence: d.uint()}
	case producerError:
		e := &streamhub.ProducerError{Kind: streamhub.Code(d.string()).Err(), Epoch: d.uint(), ExpectedSeq: d.uint()}
		// The code is from a later version. A ProducerError without a kind would match no sentinel.
		if e.Kind == nil {
			e.Kind = streamhub.ErrInvalidArgument
		}
		return e
	case historyLostError:
		return &streamhub.HistoryLostError{FirstLost: d.uint()}
	case trimmedError:
		return &streamhub.TrimmedError{FirstKept: d.uint(), Cursor: streamhub.Cursor(d.string()), Space: d.string()}
	case unavailableError:
		return &streamhub.UnavailableError{Reason: streamhub.UnavailableReason(d.string()), Err: errors.New(text)}
	case unknownOutcomeError:
		return &streamhub.UnknownOutcomeError{TRX: d.uuid(), Err: errors.New(text)}
	case leaseHeldError:
		return &streamhub.LeaseHeldError{Holder: d.string(), Token: d.uint(), Left: time.Duration(d.int())}
	case deletedError:
		return &streamhub.DeletedError{Verdict: decodeVerdict(d), Held: d.bool()}
	}
	switch {
	case remote.kind == nil:
		return errors.New(text)
	case errors.Is(remote.kind, context.Canceled), errors.Is(remote.kind, context.DeadlineExceeded):
		return remote.kind
	}
	return &remote
}

// A remoteError is a sentinel of package streamhub with the text of the server.
type remoteError struct {
	kind error
	text string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

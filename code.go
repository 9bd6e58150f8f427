package streamhub

import (
	"context"
	"errors"
)

// A Code is the text that stands for an error on the wire, in metrics and in logs. The list is
// closed; see [Codes].
type Code string

// codes orders the sentinels so that the more specific one comes first: [CodeOf] returns the first one that an error
// wraps.
var codes = []struct {
	code Code
	err  error
}{
	{"sequence_mismatch", ErrSequenceMismatch},
	{"fenced", ErrFenced},
	{"closed", ErrClosed},
	{"producer_gap", ErrProducerGap},
	{"producer_fenced", ErrProducerFenced},
	{"batch_mismatch", ErrBatchMismatch},
	{"conflict", ErrConflict},
	{"not_found", ErrNotFound},
	{"history_lost", ErrHistoryLost},
	{"trimmed", ErrTrimmed},
	{"lease_not_acquired", ErrLeaseNotAcquired},
	{"lease_lost", ErrLeaseLost},
	{"invalid_name", ErrInvalidName},
	{"invalid_cursor", ErrInvalidCursor},
	{"invalid_argument", ErrInvalidArgument},
	{"too_large", ErrTooLarge},
	{"unknown_outcome", ErrUnknownOutcome},
	{"not_confirmed", ErrNotConfirmed},
	{"corrupt", ErrCorrupt},
	{"shutdown", ErrShutdown},
	{"unauthenticated", ErrUnauthenticated},
	{"permission_denied", ErrPermissionDenied},
	{"limit_exceeded", ErrLimitExceeded},
	{"quota", ErrQuota},
	{"unavailable", ErrUnavailable},
	{"canceled", context.Canceled},
	{"deadline_exceeded", context.DeadlineExceeded},
}

// CodeInternal is the code of every error that wraps no sentinel of this package.
const CodeInternal Code = "internal"

// Codes returns every code that [CodeOf] returns for an error, [CodeInternal] last.
func Codes() []Code {
	all := make([]Code, 0, len(codes)+1)
	for _, c := range codes {
		all = append(all, c.code)
	}
	return append(all, CodeInternal)
}

// CodeOf returns the code of err, or "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return CodeInternal
}

// Err returns the sentinel that c stands for, nil if there is none.
func (c Code) Err() error {
	for _, known := range codes {
		if known.code == c {
			return known.err
		}
	}
	return nil
}

package streamhub

import "errors"

// Retryable reports whether making the same call again can help, after a pause: nothing happened because
// something was out of reach, or it is unknown what happened. An append whose outcome is unknown is then
// repeated with the TRX id of its error, or under the same [Producer].
//
// Everything else is an answer and stays as it is until an operator acts: a user that lacks a
// right, or a certificate that is not trusted ([ReasonDenied], [ReasonTLS]); a repeat that is older
// than what is remembered of its producer; a limit; a lease that another holds; the end of the
// caller's own context. After [ErrShutdown] another hub may take the call; this one never will.
//
// It looks at the kind of the error only, never at its text.
func Retryable(err error) bool {
	var answered *ProducerError
	var unavailable *UnavailableError
	switch {
	case errors.As(err, &answered), errors.Is(err, ErrUnauthenticated), errors.Is(err, ErrPermissionDenied):
		return false
	case errors.As(err, &unavailable):
		return unavailable.Reason != ReasonDenied && unavailable.Reason != ReasonTLS
	}
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome)
}

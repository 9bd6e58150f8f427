package streamhub

import "errors"

// Retryable reports whether the same call can succeed later, after a pause: Redis or a gateway could not serve, or the
// outcome is unknown. Repeat an append whose outcome is unknown with the TRX id of its error, or under the same
// [Producer].
//
// Every other error is final. Some need an operator: a missing right or an untrusted certificate ([ReasonDenied],
// [ReasonTLS]), or a limit. Also final are a lease that another holder has, the end of the caller's own
// context, and a repeat that is too old for Redis to recognise. After [ErrShutdown] another hub can serve the call.
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

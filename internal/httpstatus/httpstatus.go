// Package httpstatus is the table of what the transports over HTTP answer to an error: each of them writes a body of its
// own, and all have the same status for a code.
package httpstatus

import (
	"net/http"

	"github.com/seed-147127fe/streamhub"
)

// GivenUp is for a request that its client gave up before the answer. One that has closed only its own direction of the
// connection still reads it.
const GivenUp = 499

// Of returns the status of an error with this code. ok is false, and the status 500, for one that its client can do nothing
// about: its text may tell of the inside of the server, and goes to the log and to no client. The end of a context is
// among these, since only the transport knows whether it is that of the request.
func Of(code streamhub.Code) (status int, ok bool) {
	if status, ok = statuses[code]; !ok {
		status = http.StatusInternalServerError
	}
	return status, ok
}

var statuses = map[streamhub.Code]int{
	streamhub.CodeOf(streamhub.ErrSequenceMismatch): http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrFenced):           http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrClosed):           http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrProducerGap):      http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrProducerFenced):   http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrBatchMismatch):    http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrConflict):         http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrNotFound):         http.StatusNotFound,
	streamhub.CodeOf(streamhub.ErrHistoryLost):      http.StatusGone,
	streamhub.CodeOf(streamhub.ErrTrimmed):          http.StatusGone,
	streamhub.CodeOf(streamhub.ErrLeaseNotAcquired): http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrLeaseLost):        http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrInvalidName):      http.StatusBadRequest,
	streamhub.CodeOf(streamhub.ErrInvalidCursor):    http.StatusBadRequest,
	streamhub.CodeOf(streamhub.ErrInvalidArgument):  http.StatusBadRequest,
	streamhub.CodeOf(streamhub.ErrTooLarge):         http.StatusRequestEntityTooLarge,
	streamhub.CodeOf(streamhub.ErrUnknownOutcome):   http.StatusServiceUnavailable,
	streamhub.CodeOf(streamhub.ErrNotConfirmed):     http.StatusServiceUnavailable,
	streamhub.CodeOf(streamhub.ErrShutdown):         http.StatusServiceUnavailable,
	streamhub.CodeOf(streamhub.ErrUnauthenticated):  http.StatusUnauthorized,
	streamhub.CodeOf(streamhub.ErrPermissionDenied): http.StatusForbidden,
	streamhub.CodeOf(streamhub.ErrLimitExceeded):    http.StatusTooManyRequests,
	streamhub.CodeOf(streamhub.ErrQuota):            http.StatusInsufficientStorage,
	streamhub.CodeOf(streamhub.ErrUnavailable):      http.StatusServiceUnavailable,
}

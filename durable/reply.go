package durable

import (
	"context"
	"errors"
	"net/http"

	"github.com/seed-147127fe/streamhub"
)

// statusGivenUp is for a request that its client gave up. One that has closed only its own direction
// of the connection still reads it.
const statusGivenUp = 499

// refuse answers with a status and a line of text. No cache keeps it.
func refuse(w http.ResponseWriter, status int, message string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(message + "\n"))
}

// fail answers with err. s is nil if the request did not get as far as a stream. Only errors that are
// internal go to the log, and their text goes to no client.
func (d *Handler) fail(w http.ResponseWriter, r *http.Request, s *stream, err error) {
	status, message := statusOf(err)
	if r.Context().Err() != nil && status == http.StatusInternalServerError {
		// An answer that is not written would be 200.
		if status, message = statusOf(context.Cause(r.Context())); status == http.StatusInternalServerError {
			status, message = statusGivenUp, "the client gave up before the answer"
		}
	}
	h := w.Header()
	gone := (*goneError)(nil)
	switch {
	case errors.As(err, &gone):
		h.Set(headerFirstOffset, gone.first.String())
	case status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	if status == http.StatusInternalServerError {
		path := r.URL.Path
		if s != nil {
			path = s.path
		}
		d.opt.Logger.Error("a request failed", "method", r.Method, "path", path, "error", err)
	}
	refuse(w, status, message)
}

// statusOf is the status and the text with which a client is told of an error. What the caller can
// act on keeps its text.
func statusOf(err error) (status int, message string) {
	is := func(target error) bool { return errors.Is(err, target) }
	var known *statusError
	deleted := (*streamhub.DeletedError)(nil)
	switch {
	case errors.As(err, &known):
		return known.status, known.message
	// Before ErrNotFound, which a deletion also is.
	case errors.As(err, &deleted) && deleted.Held:
		return http.StatusGone, "the stream was deleted; its forks still read it"
	case is(streamhub.ErrNotFound):
		return http.StatusNotFound, "stream not found"
	case is(streamhub.ErrTrimmed):
		return http.StatusGone, "what was there was removed"
	case is(streamhub.ErrHistoryLost):
		return http.StatusGone, "the stream is not the one that it was"
	case is(streamhub.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, err.Error()
	case is(streamhub.ErrInvalidName), is(streamhub.ErrInvalidArgument):
		return http.StatusBadRequest, err.Error()
	case is(streamhub.ErrConflict), is(streamhub.ErrClosed), is(streamhub.ErrFenced):
		return http.StatusConflict, err.Error()
	case is(streamhub.ErrPermissionDenied):
		return http.StatusForbidden, "forbidden"
	case is(streamhub.ErrUnauthenticated):
		return http.StatusUnauthorized, "unauthorized"
	case is(streamhub.ErrLimitExceeded):
		return http.StatusTooManyRequests, "too many requests"
	case is(streamhub.ErrQuota):
		return http.StatusInsufficientStorage, err.Error()
	case is(errStopping), is(streamhub.ErrShutdown):
		return http.StatusServiceUnavailable, "the gateway is stopping"
	case is(streamhub.ErrNotConfirmed):
		return http.StatusServiceUnavailable, "stored, durability not confirmed"
	case is(streamhub.ErrUnknownOutcome):
		return http.StatusServiceUnavailable, "the append may have been stored"
	case is(streamhub.ErrUnavailable), is(context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "unavailable"
	}
	return http.StatusInternalServerError, "internal error"
}

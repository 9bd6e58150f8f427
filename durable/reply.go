package durable

import (
	"context"
	"errors"
	"net/http"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
)

// refuse answers with a status and a line of text. No cache keeps it.
func refuse(w http.ResponseWriter, status int, message string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(message + "\n"))
}

// fail answers with err. s is nil if the request named no stream. Only internal errors are logged; clients do not get
// their text.
func (d *Handler) fail(w http.ResponseWriter, r *http.Request, s *stream, err error) {
	status, message := statusOf(err)
	if r.Context().Err() != nil && status == http.StatusInternalServerError {
		// Without a response the status would be recorded as 200.
		if status, message = statusOf(context.Cause(r.Context())); status == http.StatusInternalServerError {
			status, message = httpstatus.GivenUp, "the client gave up before the answer"
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

// statusOf returns the HTTP status and the text of an error. An error that the client can act on keeps its own text.
func statusOf(err error) (status int, message string) {
	var known *statusError
	if errors.As(err, &known) {
		return known.status, known.message
	}
	if deleted := (*streamhub.DeletedError)(nil); errors.As(err, &deleted) && deleted.Held {
		return http.StatusGone, "the stream was deleted; its forks still read it"
	}
	code := streamhub.CodeOf(err)
	if code == streamhub.CodeOf(context.DeadlineExceeded) { // of a context of this handler
		code = streamhub.CodeOf(streamhub.ErrUnavailable)
	}
	status, ok := httpstatus.Of(code)
	message, ours := texts[code]
	switch {
	case !ok:
		return status, "internal error"
	case ours:
		return status, message
	}
	return status, err.Error()
}

// texts has the texts for errors whose own text would not help a client.
var texts = map[streamhub.Code]string{
	streamhub.CodeOf(streamhub.ErrNotFound):         "stream not found",
	streamhub.CodeOf(streamhub.ErrTrimmed):          "what was there was removed",
	streamhub.CodeOf(streamhub.ErrHistoryLost):      "the stream is not the one that it was",
	streamhub.CodeOf(streamhub.ErrPermissionDenied): "forbidden",
	streamhub.CodeOf(streamhub.ErrUnauthenticated):  "unauthorized",
	streamhub.CodeOf(streamhub.ErrLimitExceeded):    "too many requests",
	streamhub.CodeOf(streamhub.ErrShutdown):         "the gateway is stopping",
	streamhub.CodeOf(streamhub.ErrNotConfirmed):     "stored, durability not confirmed",
	streamhub.CodeOf(streamhub.ErrUnknownOutcome):   "the append may have been stored",
	streamhub.CodeOf(streamhub.ErrUnavailable):      "unavailable",
}

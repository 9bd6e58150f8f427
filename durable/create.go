package durable

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

const defaultType = "application/octet-stream"

// create answers PUT: it makes a stream, or confirms that it is there with the same configuration.
func (d *Handler) create(w http.ResponseWriter, r *http.Request, s *stream) error {
	o, err := createOptions(r.Header)
	if err != nil {
		return err
	}
	body, err := d.body(w, r)
	if err != nil {
		return err
	}
	f, err := forkOf(r.Header, s.root)
	if err != nil {
		return err
	}
	var status streamhub.Status
	created := false
	if f != nil {
		// The fork shows the entries of its source, so its creator must be allowed to read these.
		if err := d.authorize(r, f.source.right(false)); err != nil {
			return err
		}
		status, created, err = f.create(r.Context(), s, o, body)
	} else {
		if o.ContentType == "" {
			o.ContentType = defaultType
		}
		if o.Records, err = recordsOf(o.ContentType, body, true); err != nil {
			return err
		}
		status, created, err = s.store.Create(r.Context(), s.space, s.segment, o)
		if errors.Is(err, streamhub.ErrConflict) {
			status, err = s.confirm(r.Context(), o, err)
		}
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", status.ContentType)
	h.Set(headerNextOffset, tailOf(&status).String())
	if status.State == streamhub.StateClosed {
		h.Set(headerClosed, "true")
	}
	if !created {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	h.Set("Location", s.url(s.path))
	w.WriteHeader(http.StatusCreated)
	return nil
}

// confirm is for a stream that is there with another configuration. One that another transport created
// without a content type has the default one. Otherwise it says what differs.
func (s *stream) confirm(ctx context.Context, o *streamhub.CreateOptions, failed error) (streamhub.Status, error) {
	status, err := s.store.Status(ctx, s.space, s.segment)
	have := contentType(&status)
	switch {
	case err != nil:
		return status, failed // forks still read a deleted one
	case status.Origin == "" && sameConfiguration(&status, o):
		return status, nil
	case mediaType(have) != mediaType(o.ContentType):
		return status, conflict(fmt.Sprintf("the stream exists with the content type %q, not %q", have, o.ContentType))
	case (status.State == streamhub.StateClosed) != (o.Closed != nil):
		return status, conflict("the stream exists and is " + string(status.State) + "; a PUT with " + headerClosed + ": true asks for a closed one, without it for an open one")
	case status.Origin != "":
		return status, conflict("the stream exists as a fork of another one")
	}
	return status, conflict("the stream exists with another " + headerTTL + " or " + headerExpiresAt)
}

// createOptions reads the configuration that the headers ask for.
func createOptions(h http.Header) (*streamhub.CreateOptions, error) {
	o := &streamhub.CreateOptions{ContentType: h.Get("Content-Type")}
	ttl, expires := h.Values(headerTTL), h.Values(headerExpiresAt)
	if len(ttl) > 0 && len(expires) > 0 {
		return nil, badRequest("%s and %s exclude each other", headerTTL, headerExpiresAt)
	}
	if len(ttl) > 0 {
		seconds, err := wholeNumber(ttl[0])
		// More seconds than a time.Duration holds would turn negative.
		if err != nil || seconds > uint64(1<<63-1)/uint64(time.Second) {
			return nil, badRequest("%s: %.64q is no whole number of seconds", headerTTL, ttl[0])
		}
		// Nothing lasts no time at all; one millisecond is as good.
		o.TTL = max(time.Duration(seconds)*time.Second, time.Millisecond)
	}
	if len(expires) > 0 {
		at, err := time.Parse(time.RFC3339, expires[0])
		if err != nil || millis.Of(at) <= 0 {
			return nil, badRequest("%s: %.64q is no time such as 2030-01-02T15:04:05Z", headerExpiresAt, expires[0])
		}
		if !at.After(time.Now()) {
			return nil, badRequest("%s: %.64q has passed", headerExpiresAt, expires[0])
		}
		o.ExpiresAt = at
	}
	var err error
	o.Closed, err = closes(h)
	return o, err
}

// closes returns the verdict that a request closes the stream with, or nil. The protocol knows the value true alone; false is as
// good as no header.
func closes(h http.Header) (*streamhub.Verdict, error) {
	switch text := strings.ToLower(h.Get(headerClosed)); text {
	case "true":
		return &streamhub.Verdict{Kind: streamhub.VerdictDone}, nil
	case "", "false":
		return nil, nil //nolint:nilnil // nil is an open stream
	default:
		return nil, badRequest("%s: %.64q: want true or false", headerClosed, text)
	}
}

// wholeNumber reads a decimal without sign and without a leading zero.
func wholeNumber(text string) (uint64, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" || text[0] == '0' && len(text) > 1 {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(text, 10, 64)
}

// remove answers a DELETE of a stream.
func (d *Handler) remove(w http.ResponseWriter, r *http.Request, s *stream) error {
	// What was deleted before, and what only forks read, is not there to be deleted.
	if _, err := s.store.Status(r.Context(), s.space, s.segment); err != nil {
		return err
	}
	if err := s.store.Delete(r.Context(), s.space, s.segment, ""); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// head answers HEAD. Unlike GET it renews no sliding time to live: the protocol wants so.
func (d *Handler) head(w http.ResponseWriter, r *http.Request, s *stream) error {
	status, err := s.store.Status(r.Context(), s.space, s.segment)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", contentType(&status))
	h.Set("Cache-Control", "no-store")
	h.Set(headerNextOffset, tailOf(&status).String())
	if status.State == streamhub.StateClosed {
		h.Set(headerClosed, "true")
	}
	switch {
	case status.TTL > 0:
		h.Set(headerTTL, strconv.FormatInt(int64(status.TTL/time.Second), 10))
	case !status.ExpiresAt.IsZero():
		h.Set(headerExpiresAt, status.ExpiresAt.UTC().Format(time.RFC3339Nano))
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// contentType is that of a stream; one that another transport created may have none.
func contentType(status *streamhub.Status) string {
	if status.ContentType == "" {
		return defaultType
	}
	return status.ContentType
}

// sameConfiguration reports whether a stream is what o asks for, forks aside.
func sameConfiguration(status *streamhub.Status, o *streamhub.CreateOptions) bool {
	return status.TTL == o.TTL && (status.TTL > 0 || millis.Of(status.ExpiresAt) == millis.Of(o.ExpiresAt)) &&
		mediaType(contentType(status)) == mediaType(o.ContentType) &&
		(status.State == streamhub.StateClosed) == (o.Closed != nil)
}

var errTooLarge = &statusError{http.StatusRequestEntityTooLarge, "the body is larger than an append may be: send it in parts"}

// tooLarge gives errors of reading a body their status.
func tooLarge(err error) error {
	if limit := (*http.MaxBytesError)(nil); errors.As(err, &limit) {
		return errTooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &statusError{http.StatusRequestTimeout, "the body comes too slowly"}
	}
	if streamhub.CodeOf(err) != streamhub.CodeInternal {
		return err // of the gate: a limit, or a token that has expired
	}
	return badRequest("the body cannot be read to its end")
}

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

// create answers PUT: it creates a stream, or confirms that it exists with the same configuration.
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
		// A fork contains the entries of its source, so its creator must have the right to read the source.
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

// confirm checks a stream that Create reported with another configuration. A stream without a content type, which
// another transport created, counts as one with the default type. If the configuration still differs, the error says
// how.
func (s *stream) confirm(ctx context.Context, o *streamhub.CreateOptions, failed error) (streamhub.Status, error) {
	status, err := s.store.Status(ctx, s.space, s.segment)
	have := contentType(&status)
	switch {
	case err != nil:
		return status, failed // the name may belong to a deleted stream that forks still read
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
		// A number of seconds that does not fit into a time.Duration would become negative.
		if err != nil || seconds > uint64(1<<63-1)/uint64(time.Second) {
			return nil, badRequest("%s: %.64q is no whole number of seconds", headerTTL, ttl[0])
		}
		// A TTL of 0 would mean no expiry; one millisecond expires as fast as asked for.
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

// closes returns the verdict that a request closes the stream with, or nil. The protocol defines only the value true;
// any other value counts as no header.
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
	// A deleted stream is not found, even if forks still read it.
	if _, err := s.store.Status(r.Context(), s.space, s.segment); err != nil {
		return err
	}
	if err := s.store.Delete(r.Context(), s.space, s.segment, ""); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// head answers HEAD. As the protocol requires, it does not renew a sliding time to live, unlike GET.
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

// contentType returns the content type of a stream, or the default if another transport created it without one.
func contentType(status *streamhub.Status) string {
	if status.ContentType == "" {
		return defaultType
	}
	return status.ContentType
}

// sameConfiguration reports whether a stream has the configuration of o, except for its fork.
func sameConfiguration(status *streamhub.Status, o *streamhub.CreateOptions) bool {
	return status.TTL == o.TTL && (status.TTL > 0 || millis.Of(status.ExpiresAt) == millis.Of(o.ExpiresAt)) &&
		mediaType(contentType(status)) == mediaType(o.ContentType) &&
		(status.State == streamhub.StateClosed) == (o.Closed != nil)
}

var errTooLarge = &statusError{http.StatusRequestEntityTooLarge, "the body is larger than an append may be: send it in parts"}

// tooLarge maps an error of reading a body to the error that is answered.
func tooLarge(err error) error {
	if limit := (*http.MaxBytesError)(nil); errors.As(err, &limit) {
		return errTooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &statusError{http.StatusRequestTimeout, "the body comes too slowly"}
	}
	if streamhub.CodeOf(err) != streamhub.CodeInternal {
		return err // an error of the gate: a limit, or a token that has expired
	}
	return badRequest("the body cannot be read to its end")
}

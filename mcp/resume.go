package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/sse"
)

// ResumeOptions configure [NewResumer]; nil stands for the defaults.
type ResumeOptions struct {
	// Authorize returns an error unless a request may read the streams of a session of another process. Without it
	// every client that knows the id of a session may read them.
	Authorize func(r *http.Request, session string) error
	// WriteTimeout is how long a write to a client may block; the default is 30 s.
	WriteTimeout time.Duration
	// Logger receives the failures that no client sees; the default discards them.
	Logger *slog.Logger
}

type resumer struct {
	next  http.Handler
	store *EventStore
	opt   ResumeOptions
}

// NewResumer wraps next, an mcp.StreamableHTTPHandler with this event store. It also serves clients that ask for the
// events of a session that lives, or lived, in another process. Such a client gets the events after its Last-Event-ID
// and new ones, up to the response that ends a stream. All other requests of such a session reach next, which does not
// know the session and answers 404; the client then begins a new session.
func NewResumer(next http.Handler, store *EventStore, o *ResumeOptions) http.Handler {
	h := &resumer{next: next, store: store}
	if o != nil {
		h.opt = *o
	}
	if h.opt.WriteTimeout <= 0 {
		h.opt.WriteTimeout = 30 * time.Second
	}
	if h.opt.Logger == nil {
		h.opt.Logger = slog.New(slog.DiscardHandler)
	}
	return h
}

// A probe passes a response through unless its status is 404.
type probe struct {
	http.ResponseWriter
	missing bool
}

func (p *probe) WriteHeader(status int) {
	if p.missing = status == http.StatusNotFound; !p.missing {
		p.ResponseWriter.WriteHeader(status)
	}
}

func (p *probe) Write(b []byte) (int, error) {
	if p.missing {
		return len(b), nil
	}
	return p.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the methods of the wrapped writer.
func (p *probe) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Flush implements http.Flusher, for handlers that do not use http.ResponseController.
func (p *probe) Flush() {
	if !p.missing {
		_ = http.NewResponseController(p.ResponseWriter).Flush()
	}
}

// ServeHTTP implements http.Handler.
func (h *resumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session := r.Header.Get("Mcp-Session-Id")
	if r.Method != http.MethodGet || session == "" || !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		h.next.ServeHTTP(w, r)
		return
	}
	p := &probe{ResponseWriter: w}
	h.next.ServeHTTP(p, r)
	if p.missing {
		w.Header().Del("Content-Type")
		w.Header().Del("X-Content-Type-Options")
		h.resume(w, r, session)
	}
}

func (h *resumer) resume(w http.ResponseWriter, r *http.Request, session string) {
	if h.opt.Authorize != nil {
		if err := h.opt.Authorize(r, session); err != nil {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
	}
	status, err := h.store.store.Status(r.Context(), h.store.space, registerOf(session))
	if err == nil && status.LastSequence == 0 {
		err = streamhub.ErrNotFound
	}
	// Without an id the client reads the stream that belongs to no request, from its current end.
	stream, from := "", uint64(0)
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		index, ok := 0, false
		if stream, index, ok = parseEventID(id); !ok {
			http.Error(w, fmt.Sprintf("malformed Last-Event-ID %.200q", id), http.StatusBadRequest)
			return
		}
		from = sequenceAfter(index)
	}
	if err == nil {
		status, err = h.store.store.Status(r.Context(), h.store.space, segmentOf(session, stream))
	}
	switch {
	case errors.Is(err, streamhub.ErrNotFound):
		http.Error(w, "session not found", http.StatusNotFound)
		return
	case err != nil:
		h.opt.Logger.Error("events cannot be read", "error", err)
		http.Error(w, "events cannot be read", http.StatusServiceUnavailable)
		return
	case from == 0:
		from = status.LastSequence + 1
	case from < status.FirstSequence:
		http.Error(w, "events have been purged", http.StatusBadRequest) // 404 would mean that the session is unknown
		return
	}
	if last, err := h.store.store.Peek(r.Context(), h.store.space, segmentOf(session, stream)); err == nil && isGap(&last) && from <= last.Sequence {
		http.Error(w, "events have been purged", http.StatusBadRequest)
		return
	}
	h.store.keep(r.Context(), session, stream)
	w.Header().Set("Cache-Control", "no-cache, no-transform")
	w.Header().Set("Mcp-Session-Id", session)
	out := sse.Begin(w, h.opt.WriteTimeout)
	if out.Send([]byte(": resumed\n\n")) != nil {
		return
	}
	renew := func(ctx context.Context) { h.store.keep(ctx, session, stream) }
	defer out.KeepOpen(r.Context(), renew, max(h.store.ttl/4, time.Millisecond))()
	for e, err := range h.store.store.FollowSegment(r.Context(), h.store.space, segmentOf(session, stream), &streamhub.FollowOptions{FromSequence: from}) {
		var data []byte
		if err == nil {
			data, err = h.store.event(r.Context(), session, stream, &e)
		}
		if err != nil { // a client that reconnects learns why
			if r.Context().Err() == nil {
				h.opt.Logger.Info("a stream of events has ended", "error", err)
			}
			return
		}
		if out.Send(event(stream, e.Sequence, data)) != nil || stream != "" && isResponse(data) {
			return
		}
	}
}

// parseEventID reads <stream>_<index>.
func parseEventID(id string) (stream string, index int, ok bool) {
	at := strings.LastIndexByte(id, '_')
	if at < 0 {
		return "", 0, false
	}
	index, err := strconv.Atoi(id[at+1:])
	return id[:at], index, err == nil && index >= 0
}

// event encodes an event in the form of the SDK. An event without data only sets the Last-Event-ID of the client.
func event(stream string, sequence uint64, data []byte) []byte {
	name := "message"
	if len(data) == 0 {
		name = "prime"
	}
	b := fmt.Appendf(nil, "event: %s\nid: %s_%d\n", name, stream, sequence-1)
	return append(sse.AppendData(b, data), '\n')
}

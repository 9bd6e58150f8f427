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
	// Authorize says whether a request may read the streams of a session that another process made.
	// Without it every client that knows the id of a session may.
	Authorize func(r *http.Request, session string) error
	// WriteTimeout is how long a client may leave what was sent to it unread; the default is 30 s.
	WriteTimeout time.Duration
	// Logger receives the failures that no client sees; the default discards them.
	Logger *slog.Logger
}

type resumer struct {
	next  http.Handler
	store *EventStore
	opt   ResumeOptions
}

// NewResumer serves next, an mcp.StreamableHTTPHandler with this event store, and answers for it
// where a client asks for the events of a session that lives in another process, or did: those after
// its Last-Event-ID, and those that come, up to the response that ends a stream. All other requests of
// such a session are answered by next, which does not know it: 404, and the client begins a new one.
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

// A probe lets an answer pass unless it is 404.
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

// Unwrap lets http.ResponseController find what the writer can do.
func (p *probe) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Flush is for those who do not ask http.ResponseController.
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
	// Without an id the stream that belongs to no request is meant, from now on.
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
		http.Error(w, "events have been purged", http.StatusBadRequest) // 404 would be the session
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
		if err != nil { // a client that comes back learns why
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

// event is one as the SDK writes it. One without data only says where the client is.
func event(stream string, sequence uint64, data []byte) []byte {
	name := "message"
	if len(data) == 0 {
		name = "prime"
	}
	b := fmt.Appendf(nil, "event: %s\nid: %s_%d\n", name, stream, sequence-1)
	return append(sse.AppendData(b, data), '\n')
}

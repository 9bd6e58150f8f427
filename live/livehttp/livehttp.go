// Package livehttp serves live streams to plain browsers: an event stream that an EventSource
// resumes by itself, and requests to stop and to send. docs/live.md says what a client sees.
package livehttp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/sse"
	"github.com/seed-147127fe/streamhub/live"
)

// Options configure a [Handler].
type Options struct {
	// Streams returns the live streams of a space; it has to be set.
	Streams func(store uuid.UUID, space string) *live.Streams
	// Authorize says who asks, and whether he may read, or write, in a space. An error that is none
	// of package streamhub is answered 401. Without it everybody may do everything, as nobody.
	Authorize func(r *http.Request, store uuid.UUID, space string, write bool) (subject string, err error)
	// CheckOrigin, where it returns an error, has a request answered 403 before anything else.
	CheckOrigin func(r *http.Request) error
	// WriteTimeout is how long a client may leave what was sent to it unread; the default is 30 s.
	WriteTimeout time.Duration
	// Logger gets what no client is told; the default discards it.
	Logger *slog.Logger
}

const (
	prefix       = "/v1/live/"
	stores       = "/stores/"
	defaultSpace = "live"
	// reconnect is how long an EventSource waits before it connects again.
	reconnect = time.Second
	// drainSpread is over how long Shutdown spreads the ends of readers.
	drainSpread = time.Second
	maxBody     = streamhub.MaxRecordBytes
	// ended marks the id of the last event. Who comes back with it has everything.
	ended = ".end"
)

// A Handler serves live streams. It is safe for concurrent use.
type Handler struct {
	opt     Options
	clients *drain.Group // that read or produce
}

// New makes a handler. Shut it down before the hub is closed.
func New(ctx context.Context, o Options) *Handler {
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{opt: o, clients: drain.New(ctx)}
}

// Shutdown ends all readers, whose browsers go on at another gateway, and the generations that are
// produced over this handler, and waits for them. When ctx ends first it returns its error.
func (h *Handler) Shutdown(ctx context.Context) error { return h.clients.Stop(ctx, nil) }

// Owns reports whether a path is one of the handler's. Its paths must not pass through a mux that
// cleans them: ids may hold anything.
func (h *Handler) Owns(path string) bool {
	if rest, ok := strings.CutPrefix(path, stores); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	return strings.HasPrefix(path, prefix)
}

// A call is one request.
type call struct {
	store   uuid.UUID
	space   string
	id      string
	action  string
	subject string
	streams *live.Streams
}

var errNone = fmt.Errorf("%w: there is no live stream at this path", streamhub.ErrNotFound)

// parse reads /v1/live/<id>[/<action>] from the path as it was sent, so an id may hold slashes.
func parse(r *http.Request) (c call, err error) {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, stores); ok {
		name, rest, _ := strings.Cut(rest, "/")
		if c.store, err = uuid.Parse(name); err != nil || len(name) != 36 {
			return c, errNone
		}
		path = "/" + rest
	}
	path, ok := strings.CutPrefix(path, prefix)
	id, action, _ := strings.Cut(path, "/")
	if c.id, err = url.PathUnescape(id); err != nil || !ok || c.id == "" {
		return c, errNone
	}
	c.action = action
	if c.space = r.URL.Query().Get("space"); c.space == "" {
		c.space = defaultSpace
	}
	return c, streamhub.CheckName("space", c.space)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
	header.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	header.Set("Access-Control-Max-Age", "86400")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if h.opt.CheckOrigin != nil {
		if err := h.opt.CheckOrigin(r); err != nil {
			reply(w, http.StatusForbidden, failure{"forbidden_origin", err.Error()})
			return
		}
	}
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (err error) {
	c, err := parse(r)
	if err != nil {
		return err
	}
	do := map[string]func(http.ResponseWriter, *http.Request, *call) error{
		"GET ": h.read, "POST ": h.publish, "GET status": h.status, "POST cancel": h.stop, "POST messages": h.send,
	}[r.Method+" "+c.action]
	if do == nil {
		switch c.action {
		case "", "status", "cancel", "messages":
			w.Header().Set("Allow", "GET, POST")
			reply(w, http.StatusMethodNotAllowed, failure{"method_not_allowed", "method not allowed"})
			return nil
		}
		return errNone
	}
	if h.opt.Authorize != nil {
		if c.subject, err = h.opt.Authorize(r, c.store, c.space, r.Method != http.MethodGet); err != nil {
			if streamhub.CodeOf(err) == streamhub.CodeInternal {
				err = fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
			}
			return err
		}
	}
	c.streams = h.opt.Streams(c.store, c.space)
	return do(w, r, &c)
}

// read answers with an event stream: the chunks behind Last-Event-ID, then those that come, then the
// verdict.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, c *call) error {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("cursor")
	}
	if strings.HasSuffix(text, ended) {
		w.WriteHeader(http.StatusNoContent) // an EventSource does not come again
		return nil
	}
	cursor := live.Cursor(text)
	if _, err := cursor.Generation(); err != nil {
		return err
	}
	s, err := c.streams.Get(r.Context(), c.id)
	if err != nil {
		return err
	}
	if !h.clients.Begin() {
		return streamhub.ErrShutdown
	}
	defer h.clients.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.clients.Context(), func() { time.AfterFunc(rand.N(drainSpread), cancel) })()

	out := sse.Begin(w, h.opt.WriteTimeout)
	if out.Send(fmt.Appendf(nil, "retry: %d\n\n", reconnect.Milliseconds())) != nil {
		return nil
	}
	defer out.KeepOpen(ctx, nil, 0)()
	o := &live.SubscribeOptions{Cursor: cursor, BatchReplay: r.URL.Query().Get("replay") == "batch"}
	generation := s.Generation()
	if g, _ := cursor.Generation(); g != 0 {
		generation = g
	}
	for chunk, err := range s.Subscribe(ctx, o) {
		var closed *streamhub.ClosedError
		switch {
		case err == nil:
			err = out.Send(chunkEvent(&chunk))
		case errors.As(err, &closed):
			verdict, _ := json.Marshal(closed.Verdict) // it came as JSON
			_ = out.Send(event("end", fmt.Sprint(generation, ended), verdict))
		case ctx.Err() == nil && streamhub.CodeOf(err) == streamhub.CodeInternal:
			h.opt.Logger.Error("a live stream cannot be read", "id", c.id, "error", err)
		case ctx.Err() == nil:
			// The browser would come again and hear the same: this is the end as well.
			text, _ := json.Marshal(failure{string(streamhub.CodeOf(err)), err.Error()})
			_ = out.Send(event("error", fmt.Sprint(generation, ended), text))
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// chunkEvent is an unnamed event with a text, or one named binary with anything else in base64.
func chunkEvent(c *live.Chunk) []byte {
	if utf8.Valid(c.Data) {
		return event("", string(c.Cursor()), c.Data)
	}
	return event("binary", string(c.Cursor()), base64.StdEncoding.AppendEncode(nil, c.Data))
}

func event(name, id string, data []byte) []byte {
	b := make([]byte, 0, len(data)+len(id)+64)
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	b = append(append(append(b, "id: "...), id...), '\n')
	return append(sse.AppendData(b, data), '\n')
}

func (h *Handler) status(w http.ResponseWriter, r *http.Request, c *call) error {
	s, err := c.streams.Get(r.Context(), c.id)
	if err != nil {
		return err
	}
	status, err := s.Status(r.Context())
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, status)
	return nil
}

// stop answers with the verdict, or, with wait=0, as soon as the request is stored.
func (h *Handler) stop(w http.ResponseWriter, r *http.Request, c *call) error {
	var body struct {
		Reason string `json:"reason"`
	}
	text, err := input(w, r)
	if err != nil {
		return err
	}
	if len(text) > 0 && json.Unmarshal(text, &body) != nil {
		return fmt.Errorf("%w: the body is a JSON object with a reason, or empty", streamhub.ErrInvalidArgument)
	}
	s, err := c.streams.Get(r.Context(), c.id)
	if err != nil {
		return err
	}
	o := &live.CancelOptions{By: c.subject, Reason: body.Reason, NoWait: r.URL.Query().Get("wait") == "0"}
	verdict, err := s.Cancel(r.Context(), o)
	switch {
	case err != nil:
		return err
	case verdict.Kind == "":
		reply(w, http.StatusAccepted, struct{}{})
	default:
		reply(w, http.StatusOK, verdict)
	}
	return nil
}

// send stores a message for the producer.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, c *call) error {
	data, err := input(w, r)
	if err != nil {
		return err
	}
	s, err := c.streams.Get(r.Context(), c.id)
	if err != nil {
		return err
	}
	sequence, err := s.Send(r.Context(), data, &live.SendOptions{By: c.subject, Once: r.URL.Query().Get("once")})
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, map[string]uint64{"sequence": sequence})
	return nil
}

func input(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("%w: a body of more than %d bytes", streamhub.ErrTooLarge, maxBody)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body cannot be read", streamhub.ErrInvalidArgument)
	}
	return text, nil
}

// A failure is the body of an answer that is an error; the code is one of [streamhub.Codes].
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who does not hear it is gone
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	code, message := streamhub.CodeOf(err), err.Error()
	status, known := statuses[code]
	switch {
	case !known:
		status, message = http.StatusInternalServerError, "internal error"
		h.opt.Logger.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	case status == http.StatusUnauthorized:
		message = "unauthorized"
		w.Header().Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable:
		message = "unavailable"
		w.Header().Set("Retry-After", "1")
	}
	reply(w, status, failure{string(code), message})
}

// statuses are those of the codes that a client can do something about.
var statuses = map[streamhub.Code]int{
	streamhub.CodeOf(streamhub.ErrNotFound):         http.StatusNotFound,
	streamhub.CodeOf(streamhub.ErrInvalidName):      http.StatusBadRequest,
	streamhub.CodeOf(streamhub.ErrInvalidArgument):  http.StatusBadRequest,
	streamhub.CodeOf(streamhub.ErrInvalidCursor):    http.StatusBadRequest,
	streamhub.CodeOf(streamhub.ErrTooLarge):         http.StatusRequestEntityTooLarge,
	streamhub.CodeOf(streamhub.ErrConflict):         http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrClosed):           http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrFenced):           http.StatusConflict,
	streamhub.CodeOf(streamhub.ErrHistoryLost):      http.StatusGone,
	streamhub.CodeOf(streamhub.ErrTrimmed):          http.StatusGone,
	streamhub.CodeOf(streamhub.ErrUnauthenticated):  http.StatusUnauthorized,
	streamhub.CodeOf(streamhub.ErrPermissionDenied): http.StatusForbidden,
	streamhub.CodeOf(streamhub.ErrLimitExceeded):    http.StatusTooManyRequests,
	streamhub.CodeOf(streamhub.ErrUnavailable):      http.StatusServiceUnavailable,
	streamhub.CodeOf(streamhub.ErrUnknownOutcome):   http.StatusServiceUnavailable,
	streamhub.CodeOf(streamhub.ErrShutdown):         http.StatusServiceUnavailable,
}

// Package livehttp serves live streams over plain HTTP: as event streams, which the EventSource of a browser resumes by
// itself. Clients can also produce streams, stop a producer and send it messages. Most programs use package server,
// which includes it. docs/live.md says what a client sees.
package livehttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/query"
	"github.com/seed-147127fe/streamhub/live"
)

// Options configure a [Handler]; nil stands for the defaults.
type Options struct {
	// Authorize returns the subject of a request that has the given right; the segment of the right is the id of the
	// stream. An error that wraps no sentinel of package streamhub is answered with 401. Without Authorize every client
	// has every right, and no subject.
	Authorize func(r *http.Request, right streamhub.Right) (subject string, err error)
	// CheckOrigin refuses requests from web pages of other origins. If it returns an error, the handler answers 403
	// before any other check. Without CheckOrigin and Authorize only pages of the handler's own origin are served.
	CheckOrigin func(r *http.Request) error
	// WriteTimeout is how long a write to a client may block; the default is 30 s.
	WriteTimeout time.Duration
	// MaxChunkBytes limits a chunk and a message, so that a body with a larger one is refused before any of it is
	// stored. Use the value of [live.Options.MaxChunkBytes]; the default is [streamhub.MaxRecordBytes].
	MaxChunkBytes int
	// Logger receives the failures that no client sees; the default discards them.
	Logger *slog.Logger
}

const (
	root   = "/v1/live" // of all live streams of a space
	prefix = root + "/"
	// stores, followed by a UUID, precedes root in the paths of every store but the default one, whose UUID is all
	// zeros.
	stores = "/stores/"
	// defaultSpace is the space of requests that name none.
	defaultSpace = "live"
	// reconnect is how long an EventSource waits before it connects again.
	reconnect = time.Second
	// drainSpread is the time over which Shutdown spreads the disconnects of readers.
	drainSpread = time.Second
	// maxBody is the largest JSON body, in bytes.
	maxBody = streamhub.MaxRecordBytes
	// ended marks the id of the last event. A client that reconnects with it has read everything.
	ended = ".end"
	// defaultWait is how long a request of an EventSource waits for a stream that has not begun. maxWait is the longest
	// wait that a client may ask for.
	defaultWait, maxWait = 30 * time.Second, 5 * time.Minute
)

// A Handler serves live streams. It keeps no state of a stream between requests, so any gateway may
// serve any of them. It is safe for concurrent use.
type Handler struct {
	streams func(store uuid.UUID, space string) live.Streams
	opt     Options
	clients *drain.Group // counts the clients that read or produce
}

// New makes a handler; streams returns the live streams of a space. The handler runs until [Handler.Shutdown], which
// must be called before the hub is closed. The end of ctx does not stop it.
func New(ctx context.Context, streams func(store uuid.UUID, space string) live.Streams, o *Options) *Handler {
	h := &Handler{streams: streams, clients: drain.New(ctx)}
	if o != nil {
		h.opt = *o
	}
	option.Default(&h.opt.WriteTimeout, 30*time.Second)
	option.Default(&h.opt.MaxChunkBytes, streamhub.MaxRecordBytes)
	if h.opt.Authorize == nil && h.opt.CheckOrigin == nil {
		h.opt.CheckOrigin = auth.OwnOrigin
	}
	option.Logger(&h.opt.Logger)
	return h
}

// Shutdown ends all readers, whose browsers continue on another gateway. It also ends, or hands over, the generations
// that are produced by one long request. It waits for these requests; if ctx ends first, it returns the error of ctx.
func (h *Handler) Shutdown(ctx context.Context) error { return h.clients.Stop(ctx, nil) }

// Owns reports whether the handler serves a path. Such paths must not pass through an
// http.ServeMux, which cleans them: ids may hold any bytes.
func (h *Handler) Owns(path string) bool {
	if rest, ok := strings.CutPrefix(path, stores); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	return path == root || strings.HasPrefix(path, prefix)
}

// Endless reports whether a request produces a generation with its body, so that the body lasts as long as the
// generation. The handler reads the body of any other request completely before the request takes effect.
func (h *Handler) Endless(r *http.Request) bool {
	c, err := parse(r)
	return err == nil && r.Method == http.MethodPost && !c.whole && c.action == ""
}

// A call is the parsed path and query of one request. It belongs to the goroutine of the request.
type call struct {
	store   uuid.UUID
	space   string
	whole   bool   // the request is about the space, not about one stream
	id      string // the stream that the request is about
	action  string
	subject string
	streams live.Streams

	query      url.Values
	generation uint64 // the generation that the request is about, 0 for the current one
	raw        bool   // the client reads every event as data
}

var errNone = fmt.Errorf("%w: there is no live stream at this path", streamhub.ErrNotFound)

// parse parses /v1/live or /v1/live/<id>[/<action>]. It uses the escaped path, so that an id may contain slashes.
func parse(r *http.Request) (c call, err error) {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, stores); ok {
		name, rest, _ := strings.Cut(rest, "/")
		if c.store, err = uuid.Parse(name); err != nil || len(name) != 36 || auth.Reserved(c.store) {
			return c, errNone
		}
		path = "/" + rest
	}
	if path == root {
		c.whole = true
	} else {
		path, ok := strings.CutPrefix(path, prefix)
		id, action, _ := strings.Cut(path, "/")
		if c.id, err = url.PathUnescape(id); err != nil || !ok || c.id == "" {
			return c, errNone
		}
		c.action = action
	}
	if err = c.readQuery(r.URL); err != nil {
		return c, err
	}
	if c.space = c.query.Get("space"); c.space == "" {
		c.space = defaultSpace
	}
	return c, streamhub.CheckName("space", c.space)
}

// flags are the parameters that are 0 or 1 in every request.
var flags = []string{"active", "exact", "generations", "raw", "takeover"}

// readQuery reads the parameters. Every known parameter is checked in every request, even if the request does not use
// it.
func (c *call) readQuery(u *url.URL) (err error) {
	single := append([]string{"after", "cursor", "first", "generation", "lastEventId", "limit", "once", "replay", "space", "wait"}, flags...)
	if c.query, err = query.Of(u, single...); err != nil {
		return err
	}
	for _, name := range flags {
		if _, err := query.Flag(c.query, name); err != nil {
			return err
		}
	}
	c.raw = c.flag("raw")
	if c.query.Has("generation") {
		text := c.query.Get("generation")
		if c.generation, err = strconv.ParseUint(text, 10, 53); err != nil || c.generation == 0 {
			return fmt.Errorf("%w: generation=%.40s: want the number of a generation", streamhub.ErrInvalidArgument, text)
		}
	}
	_, err = query.OneOf(c.query, "replay", "batch")
	return err
}

// stream returns the generation that the request is about.
func (c *call) stream(ctx context.Context) (live.Stream, error) {
	if c.generation != 0 {
		return c.streams.Generation(c.id, c.generation)
	}
	return c.streams.Get(ctx, c.id)
}

// flag reports whether one of the flags is set.
func (c *call) flag(name string) bool { return c.query.Get(name) == "1" }

// setHeaders sets the headers of every response. The CORS headers let a page read error responses too.
func setHeaders(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'") // no response is a page
	header.Set("Cache-Control", "no-store")
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", "Retry-After")
	// Tools for tracing add headers of their own to what a page asks. The star does not stand for Authorization.
	header.Set("Access-Control-Allow-Headers", "*, Authorization, Content-Type, Last-Event-ID, "+producerHeader)
	header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, OPTIONS")
	header.Set("Access-Control-Max-Age", "86400")
}

// Busy answers a request over a limit of the gateway if its client is an EventSource, which would give up for good
// after 429. It reports whether it has answered.
func (h *Handler) Busy(w http.ResponseWriter, r *http.Request) bool {
	c, err := parse(r)
	if err != nil || !c.reads() || !c.listens(r) {
		return false
	}
	setHeaders(w.Header())
	h.tell(h.begin(w), c.id, 0, streamhub.ErrLimitExceeded)
	return true
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if h.opt.CheckOrigin != nil {
		if err := h.opt.CheckOrigin(r); err != nil {
			reply(w, http.StatusForbidden, failure{Code: "forbidden_origin", Message: err.Error()})
			return
		}
	}
	c, err := parse(r)
	if err == nil {
		err = h.serve(w, r, &c)
	}
	switch {
	case err == nil:
	// An EventSource gives up for good after an error status. So the error is sent within an event stream, which also
	// says whether it is temporary or final.
	case c.listens(r) && (c.reads() || errors.Is(err, errNone)) && !refused(err):
		h.tell(h.begin(w), c.id, 0, err)
	default:
		h.fail(w, r, err)
	}
}

// reads reports whether the path of a request names chunks to read.
func (c *call) reads() bool { return (c.whole || c.id != "") && c.action == "" }

// listens reports whether an EventSource has sent the request.
func (c *call) listens(r *http.Request) bool {
	return r.Method == http.MethodGet && wantsEvents(r) && !c.raw
}

// refused reports whether err concerns the client and not the stream. Such an error is always answered with an HTTP
// status, never inside an event stream: the page must get a new token and make a new EventSource.
func refused(err error) bool {
	return errors.Is(err, streamhub.ErrUnauthenticated) || errors.Is(err, streamhub.ErrPermissionDenied)
}

// An action answers one kind of request.
type action = func(*Handler, http.ResponseWriter, *http.Request, *call) error

// ofSpace and ofStream are the actions on all streams of a space and on one stream, by the rest of the
// path and the method.
var (
	ofSpace = map[string]map[string]action{
		"": {http.MethodGet: (*Handler).space},
	}
	ofStream = map[string]map[string]action{
		"": {
			http.MethodGet: (*Handler).read, http.MethodPost: (*Handler).publish,
			http.MethodPut: (*Handler).put, http.MethodPatch: (*Handler).patch,
		},
		"status":   {http.MethodGet: (*Handler).status},
		"cancel":   {http.MethodPost: (*Handler).stop},
		"messages": {http.MethodGet: (*Handler).messages, http.MethodPost: (*Handler).send},
		"chunks":   {http.MethodPost: (*Handler).chunks},
		"end":      {http.MethodPost: (*Handler).end},
	}
)

// serve finds the action for path and method, checks the rights, and runs the action.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, c *call) (err error) {
	actions := ofStream
	if c.whole {
		actions = ofSpace
	}
	methods, known := actions[c.action]
	if !known {
		return errNone
	}
	do := methods[r.Method]
	if do == nil {
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
		reply(w, http.StatusMethodNotAllowed, failure{Code: "method_not_allowed", Message: "method not allowed"})
		return nil
	}
	if h.opt.Authorize != nil {
		for _, right := range c.rights(r.Method) {
			if c.subject, err = h.opt.Authorize(r, right); err != nil {
				// Authorize belongs to the program. Its own errors mean that the request is refused, not that the
				// server failed.
				if streamhub.CodeOf(err) == streamhub.CodeInternal {
					err = fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
				}
				return err
			}
		}
	}
	c.streams = h.streams(c.store, c.space)
	return do(h, w, r, c)
}

// rights returns the rights that a request needs: one for each stream that it names, or one for the whole space.
func (c *call) rights(method string) []streamhub.Right {
	right := streamhub.Right{Store: c.store, Space: c.space, Segment: c.id, Write: method != http.MethodGet || c.action == "messages"}
	ids := c.query["id"]
	if !c.whole || len(ids) == 0 {
		return []streamhub.Right{right}
	}
	all := make([]streamhub.Right, len(ids))
	for i, id := range ids {
		all[i] = right
		all[i].Segment = id // "" needs the right to the whole space, and is refused later
	}
	return all
}

// status answers with the status of a generation, as JSON.
func (h *Handler) status(w http.ResponseWriter, r *http.Request, c *call) error {
	s, err := c.stream(r.Context())
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

// stop asks the producer to stop. It answers with the verdict or, with wait=0, as soon as the request is stored.
func (h *Handler) stop(w http.ResponseWriter, r *http.Request, c *call) error {
	var body struct {
		Reason string `json:"reason"`
	}
	text, err := input(w, r)
	if err != nil {
		return err
	}
	if len(text) > 0 && (!utf8.Valid(text) || json.Unmarshal(text, &body) != nil) {
		return fmt.Errorf("%w: the body is a JSON object with a reason, or empty", streamhub.ErrInvalidArgument)
	}
	wait, err := query.OneOf(c.query, "wait", "0", "1")
	if err != nil {
		return err
	}
	s, err := c.stream(r.Context())
	if err != nil {
		return err
	}
	o := &live.CancelOptions{By: nameOf(c.subject), Reason: body.Reason, NoWait: wait == "0"}
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
	once := c.query.Get("once")
	if once == "" && c.query.Has("once") {
		return fmt.Errorf("%w: once is empty: want a name that all answers to one question share", streamhub.ErrInvalidArgument)
	}
	data, err := bounded(w, r, int64(h.opt.MaxChunkBytes))
	if err != nil {
		return err
	}
	s, err := c.stream(r.Context())
	if err != nil {
		return err
	}
	sequence, err := s.Send(r.Context(), data, &live.SendOptions{By: nameOf(c.subject), Once: once})
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, map[string]uint64{"sequence": sequence})
	return nil
}

// encoded reports whether a body has a content encoding. Its bytes would be stored as they are, and no reader would
// know the encoding.
func encoded(r *http.Request) bool {
	for _, list := range r.Header.Values("Content-Encoding") {
		for encoding := range strings.SplitSeq(list, ",") {
			if encoding = strings.TrimSpace(encoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
				return true
			}
		}
	}
	return false
}

var errEncoded = errors.New("the body has a Content-Encoding: send it as it is")

// errSlow is the error of a body that does not arrive in time.
var errSlow = errors.New("the body comes too slowly")

// input reads a JSON body.
func input(w http.ResponseWriter, r *http.Request) ([]byte, error) { return bounded(w, r, maxBody) }

// bounded reads a body of up to most bytes. A body that is longer or has a content encoding is refused before the
// request takes effect.
func bounded(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if encoded(r) {
		return nil, errEncoded
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("%w: a body of more than %d bytes", streamhub.ErrTooLarge, most)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, errSlow
	}
	if err != nil && streamhub.CodeOf(err) != streamhub.CodeInternal {
		return nil, err // an error of the gate: a limit, or a token that has expired
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body cannot be read", streamhub.ErrInvalidArgument)
	}
	return text, nil
}

// A failure is the body of an error response. Code is one of [streamhub.Codes], or one of those that docs/live.md adds.
// The other fields are set where they are known.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Generation is the current generation. By and Since (Unix milliseconds) describe its producer.
	Generation uint64 `json:"generation,omitempty"`
	By         string `json:"by,omitempty"`
	Since      int64  `json:"since,omitempty"`
	// Next is the number of the chunk that is expected.
	Next uint64 `json:"next,omitempty"`
	// Producer is the token with which the client continues the generation.
	Producer string             `json:"producer,omitempty"`
	Verdict  *streamhub.Verdict `json:"verdict,omitempty"`
}

// failureOf adds to code and text the facts that a client needs to go on: the generation in force,
// the verdict, or the number of the chunk that is expected.
func failureOf(code streamhub.Code, err error) failure {
	f := failure{Code: string(code), Message: err.Error()}
	var fenced *streamhub.FencedError
	var closed *streamhub.ClosedError
	var gap *streamhub.SequenceError
	switch {
	case errors.As(err, &fenced):
		f.Generation = fenced.Current
	case errors.As(err, &closed):
		f.Verdict = &closed.Verdict
	case errors.As(err, &gap):
		f.Code, f.Next = "gap", gap.Expected
	}
	return f
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone
}

// fail answers with an error. An error that a client cannot act on becomes 500 and is logged instead: its text may
// reveal internals of the server.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := streamhub.CodeOf(err)
	body := failureOf(code, err)
	status, known := httpstatus.Of(code)
	if errors.Is(err, errMedia) || errors.Is(err, errEncoded) {
		status, known, body.Code = http.StatusUnsupportedMediaType, true, "unsupported_media_type"
	}
	switch {
	case errors.Is(err, errSlow):
		status, known, body.Code = http.StatusRequestTimeout, true, "timeout"
	case !known && r.Context().Err() != nil:
		// The client gave up. Without a response the status would be recorded as 200.
		status, known, body = httpstatus.GivenUp, true, failure{Code: string(streamhub.CodeOf(context.Canceled)), Message: "the client gave up before the answer"}
		if cause := context.Cause(r.Context()); errors.Is(cause, streamhub.ErrUnauthenticated) {
			status, body.Code = http.StatusUnauthorized, string(streamhub.CodeOf(cause))
		}
	}
	if r.ContentLength < 0 && r.ProtoMajor == 1 {
		// A producer receives the error at once. Otherwise the response would wait for the end of the request body.
		w.Header().Set("Connection", "close")
	}
	switch {
	case !known:
		body.Message = "internal error"
		h.opt.Logger.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	case status == http.StatusUnauthorized:
		body.Message = "unauthorized"
		w.Header().Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable:
		body.Message = "unavailable"
		w.Header().Set("Retry-After", "1")
	}
	reply(w, status, body)
}

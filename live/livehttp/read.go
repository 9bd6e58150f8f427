package livehttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/sse"
	"github.com/seed-147127fe/streamhub/live"
)

// A reading is one request for an event stream. It belongs to the goroutine of the request.
type reading struct {
	h   *Handler
	w   http.ResponseWriter
	out *sse.Writer // nil until the answer has begun
	// cursor is the cursor of the last chunk that was sent. The reading continues there after an outage of Redis.
	cursor live.Cursor
	// events says that the client accepts nothing but an event stream. raw says that it validates each event, so it
	// gets chunks only.
	events, raw bool
	// batch joins the chunks that are stored at the beginning into one event.
	batch bool
	exact bool // a chunk with a carriage return is sent as bytes
	wait  time.Duration
	waits bool // the client has asked for a wait
}

// read answers with an event stream: the stored chunks after Last-Event-ID, then new chunks, then the verdict. If the
// stream has not begun, it waits if the client asks for that.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, c *call) error {
	text := c.lastEventID(r, "cursor")
	if strings.HasSuffix(text, ended) {
		w.WriteHeader(http.StatusNoContent) // an EventSource does not connect again after 204
		return nil
	}
	g := &reading{
		h: h, w: w, cursor: live.Cursor(text), events: wantsEvents(r), raw: c.raw, batch: c.query.Get("replay") == "batch",
		exact: c.flag("exact"),
	}
	if _, err := g.cursor.Generation(); err != nil {
		return err
	}
	var err error
	if g.wait, g.waits, err = c.wait(); err != nil {
		return err
	}
	ctx, done, err := h.reader(r)
	if err != nil {
		return err
	}
	defer done()
	if g.raw || !g.events {
		return g.statusFirst(ctx, c, c.flag("active"))
	}
	// An EventSource gets everything, errors too, within the event stream. So the response can begin before the stream
	// is found.
	defer g.begin(ctx)()
	if g.cursor != "" {
		g.wait, g.waits = 0, true // the stream has begun: if it is not found, it is gone
	} else if !g.waits {
		g.wait = defaultWait
	}
	s, err := g.find(ctx, c)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, streamhub.ErrNotFound) && !g.waits:
		_ = g.out.Send([]byte(": it has not begun\n\n")) // the EventSource connects again and waits again
	case err != nil:
		h.tell(g.out, c.id, 0, err)
	default:
		g.follow(ctx, s)
	}
	return nil
}

// statusFirst answers a client that acts on the HTTP status. That is any client but an EventSource, and a raw reader,
// for which 204 says that there is nothing to read. It finds the stream before it begins the response.
func (g *reading) statusFirst(ctx context.Context, c *call, activeOnly bool) error {
	s, err := find(ctx, c, g.wait)
	if err == nil && c.generation != 0 {
		_, err = s.Status(ctx) // find does not check that this generation exists
	}
	var nothing bool
	if err == nil && g.raw {
		nothing, err = g.nothing(ctx, c, s, activeOnly)
	}
	switch {
	case g.raw && errors.Is(err, streamhub.ErrNotFound) && g.cursor == "":
		nothing, err = true, nil
	case g.raw && g.events && outage(err):
		// It is unknown whether there is anything to read. An event stream without events makes the client connect
		// again.
		defer g.begin(ctx)()
		if s, err = g.find(ctx, c); err == nil {
			g.follow(ctx, s)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if nothing {
		g.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	defer g.begin(ctx)()
	g.follow(ctx, s)
	return nil
}

// nothing reports whether there is nothing to read after the cursor, now and later: the generation of the cursor, or
// else s, has ended and has no further chunk. With activeOnly the answer is true for every stream that has ended.
func (g *reading) nothing(ctx context.Context, c *call, s live.Stream, activeOnly bool) (bool, error) {
	var read uint64
	if g.cursor != "" {
		generation, at, err := g.cursor.Split()
		if err != nil {
			return false, err
		}
		position, err := at.Position()
		if err != nil {
			return false, err
		}
		read = position.Sequence
		if s, err = c.streams.Generation(c.id, generation); err != nil {
			return false, err
		}
	}
	status, err := s.Status(ctx)
	return status.Verdict != nil && (activeOnly || read >= status.Chunks), err
}

// lastEventID returns where a client resumes. An EventSource names its last event in a header when it reconnects, and
// event-source-polyfill in the query. For the first connection a page may put a position into parameter.
func (c *call) lastEventID(r *http.Request, parameter string) string {
	return cmp.Or(r.Header.Get("Last-Event-ID"), c.query.Get("lastEventId"), c.query.Get(parameter))
}

// reader counts a reader until done is called. After Shutdown its context ends at a random time within drainSpread, so
// that the readers do not all reconnect at once.
func (h *Handler) reader(r *http.Request) (_ context.Context, done func(), err error) {
	if !h.clients.Begin() {
		return nil, nil, streamhub.ErrShutdown
	}
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(h.clients.Context(), func() { time.AfterFunc(rand.N(drainSpread), cancel) })
	return ctx, func() {
		stop()
		cancel()
		h.clients.Done()
	}, nil
}

// wantsEvents reports whether the client accepts nothing but event streams. So does an EventSource, which never
// reconnects after a response of any other type or status.
func wantsEvents(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			if kind, _, _ := mime.ParseMediaType(part); kind == "text/event-stream" { // whatever its parameters are
				return true
			}
		}
	}
	return false
}

// wait returns how long to wait for a stream that has not begun, or for a message; given reports
// whether the client named a time.
func (c *call) wait() (wait time.Duration, given bool, err error) {
	if !c.query.Has("wait") {
		return 0, false, nil
	}
	text := c.query.Get("wait")
	seconds, err := strconv.ParseUint(text, 10, 16)
	wait = time.Duration(seconds) * time.Second
	if err != nil {
		wait, err = time.ParseDuration(text)
	}
	if err != nil || wait < 0 || wait > maxWait {
		return 0, false, fmt.Errorf("%w: wait=%.100s: want a time such as 30s, at most %v", streamhub.ErrInvalidArgument, text, maxWait)
	}
	return wait, true, nil
}

// find returns the stream of a request; it waits up to wait for a stream that has not begun. It does not wait for a
// generation that the request names, because that one has begun.
func find(ctx context.Context, c *call, wait time.Duration) (live.Stream, error) {
	if wait <= 0 || c.generation != 0 {
		return c.stream(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s, err := c.streams.Await(limited, c.id)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return c.streams.Get(ctx, c.id) // Get says whether the stream is missing or Redis is away
	}
	return s, err
}

// outage reports whether err means that Redis is unavailable for now.
func outage(err error) bool { return streamhub.Retryable(err) }

// outagePauses returns the pauses between attempts to reach a Redis that is unavailable.
func outagePauses() *pause.Backoff {
	return &pause.Backoff{First: 100 * time.Millisecond, Longest: 2 * time.Second}
}

// find waits for the stream after the response has begun. While Redis is unavailable it keeps the response open: a
// client whose response ends would reconnect again and again.
func (g *reading) find(ctx context.Context, c *call) (live.Stream, error) {
	for pauses := outagePauses(); ; {
		s, err := find(ctx, c, g.wait)
		if !outage(err) || !g.stays(ctx, pauses) {
			return s, err
		}
	}
}

// stays sends a comment that says why no events arrive, and pauses before the next attempt. It reports whether the
// client is still there.
func (g *reading) stays(ctx context.Context, pauses *pause.Backoff) bool {
	return g.out.Send([]byte(": unavailable\n\n")) == nil && pauses.Wait(ctx)
}

// begin starts the event stream and sends keep-alive comments until stop is called.
func (g *reading) begin(ctx context.Context) (stop func()) {
	g.out = g.h.begin(g.w)
	return g.out.KeepOpen(ctx, nil, 0)
}

// begin starts an event stream as the response.
func (h *Handler) begin(w http.ResponseWriter) *sse.Writer {
	out := sse.Begin(w, h.opt.WriteTimeout)
	_ = out.Send(fmt.Appendf(nil, "retry: %d\n\n", reconnect.Milliseconds())) // a lost connection shows at the next write
	return out
}

// follow sends the chunks of a stream until it ends, or ctx does. After an outage it subscribes again at its cursor.
// With a cursor of another generation it reads that generation, and the last event names it.
func (g *reading) follow(ctx context.Context, s live.Stream) {
	generation := s.Generation()
	if of, _ := g.cursor.Generation(); of != 0 {
		generation = of
	}
	pauses := outagePauses()
	for again := true; again; {
		again = false
		for chunk, err := range s.Subscribe(ctx, &live.SubscribeOptions{Cursor: g.cursor, BatchReplay: g.batch}) {
			if err != nil {
				again = outage(err) && g.stays(ctx, pauses)
				if !again && ctx.Err() == nil {
					g.end(s.ID(), generation, err)
				}
				break
			}
			pauses.Reset()
			if g.out.Send(chunkEvent(&chunk, g.exact)) != nil {
				return
			}
			// After an outage the reader continues that generation, chunk by chunk.
			g.cursor, g.batch = chunk.Cursor(), false
		}
	}
}

// end sends the last event: the verdict, or why there is none. A raw reader gets chunks only, so it gets this in
// comments.
func (g *reading) end(id string, generation uint64, err error) {
	var closed *streamhub.ClosedError
	switch {
	case g.raw && errors.As(err, &closed):
	case g.raw:
		_ = g.out.Send(fmt.Appendf(nil, ": %s\n\n", streamhub.CodeOf(err)))
	case errors.As(err, &closed):
		verdict, _ := json.Marshal(closed.Verdict) // cannot fail: it was decoded from JSON
		_ = g.out.Send(event("end", fmt.Sprint(generation, ended), verdict))
	default:
		g.h.tell(g.out, id, generation, err)
	}
}

// tell ends an event stream because of err. After a temporary error it sends no last event, so that the browser
// reconnects, here or to another gateway. After a final error a reconnect would get the same error for ever, so a last
// event says why the stream ends.
func (h *Handler) tell(out *sse.Writer, id string, generation uint64, err error) {
	code := streamhub.CodeOf(err)
	if code == streamhub.CodeInternal {
		h.opt.Logger.Error("a live stream cannot be read", "id", id, "error", err)
	}
	if passes(code) {
		again := reconnect + rand.N(2*reconnect) // random, so that the clients do not all reconnect at once
		_ = out.Send(fmt.Appendf(nil, "retry: %d\n: %s\n\n", again.Milliseconds(), code))
		return
	}
	text, _ := json.Marshal(failureOf(code, err))
	_ = out.Send(event("error", fmt.Sprint(generation, ended), text))
}

// passes reports whether a repeated request may get another answer.
func passes(code streamhub.Code) bool {
	switch code {
	case streamhub.CodeOf(streamhub.ErrUnavailable), streamhub.CodeOf(streamhub.ErrUnknownOutcome),
		streamhub.CodeOf(streamhub.ErrShutdown), streamhub.CodeOf(streamhub.ErrLimitExceeded),
		streamhub.CodeOf(context.Canceled), streamhub.CodeOf(context.DeadlineExceeded), streamhub.CodeInternal:
		return true
	}
	return false
}

// chunkEvent encodes a chunk as an event: UTF-8 text in an unnamed event, other bytes in base64 in an event named
// binary. A carriage return ends a line of an event stream, so the reader gets a line feed instead. With exact such a
// chunk is sent as binary.
func chunkEvent(c *live.Chunk, exact bool) []byte {
	if utf8.Valid(c.Data) && (!exact || bytes.IndexByte(c.Data, '\r') < 0) {
		return event("", string(c.Cursor()), c.Data)
	}
	return event("binary", string(c.Cursor()), base64.StdEncoding.AppendEncode(nil, c.Data))
}

// event writes an event with an id, which an EventSource sends back when it connects again.
func event(name, id string, data []byte) []byte {
	b := make([]byte, 0, len(data)+len(id)+64)
	b = append(append(append(b, "id: "...), id...), '\n')
	return append(b, eventWithoutID(name, data)...)
}

// eventWithoutID writes an event that does not change the cursor at which the client resumes.
func eventWithoutID(name string, data []byte) []byte {
	b := make([]byte, 0, len(data)+64)
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	return append(sse.AppendData(b, data), '\n')
}

package genkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/core/api"
	"github.com/firebase/genkit/go/core/x/streaming"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/sse"
	"github.com/seed-147127fe/streamhub/live"
)

// HandlerOptions configure a [Handler]; nil stands for the defaults.
type HandlerOptions struct {
	// ContextProviders are as in genkit.WithContextProviders.
	ContextProviders []core.ContextProvider
	// Owner returns the user that sends a request. A stream belongs to the user that began it; for all others it does
	// not exist. Without it every client that knows the id of a stream may read and stop it.
	Owner func(r *http.Request) (string, error)
	// MaxBody limits the input; the default is 16 MiB.
	MaxBody int64
	// WriteTimeout is how long a write to a client may block; the default is 30 s.
	WriteTimeout time.Duration
	// Logger receives the failures that no client sees; the default discards them.
	Logger *slog.Logger
}

// StreamIDHeader names a stream in requests and answers, as in Genkit.
const StreamIDHeader = "X-Genkit-Stream-Id"

// A Handler serves a flow. A request that asks for a stream (?stream=true, or Accept: text/event-stream) runs the flow,
// whose stream outlives the client; a request that names a stream with [StreamIDHeader] (or ?stream_id=) reads that
// stream, after its Last-Event-ID if it has one. The answer is 204 if the stream does not exist. DELETE with the id of
// a stream stops its flow. Any other request runs the flow and gets the result as JSON.
//
// Events are those of genkit.Handler, with an id: line each.
type Handler struct {
	action  api.Action
	manager *StreamManager
	opt     HandlerOptions
	flows   *drain.Group
}

// NewHandler serves an action. Shut it down before the hub is closed.
func NewHandler(ctx context.Context, action api.Action, manager *StreamManager, o *HandlerOptions) *Handler {
	h := &Handler{action: action, manager: manager, flows: drain.New(ctx)}
	if o != nil {
		h.opt = *o
	}
	if h.opt.MaxBody <= 0 {
		h.opt.MaxBody = 16 << 20
	}
	if h.opt.WriteTimeout <= 0 {
		h.opt.WriteTimeout = 30 * time.Second
	}
	if h.opt.Logger == nil {
		h.opt.Logger = slog.New(slog.DiscardHandler)
	}
	return h
}

// Shutdown ends the contexts of the flows that run in this process, and waits for them. If ctx ends first, it returns
// the error of ctx.
func (h *Handler) Shutdown(ctx context.Context) error { return h.flows.Stop(ctx, nil) }

// owned is the metadata of a stream.
type owned struct {
	Owner string `json:"owner"`
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := h.serve(w, r); err != nil && r.Context().Err() == nil {
		status, message := core.INTERNAL, err.Error()
		if h.manager.opt.HideErrors {
			message = hidden
		}
		var public *core.UserFacingError
		var internal *core.GenkitError
		switch {
		case errors.As(err, &public):
			status, message = public.Status, public.Message
		case errors.As(err, &internal):
			status = internal.Status
		default:
			h.opt.Logger.Error("a flow could not be served", "action", h.action.Name(), "error", err)
		}
		http.Error(w, message, core.HTTPStatusCode(status))
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	owner := ""
	if h.opt.Owner != nil {
		var err error
		if owner, err = h.opt.Owner(r); err != nil {
			return core.NewPublicError(core.UNAUTHENTICATED, "unauthorized", nil)
		}
	}
	id := r.Header.Get(StreamIDHeader)
	if id == "" {
		id = r.URL.Query().Get("stream_id")
	}
	if r.Method == http.MethodDelete {
		return h.stop(w, r, id, owner)
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.opt.MaxBody))
	if err != nil {
		return core.NewPublicError(core.INVALID_ARGUMENT, "the body cannot be read or is too large", nil)
	}
	var body struct {
		Data json.RawMessage `json:"data"`
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &body); err != nil {
			return core.NewPublicError(core.INVALID_ARGUMENT, err.Error(), nil)
		}
	}
	ctx, err := h.actionContext(r, body.Data)
	if err != nil {
		return err
	}
	stream := false
	if text := r.URL.Query().Get("stream"); text != "" { // parsed as genkit.Handler does
		if stream, err = strconv.ParseBool(text); err != nil {
			return core.NewPublicError(core.INVALID_ARGUMENT, fmt.Sprintf("stream=%.40q: want true or false", text), nil)
		}
	}
	switch {
	case id != "":
		return h.subscribe(w, r, id, owner)
	case stream || strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		return h.run(ctx, w, r, owner, body.Data)
	}
	out, err := h.action.RunJSON(ctx, body.Data, nil)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]json.RawMessage{"result": out})
}

// actionContext calls the providers, as genkit.Handler does.
func (h *Handler) actionContext(r *http.Request, data json.RawMessage) (context.Context, error) {
	ctx := r.Context()
	for _, provide := range h.opt.ContextProviders {
		headers := make(map[string]string, len(r.Header))
		for name, values := range r.Header {
			headers[strings.ToLower(name)] = strings.Join(values, " ")
		}
		values, err := provide(ctx, core.RequestData{Method: r.Method, Headers: headers, Input: data})
		if err != nil {
			return nil, err
		}
		all := core.ActionContext{}
		maps.Copy(all, core.FromContext(ctx))
		maps.Copy(all, values)
		ctx = core.WithActionContext(ctx, all)
	}
	return ctx, nil
}

// run begins a stream, starts the flow that writes to it, and then serves the client like any other reader.
func (h *Handler) run(ctx context.Context, w http.ResponseWriter, r *http.Request, owner string, data json.RawMessage) error {
	if !h.flows.Begin() {
		return core.NewPublicError(core.UNAVAILABLE, "the server is stopping", nil)
	}
	id := uuid.NewString()
	// The flow goes on without the client that began it. Shutdown ends it, or a request to stop.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	p, err := h.manager.open(r.Context(), id, owned{owner}, func(reason error) { cancel(reason) })
	if err != nil {
		cancel(err)
		h.flows.Done()
		return err
	}
	go func() {
		defer h.flows.Done()
		defer cancel(nil)
		defer context.AfterFunc(h.flows.Context(), func() { cancel(streamhub.ErrShutdown) })()
		h.produce(ctx, p, data)
	}()
	return h.follow(w, r, p)
}

// produce runs the flow and ends its stream, even if the flow fails or panics.
func (h *Handler) produce(ctx context.Context, p live.Producer, data json.RawMessage) {
	in := newInput(context.WithoutCancel(ctx), h.manager, p)
	bye := func() (context.Context, context.CancelFunc) {
		// While Redis is unavailable, readers wait for the end of the stream. So produce keeps trying to write it,
		// until the handler shuts down.
		end, cancel := context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(h.flows.Context(), func() { time.AfterFunc(goodbye, cancel) })
		return end, func() {
			stop()
			cancel()
		}
	}
	defer func() {
		if v := recover(); v != nil {
			h.opt.Logger.Error("a flow panicked", "action", h.action.Name(), "panic", v)
			ctx, cancel := bye()
			defer cancel()
			_ = in.Error(ctx, core.NewPublicError(core.INTERNAL, "the flow panicked", nil))
		}
	}()
	out, err := h.action.RunJSON(ctx, data, in.Write)
	end, cancel := bye()
	defer cancel()
	var cancelled *live.CancelError
	switch {
	case err == nil:
		err = in.Done(end, out)
	case errors.As(context.Cause(ctx), &cancelled):
		err = p.Close(end) // with the verdict that the request to stop asks for
	default:
		err = in.Error(end, err)
	}
	if err != nil {
		h.opt.Logger.Warn("a stream did not end as its flow did", "action", h.action.Name(), "id", p.ID(), "error", err)
	}
}

// mine returns a stream that belongs to owner.
func (h *Handler) mine(ctx context.Context, id, owner string) (live.Stream, error) {
	s, err := h.manager.streams.Get(ctx, id)
	if err != nil || h.opt.Owner == nil {
		return s, publicError(err)
	}
	var of owned
	if _, err := s.Metadata(ctx, &of); err != nil {
		return nil, publicError(err)
	}
	// The same answer as for a missing stream: other users must not learn which ids exist.
	if of.Owner != owner {
		return nil, publicError(streamhub.ErrNotFound)
	}
	return s, nil
}

func (h *Handler) subscribe(w http.ResponseWriter, r *http.Request, id, owner string) error {
	if strings.HasSuffix(r.Header.Get("Last-Event-ID"), ended) {
		w.WriteHeader(http.StatusNoContent) // the client has everything, and an EventSource does not reconnect after 204
		return nil
	}
	s, err := h.mine(r.Context(), id, owner)
	var public *core.UserFacingError
	if errors.As(err, &public) && public.Status == core.NOT_FOUND {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err != nil {
		return err
	}
	return h.follow(w, r, s)
}

func (h *Handler) stop(w http.ResponseWriter, r *http.Request, id, owner string) error {
	s, err := h.mine(r.Context(), id, owner)
	if err == nil {
		_, err = s.Cancel(r.Context(), &live.CancelOptions{By: owner})
		err = publicError(err)
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// ended marks the id of the last event.
const ended = ".end"

// follow answers with the events of a stream.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, s live.Stream) error {
	cursor := live.Cursor(r.Header.Get("Last-Event-ID"))
	if _, err := cursor.Generation(); err != nil {
		return publicError(err)
	}
	w.Header().Set(StreamIDHeader, s.ID())
	w.Header().Set("Cache-Control", "no-cache")
	out := sse.Begin(w, h.opt.WriteTimeout)
	defer out.KeepOpen(r.Context(), nil, 0)()
	for e := range h.manager.events(r.Context(), s, cursor) {
		last := fmt.Sprint(s.Generation(), ended)
		switch e.Type {
		case streaming.StreamEventChunk:
			if out.Send(eventText(string(e.cursor), "message", e.Chunk)) != nil {
				return nil
			}
		case streaming.StreamEventDone:
			_ = out.Send(eventText(last, "result", e.Output))
		case streaming.StreamEventError:
			failed := map[string]any{"status": core.INTERNAL, "message": "stream flow error", "details": e.Err.Error()}
			var public *core.UserFacingError
			var internal *core.GenkitError
			if errors.As(e.Err, &public) {
				failed["status"] = public.Status
			} else if errors.As(e.Err, &internal) {
				failed["status"] = internal.Status
			}
			_ = out.Send(eventText(last, "error", failed))
		}
	}
	return nil
}

// eventText encodes an event in the form of genkit.Handler, with an id line first.
func eventText(id, kind string, value any) []byte {
	text, err := json.Marshal(map[string]any{kind: value})
	if err != nil { // the chunk is not JSON, so another program wrote it
		text = []byte(`{"error":{"status":"INTERNAL_SERVER_ERROR","message":"stream flow error"}}`)
	}
	b := fmt.Appendf(nil, "id: %s\n", id)
	return append(append(append(b, "data: "...), text...), "\n\n"...)
}

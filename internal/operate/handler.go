package operate

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/query"
)

const (
	storesPrefix = "/stores/"
	root         = "/v1/operate/"
)

// HandlerOptions configure a [Handler]; nil stands for the defaults.
type HandlerOptions struct {
	// Authorize returns an error unless the sender of a request has a right. AuthorizeAll returns an error unless it
	// may read, or write, everything in every store. By default every client has every right.
	Authorize    func(r *http.Request, right streamhub.Right) error
	AuthorizeAll func(r *http.Request, write bool) error
	// CheckOrigin returns an error for a request of a web page that may not use the handler. By default only pages of
	// the handler's own origin may.
	CheckOrigin func(r *http.Request) error
	// View, unless it is nil, answers the requests of the console, for every store and without checking a right.
	View *View
	// ReadOnly refuses all operations that change something.
	ReadOnly bool
	// Logger receives the failures that no client sees. The default discards them.
	Logger *slog.Logger
}

// A Handler offers operations over HTTP. It is safe for concurrent use.
type Handler struct {
	ops Operations
	opt HandlerOptions
}

// NewHandler makes a handler for ops.
func NewHandler(ops Operations, o *HandlerOptions) *Handler {
	h := &Handler{ops: ops}
	if o != nil {
		h.opt = *o
	}
	if h.opt.Authorize == nil {
		h.opt.Authorize = func(*http.Request, streamhub.Right) error { return nil }
	}
	if h.opt.AuthorizeAll == nil {
		h.opt.AuthorizeAll = func(*http.Request, bool) error { return nil }
	}
	if h.opt.CheckOrigin == nil {
		h.opt.CheckOrigin = auth.OwnOrigin
	}
	option.Logger(&h.opt.Logger)
	return h
}

// route returns the store and the operation of a path.
func route(path string) (store uuid.UUID, operation string, ok bool) {
	if rest, other := strings.CutPrefix(path, storesPrefix); other {
		id, rest, found := strings.Cut(rest, "/")
		var err error
		if store, err = uuid.Parse(id); err != nil || !found || len(id) != 36 {
			return store, "", false
		}
		path = "/" + rest
	}
	operation, ok = strings.CutPrefix(path, root)
	return store, operation, ok
}

// Owns reports whether a [Handler] serves a path.
func Owns(path string) bool {
	_, _, ok := route(path)
	return ok
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

// errReserved is the answer to every caller, authorized or not.
var errReserved = &streamhub.Error{Op: "operate", Err: fmt.Errorf("%w: gateways keep their own state in this store: it is served to no client", streamhub.ErrPermissionDenied)}

var errNoOperation = &streamhub.Error{Op: "operate", Err: streamhub.ErrNotFound}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	store, name, ok := route(r.URL.Path)
	if !ok {
		return errNoOperation
	}
	if err := h.opt.CheckOrigin(r); err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrPermissionDenied, err)
	}
	if auth.Reserved(store) {
		return errReserved
	}
	values, err := query.Of(r.URL, "after", "ended", "from", "generation", "id", "reason", "segment", "space")
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost && h.opt.ReadOnly {
		return errReadOnly
	}
	if h.opt.View != nil {
		if handled, err := h.opt.View.serve(w, r, store, name, values); handled {
			return err
		}
	}
	op, ok := operations[r.Method+" "+name]
	if !ok {
		if methods := methodsOf(name); len(methods) > 0 {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return errMethod
		}
		return errNoOperation
	}
	space, err := op.scope.space(values)
	if err != nil {
		return err
	}
	if err := h.authorize(r, op.scope, store, space); err != nil {
		return err
	}
	return op.run(h, w, &request{r, store, space, values})
}

// methodsOf lists the methods of an operation.
func methodsOf(name string) (methods []string) {
	for _, method := range []string{http.MethodDelete, http.MethodGet} {
		if _, ok := operations[method+" "+name]; ok {
			methods = append(methods, method)
		}
	}
	return methods
}

// errMethod is the error for a method that an operation does not have.
var errMethod = errors.New("method not allowed")

// errReadOnly refuses changes on a read-only handler.
var errReadOnly = &streamhub.Error{Op: "operate", Err: fmt.Errorf("%w: this listener changes nothing; start the server with --admin-write", streamhub.ErrPermissionDenied)}

// one answers with one JSON value.
func one(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return ignored(json.NewEncoder(w).Encode(v))
}

// ignored drops the error of a write: it means that the client is gone.
func ignored(error) error { return nil }

// of yields the items of a page, or the error.
func of[T any](page []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		for _, v := range page {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// lines answers with a list. An error before the first line is the error of the request.
func lines[T any](w http.ResponseWriter, list iter.Seq2[T, error]) error {
	out := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	begun := false
	for v, err := range list {
		if err != nil && !begun {
			return err
		}
		begun = true
		if err != nil {
			_ = out.Encode(map[string]failure{"error": failureOf(err)})
			return nil
		}
		if out.Encode(v) != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// A failure is the JSON form of an error.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func failureOf(err error) failure {
	code := streamhub.CodeOf(err)
	if _, known := httpstatus.Of(code); !known {
		return failure{"internal", "internal error"}
	}
	return failure{string(code), err.Error()}
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client is gone, or the gate has answered
	}
	f := failureOf(err)
	status, known := httpstatus.Of(streamhub.CodeOf(err))
	switch {
	case errors.Is(err, errMethod):
		status, f = http.StatusMethodNotAllowed, failure{"method_not_allowed", err.Error()}
	case !known:
		h.opt.Logger.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	case status == http.StatusUnauthorized:
		f.Message = "unauthorized"
		w.Header().Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f)
}

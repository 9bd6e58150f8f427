package operate

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/query"
)

// A scope says what the right for an operation must cover.
type scope int

const (
	wholeStore scope = iota
	oneSpace         // the space that the parameter space names
	anySpace         // like oneSpace, but without the parameter the whole store
	everything       // all stores
)

// An operation is one row of the table of the handler.
type operation struct {
	scope scope
	run   func(h *Handler, w http.ResponseWriter, q *request) error
}

// A request is an authorized request for an operation.
type request struct {
	*http.Request
	store  uuid.UUID
	space  string // "" unless the operation is on one space
	values url.Values
}

// operations are all operations, by method and name. The package documentation lists them too.
var operations = map[string]operation{
	"GET leases": {wholeStore, func(h *Handler, w http.ResponseWriter, q *request) error {
		return lines(w, h.ops.Leases(q.Context(), q.store))
	}},
	"GET list": {anySpace, (*Handler).list},
	"GET workers": {wholeStore, func(h *Handler, w http.ResponseWriter, q *request) error {
		return lines(w, h.ops.Workers(q.Context(), q.store))
	}},
	"GET live": {oneSpace, func(h *Handler, w http.ResponseWriter, q *request) error {
		ended, err := query.Flag(q.values, "ended")
		if err != nil {
			return err
		}
		return lines(w, h.ops.Live(q.Context(), q.store, q.space, ended))
	}},
	"DELETE live":          {oneSpace, (*Handler).cancelLive},
	"GET subscriptions":    {wholeStore, (*Handler).subscriptions},
	"DELETE subscriptions": {wholeStore, (*Handler).removeSubscription},
	"DELETE store": {wholeStore, func(h *Handler, w http.ResponseWriter, q *request) error {
		purged, err := h.ops.Purge(q.Context(), q.store)
		return one(w, purged, err)
	}},
	"GET instances": {everything, func(h *Handler, w http.ResponseWriter, q *request) error {
		all, err := h.ops.Instances(q.Context())
		return one(w, all, err)
	}},
	"GET overview": {everything, (*Handler).overview},
}

// space returns the space that an operation of this scope is for, "" for none.
func (s scope) space(values url.Values) (string, error) {
	if s == oneSpace || s == anySpace && values.Has("space") {
		return values.Get("space"), streamhub.CheckName("space", values.Get("space"))
	}
	return "", nil
}

// authorize returns an error unless the sender of a request may use an operation of this scope.
func (h *Handler) authorize(r *http.Request, s scope, store uuid.UUID, space string) error {
	write := r.Method != http.MethodGet
	if s == everything {
		return h.opt.AuthorizeAll(r, write)
	}
	return h.opt.Authorize(r, streamhub.Right{Store: store, Space: space, Write: write})
}

func (h *Handler) list(w http.ResponseWriter, q *request) error {
	after := q.values.Get("after")
	if q.space == "" {
		page, err := h.ops.Spaces(q.Context(), q.store, after)
		return lines(w, of(page, err))
	}
	page, err := h.ops.Segments(q.Context(), q.store, q.space, after)
	return lines(w, of(page, err))
}

func (h *Handler) cancelLive(w http.ResponseWriter, q *request) error {
	id, text := q.values.Get("id"), cmp.Or(q.values.Get("generation"), "0")
	if err := streamhub.CheckName("live stream", id); err != nil {
		return err
	}
	generation, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return fmt.Errorf("%w: generation %q is no number", streamhub.ErrInvalidArgument, text)
	}
	verdict, err := h.ops.CancelLive(q.Context(), q.store, q.space, id, generation, q.values.Get("reason"))
	return one(w, verdict, err)
}

func (h *Handler) subscriptions(w http.ResponseWriter, q *request) error {
	if !q.values.Has("id") {
		return lines(w, h.ops.Subscriptions(q.Context(), q.store))
	}
	id := q.values.Get("id")
	if err := streamhub.CheckName("subscription", id); err != nil {
		return err
	}
	s, err := h.ops.Subscription(q.Context(), q.store, id)
	return one(w, s, err)
}

func (h *Handler) removeSubscription(w http.ResponseWriter, q *request) error {
	id := q.values.Get("id")
	if err := streamhub.CheckName("subscription", id); err != nil {
		return err
	}
	return one(w, struct{}{}, h.ops.RemoveSubscription(q.Context(), q.store, id))
}

func (h *Handler) overview(w http.ResponseWriter, q *request) error {
	look := h.ops.Overview
	if h.opt.View != nil {
		look = h.opt.View.look // the one that records samples
	}
	o, err := look(q.Context())
	return one(w, o, err)
}

package durable

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
)

// A subscriptionError is an answer with one of the codes of the protocol of Durable Streams. holder
// is the worker that has the wake, for ALREADY_CLAIMED.
type subscriptionError struct {
	status  int
	code    string
	message string
	holder  string
}

func (e *subscriptionError) Error() string { return e.message }

func invalidRequest(message string) error {
	return &subscriptionError{status: http.StatusBadRequest, code: "INVALID_REQUEST", message: message}
}

func rejected(message string) error {
	return &subscriptionError{status: http.StatusBadRequest, code: "WEBHOOK_URL_REJECTED", message: message}
}

var (
	errExists  = &subscriptionError{status: http.StatusConflict, code: "SUBSCRIPTION_ALREADY_EXISTS", message: "the subscription exists with another configuration"}
	errToken   = &subscriptionError{status: http.StatusUnauthorized, code: "TOKEN_INVALID", message: "the token is not that of the wake"}
	errFenced  = &subscriptionError{status: http.StatusConflict, code: "FENCED", message: "the wake is over"}
	errNoWork  = &subscriptionError{status: http.StatusConflict, code: "NO_PENDING_WORK", message: "there is nothing to do"}
	errInvalid = &subscriptionError{status: http.StatusConflict, code: "INVALID_OFFSET", message: "an offset goes back, or beyond the end of its stream"}
)

// maxRequest bounds the body of a request about a subscription, in bytes.
const maxRequest = 1 << 20

// serveReserved serves the paths under __ds, which are not streams.
func (d *Handler) serveReserved(w http.ResponseWriter, r *http.Request, o *root, path string) {
	answer, status, err := d.reserved(w, r, o, path)
	var known *subscriptionError
	switch {
	case errors.As(err, &known):
		type body struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Holder  string `json:"current_holder,omitempty"`
		}
		reply(w, known.status, map[string]body{"error": {known.code, known.message, known.holder}})
	case err != nil:
		d.fail(w, r, nil, err)
	case answer == nil:
		w.WriteHeader(status)
	default:
		reply(w, status, answer)
	}
}

// reply answers with JSON. Unless the caller has set another Cache-Control, no cache keeps it.
func reply(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentsJSON)
		h.Set("Cache-Control", cacheNothing)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// keyMethods are the methods of the path of the keys. subscriptionMethods are the methods of a subscription, by the
// rest of the path after its id. A rest that ends with a slash is followed by a path.
var (
	keyMethods          = []string{http.MethodGet}
	subscriptionMethods = map[string][]string{
		"":         {http.MethodGet, http.MethodPut, http.MethodDelete},
		"streams":  {http.MethodPost},
		"streams/": {http.MethodDelete},
		"claim":    {http.MethodPost},
		"ack":      {http.MethodPost},
		"release":  {http.MethodPost},
		"callback": {http.MethodPost},
	}
)

// allow returns an error unless the path allows the method.
func allow(w http.ResponseWriter, r *http.Request, methods []string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return &statusError{http.StatusMethodNotAllowed, "method not allowed"}
}

// reserved finds the action for a path under __ds. Callbacks, acks and releases carry the token of their wake; all
// other requests need a right to the whole store.
func (d *Handler) reserved(w http.ResponseWriter, r *http.Request, o *root, path string) (answer any, status int, err error) {
	if path == "/jwks.json" {
		if err := allow(w, r, keyMethods); err != nil {
			return nil, 0, err
		}
		g, err := d.knownSigner(r.Context())
		if err != nil {
			return nil, 0, err
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		if g == nil { // no webhook was signed yet
			w.Header().Set("Cache-Control", cacheNothing)
			return keySet{[]jwk{}}, http.StatusOK, nil
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		return g.keySet(), http.StatusOK, nil
	}
	path, ok := strings.CutPrefix(path, "/subscriptions/")
	id, action, _ := strings.Cut(path, "/")
	if !ok || streamhub.CheckName("subscription", id) != nil {
		return nil, 0, errNoStream
	}
	c := &subscriptionCall{d, o, d.register(o.store.ID()), id}
	if action, path, _ = strings.Cut(action, "/"); path != "" {
		action += "/"
	}
	methods, known := subscriptionMethods[action]
	if !known {
		return nil, 0, errNoStream
	}
	if err := allow(w, r, methods); err != nil {
		return nil, 0, err
	}
	switch action {
	case "callback", "ack", "release": // authorized by the token of the wake
		return c.acknowledge(r, action)
	}
	if err := d.authorize(r, streamhub.Right{Store: o.store.ID(), Write: r.Method != http.MethodGet}); err != nil {
		return nil, 0, err
	}
	switch r.Method + " " + action {
	case "PUT ":
		return c.put(r)
	case "GET ":
		return c.get(r.Context())
	case "DELETE ":
		return c.delete(r.Context())
	case "POST streams":
		return c.addStreams(r)
	case "DELETE streams/":
		return c.unlink(r.Context(), trimPath(path))
	}
	return c.claim(r)
}

// input decodes a JSON body into a value. An empty body counts as an empty object.
func input(r *http.Request, into any) error {
	if err := plainBody(r); err != nil {
		return err
	}
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxRequest))
	if err != nil {
		return tooLarge(err)
	}
	if len(text) == 0 {
		text = []byte("{}")
	}
	if !utf8.Valid(text) || json.Unmarshal(text, into) != nil {
		return invalidRequest("the body is not what it should be")
	}
	return nil
}

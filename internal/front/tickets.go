package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
)

const (
	ticketPath = "/v1/tickets"
	storesPath = "/stores/"
	// maxTicketRequest is the largest request for a ticket, in bytes; a ticket cannot hold that much.
	maxTicketRequest = 16 << 10
)

// now is the clock of tickets; tests replace it.
var now = time.Now

// OwnsTickets reports whether a path is the path at which the tickets of some store are made.
func OwnsTickets(path string) bool {
	_, ok := ticketStore(path)
	return ok
}

// ticketStore returns the store that a path of tickets names. If ok is false, the path names no store.
func ticketStore(path string) (store uuid.UUID, ok bool) {
	if path == ticketPath {
		return uuid.Nil, true
	}
	rest, ok := strings.CutPrefix(path, storesPath)
	name, rest, _ := strings.Cut(rest, "/")
	if !ok || "/"+rest != ticketPath {
		return uuid.Nil, false
	}
	store, err := uuid.Parse(name)
	if err != nil || len(name) != 36 {
		return auth.Internal, true
	}
	return store, true
}

// An answerTicket is the answer to a request for a ticket.
type answerTicket struct {
	Ticket  string    `json:"ticket"`
	Expires time.Time `json:"expires_at"`
}

// ServeTickets answers POST /v1/tickets: the sender of a bearer token, or of a cookie, gets a ticket for a part of what
// it may do. A ticket cannot be used to make another ticket. If the gateway requires no token, it still returns a
// ticket, so that pages work with both kinds of gateway.
func (g *Gate) ServeTickets(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	// This header admits every page. makeTicket decides, by the token or, if none is required, by the origin.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	h.Set("Access-Control-Allow-Headers", "*, Authorization, Content-Type")
	h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	h.Set("Access-Control-Max-Age", "86400")
	switch r.Method {
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPost:
	default:
		h.Set("Allow", "POST, OPTIONS")
		writeJSON(w, http.StatusMethodNotAllowed, problem{"method_not_allowed", "method not allowed"})
		return
	}
	answer, err := g.makeTicket(r)
	if err != nil {
		g.failTicket(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, answer)
}

// failTicket answers with an error. Only internal errors are logged.
func (g *Gate) failTicket(w http.ResponseWriter, r *http.Request, err error) {
	code := streamhub.CodeOf(err)
	status, known := httpstatus.Of(code)
	body := problem{string(code), err.Error()}
	switch {
	case errors.Is(err, errSlow):
		status, body.Code = http.StatusRequestTimeout, string(codeTimeout)
	case !known:
		if r.Context().Err() != nil {
			return // the gate has answered
		}
		body.Message = "internal error"
		g.log.Error("a ticket could not be made", "error", err)
	case status == http.StatusUnauthorized:
		body.Message = "unauthorized"
		w.Header().Set("WWW-Authenticate", "Bearer")
	case status == http.StatusServiceUnavailable:
		body.Message = "unavailable"
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, body)
}

// A problem is the body of an error response.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone
}

// errTicketAgain refuses a ticket as the credential for another ticket: a chain of tickets could outlive
// [auth.MaxTicketTime].
var errTicketAgain = fmt.Errorf("%w: a ticket makes no ticket", streamhub.ErrUnauthenticated)

func (g *Gate) makeTicket(r *http.Request) (*answerTicket, error) {
	if err := g.CheckOrigin(r); err != nil {
		return nil, fmt.Errorf("%w: %w", streamhub.ErrPermissionDenied, err)
	}
	p := &auth.Principal{}
	if g.verifier != nil {
		if auth.TicketOf(r) != "" {
			return nil, errTicketAgain // even if the request has a token too
		}
		var err error
		if p, err = passOf(r).identify(r, g); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxTicketRequest))
	if err != nil {
		if over := (*http.MaxBytesError)(nil); errors.As(err, &over) {
			return nil, fmt.Errorf("%w: a body of more than %d bytes", streamhub.ErrTooLarge, maxTicketRequest)
		}
		if errors.Is(err, errSlow) || streamhub.CodeOf(err) != streamhub.CodeInternal {
			return nil, err // an error of the gate
		}
		return nil, fmt.Errorf("%w: the body cannot be read", streamhub.ErrInvalidArgument)
	}
	var t auth.TicketRequest
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: the body is not UTF-8, which JSON is", streamhub.ErrInvalidArgument)
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf(`%w: the body is {"read":["space/segment"],"write":[],"ttl":"60s"}: %w`, streamhub.ErrInvalidArgument, err)
	}
	if g.verifier == nil {
		ttl, err := t.Lifetime()
		if err != nil {
			return nil, err
		}
		return &answerTicket{"none", now().Add(ttl).UTC()}, nil
	}
	if g.tickets == nil {
		return nil, fmt.Errorf("%w: this gateway makes no tickets", streamhub.ErrInvalidArgument)
	}
	store, _ := ticketStore(r.URL.Path)
	ticket, until, err := auth.SignTicket(r.Context(), g.tickets, p, store, &t, now())
	if err != nil {
		return nil, err
	}
	return &answerTicket{ticket, until.UTC().Truncate(time.Millisecond)}, nil
}

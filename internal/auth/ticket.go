package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

const (
	// MaxTicket is the longest ticket, in bytes: it must fit into a URL.
	MaxTicket = 4 << 10
	// TicketTime is how long a ticket is valid by default, and MaxTicketTime is the longest validity.
	TicketTime    = time.Minute
	MaxTicketTime = 5 * time.Minute
	// ticketType tells tickets from tokens, even if both are signed with the same key. A Verifier refuses tokens of
	// this type.
	ticketType = "streamhub-ticket"
	// ticketName is the parameter of a URL that holds a ticket.
	ticketName = "ticket"
)

// ErrTicket is the error for an invalid or expired ticket.
var ErrTicket = errors.New("the ticket is not valid")

// TicketKeys hold the keys that sign tickets. They are safe for concurrent use.
type TicketKeys interface {
	// Current returns the key that signs, and its id.
	Current(ctx context.Context) (id string, key []byte, err error)
	// Find returns the key with an id, or nil if there is none. Unauthenticated clients can cause calls with any id.
	Find(ctx context.Context, id string) (key []byte, err error)
}

// A ticket is the signed content: a part of the rights of a token, for a URL. A web page uses it for requests on which
// it cannot set a header. Times are in Unix milliseconds.
type ticket struct {
	Subject string `json:"sub,omitempty"`
	Issuer  string `json:"iss,omitempty"`
	// Until is when the ticket itself expires. End is when the token expires, which ends the requests that the ticket
	// has opened; 0 means never.
	Until  int64    `json:"until"`
	End    int64    `json:"end,omitempty"`
	Scopes []string `json:"scopes"`
}

// ticket implements [jwt.Claims] with no registered claims, because their times are in whole seconds.
func (ticket) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (ticket) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (ticket) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (ticket) GetIssuer() (string, error)                   { return "", nil }
func (ticket) GetSubject() (string, error)                  { return "", nil }
func (ticket) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// A TicketRequest asks for a ticket for a store.
type TicketRequest struct {
	// Read and Write are segments, as space/segment or space/prefix*, escaped as in a URL path.
	Read  []string `json:"read"`
	Write []string `json:"write"`
	// TTL is how long the ticket is valid, such as "60s".
	TTL string `json:"ttl"`
}

// Lifetime returns the requested validity of the ticket, or an error if TTL is invalid.
func (t *TicketRequest) Lifetime() (time.Duration, error) {
	if t.TTL == "" {
		return TicketTime, nil
	}
	ttl, err := time.ParseDuration(t.TTL)
	if err != nil || ttl < time.Millisecond || ttl > MaxTicketTime {
		return 0, fmt.Errorf("%w: ttl %.40q: want a time such as 60s, at most %v", streamhub.ErrInvalidArgument, t.TTL, MaxTicketTime)
	}
	return ttl, nil
}

// SignTicket makes a ticket with the rights that t asks for, which p must have. The ticket expires at the latest when
// the token of p does. The error is one of package streamhub.
func SignTicket(ctx context.Context, keys TicketKeys, p *Principal, store uuid.UUID, t *TicketRequest, now time.Time) (text string, until time.Time, err error) {
	ttl, err := t.Lifetime()
	if err != nil {
		return "", until, err
	}
	scopes, err := p.ticketScopes(store, t)
	if err != nil {
		return "", until, err
	}
	until = now.Add(ttl)
	claims := ticket{Subject: p.Subject, Issuer: p.Issuer, Scopes: scopes}
	if !p.Expires.IsZero() {
		claims.End = p.Expires.UnixMilli()
		if p.Expires.Before(until) {
			until = p.Expires
		}
	}
	claims.Until = until.UnixMilli()
	id, key, err := keys.Current(ctx)
	if err != nil {
		return "", until, err
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	unsigned.Header["typ"], unsigned.Header["kid"] = ticketType, id
	if text, err = unsigned.SignedString(ticketKey(key)); err != nil {
		return "", until, err
	}
	if len(text) > MaxTicket {
		return "", until, fmt.Errorf("%w: the ticket would have %d bytes, the limit is %d: ask for less, or for a prefix", streamhub.ErrTooLarge, len(text), MaxTicket)
	}
	return text, until, nil
}

// ticketScopes returns the rights that t asks for, as scopes.
func (p *Principal) ticketScopes(store uuid.UUID, t *TicketRequest) (scopes []string, err error) {
	for _, list := range []struct {
		right string
		paths []string
	}{{"read", t.Read}, {"write", t.Write}} {
		for _, path := range list.paths {
			space, segment, ok := strings.Cut(path, "/")
			scope := strings.Join([]string{store.String(), escape(space), escape(segment), list.right}, "::")
			g, err := parseScope(scope)
			if err != nil || !ok || g.anySpace {
				return nil, fmt.Errorf("%w: %s %.300q: want space/segment, or a prefix that ends in *; escaped as in a URL path", streamhub.ErrInvalidArgument, list.right, path)
			}
			if !p.covers(&g) {
				return nil, fmt.Errorf("%w: to %s %.300q", streamhub.ErrPermissionDenied, list.right, path)
			}
			scopes = append(scopes, scopePrefix+scope)
		}
	}
	if len(scopes) == 0 {
		return nil, fmt.Errorf("%w: read and write are both empty", streamhub.ErrInvalidArgument)
	}
	return scopes, nil
}

// escape escapes the colon, the only byte of an escaped name that has another meaning in a scope.
func escape(name string) string { return strings.ReplaceAll(name, ":", "%3A") }

// covers reports whether one grant of the principal allows everything that g allows.
func (p *Principal) covers(g *grant) bool {
	if Reserved(g.store) {
		return false
	}
	for i := range p.grants {
		own := &p.grants[i]
		if (own.anyStore || own.store == g.store) && (own.anySpace || own.space == g.space) && own.segments.covers(g.segments) &&
			(own.read || !g.read) && (own.write || !g.write) {
			return true
		}
	}
	return false
}

// CheckTicket verifies a ticket and returns its principal. The principal expires with the token from which the ticket
// was made.
func CheckTicket(ctx context.Context, keys TicketKeys, text string, now time.Time) (*Principal, error) {
	if len(text) > MaxTicket {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrTicket, len(text))
	}
	var t ticket
	var failed error // error of the keys, for which the ticket is not to blame
	_, err := ticketParser.ParseWithClaims(text, &t, func(unverified *jwt.Token) (any, error) {
		id := kidOf(unverified)
		if typ, _ := unverified.Header["typ"].(string); typ != ticketType || id == "" {
			return nil, errors.New("it is something else")
		}
		var key []byte
		if key, failed = keys.Find(ctx, id); failed != nil {
			return nil, failed
		}
		if key == nil {
			return nil, errors.New("its key is not known")
		}
		return ticketKey(key), nil
	})
	switch {
	case failed != nil:
		return nil, failed
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTicket, err)
	case t.Until <= now.UnixMilli():
		return nil, fmt.Errorf("%w: it has expired", ErrTicket)
	case t.End != 0 && t.End <= now.UnixMilli():
		return nil, fmt.Errorf("%w: its token has expired", ErrTicket)
	}
	p := &Principal{Subject: t.Subject, Issuer: t.Issuer, ticket: true}
	if t.End != 0 {
		p.Expires = time.UnixMilli(t.End)
	}
	if p.grants, err = parseScopes(t.Scopes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTicket, err)
	}
	return p, nil
}

var ticketParser = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())

// ticketKey derives the signing key of tickets, so that a key that also signs something else cannot be misused.
func ticketKey(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("streamhub tickets"))
	return mac.Sum(nil)
}

// TicketOf returns the ticket in the URL of a request, or "" if there is none. Several tickets count as an invalid one.
func TicketOf(r *http.Request) string {
	if !strings.Contains(r.URL.RawQuery, ticketName) {
		return ""
	}
	switch all := r.URL.Query()[ticketName]; {
	case len(all) == 0:
		return ""
	case len(all) > 1, all[0] == "":
		// An invalid ticket, so that the request is refused. Without a ticket it would be authenticated by its cookie.
		return "?"
	default:
		return all[0]
	}
}

// UnmarshalJSON refuses unknown fields: with a misspelled field the ticket would lack rights.
func (t *TicketRequest) UnmarshalJSON(text []byte) error {
	type plain TicketRequest
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	return decoder.Decode((*plain)(t))
}

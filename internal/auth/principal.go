package auth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/seed-147127fe/streamhub"
)

// A Principal is an authenticated client: the subject and the rights of its token. It is immutable.
type Principal struct {
	Subject, Issuer string
	// Expires is when the token expires; the zero Time means never.
	Expires time.Time
	grants  []grant
	ticket  bool // the credential was a ticket
}

// Identify verifies a token and returns its principal. An error says why the token is refused; it is for the log and
// not for the client.
func Identify(ctx context.Context, a streamhub.Authenticator, token string) (*Principal, error) {
	who, err := a.Authenticate(ctx, token)
	if err != nil {
		return nil, err
	}
	if who == nil {
		return nil, errors.New("the authenticator names no subject")
	}
	grants, err := parseScopes(who.Scopes)
	if err != nil {
		return nil, err
	}
	return &Principal{Subject: who.Subject, Issuer: who.Issuer, Expires: who.Expires, grants: grants}, nil
}

// Anonymous is the principal of a client that has not authenticated yet. It has no rights.
var Anonymous = &Principal{}

// CountedAs returns the name under which limits count p, which may be nil. It is "" for a token without a subject,
// which many clients may share.
func (p *Principal) CountedAs() string {
	if p == nil || p.Subject == "" {
		return ""
	}
	return p.Issuer + "\x00" + p.Subject
}

// A grant is one scope: a right in one store or in all stores.
type grant struct {
	anyStore    bool
	store       uuid.UUID
	anySpace    bool
	space       string
	segments    pattern
	read, write bool
}

// A pattern matches one segment, all segments with a prefix, or a whole space, including its timeline and the list of
// its segments. The zero value matches no segment.
type pattern struct {
	name   string // the name, or the prefix of names
	prefix bool
}

// everything is the pattern that matches a whole space.
var everything = pattern{prefix: true}

// has reports whether the pattern matches a segment; "" is the whole space.
func (p pattern) has(segment string) bool {
	switch {
	case p == everything:
		return true
	case segment == "":
		return false
	case p.prefix:
		return strings.HasPrefix(segment, p.name)
	}
	return segment == p.name
}

// covers reports whether p matches everything that q matches.
func (p pattern) covers(q pattern) bool {
	if q.prefix {
		return p.prefix && strings.HasPrefix(q.name, p.name)
	}
	return p.has(q.name)
}

// parsePattern reads the name of a segment, escaped as in a URL path, or a prefix with an asterisk at its end. An
// asterisk in a name is written %2A.
func parsePattern(text string) (p pattern, err error) {
	text, p.prefix = strings.CutSuffix(text, "*")
	if strings.Contains(text, "*") {
		return p, errors.New("an asterisk stands at the end only; one of a name is %2A")
	}
	if p.name, err = url.PathUnescape(text); err != nil || p.name == "" && !p.prefix {
		return p, errors.New("the name of the segment is not escaped as in a URL path")
	}
	return p, nil
}

// Internal is the store for the state of gateways: the subscriptions of Durable Streams, and the keys that sign
// webhooks and tickets. No transport serves it to any client, because a reader of the keys could forge webhooks. Its
// UUID is derived from a name, so all gateways use the same one.
var Internal = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://streamhub/durable/subscriptions"))

// Reserved reports whether a store is [Internal].
func Reserved(store uuid.UUID) bool { return store == Internal }

// Allows reports whether the principal has a right. A right to a whole space needs a grant for all of its segments. A
// right to a whole store needs a grant for all of its spaces.
func (p *Principal) Allows(right streamhub.Right) bool {
	if Reserved(right.Store) {
		return false
	}
	for i := range p.grants {
		if p.grants[i].allows(&right) {
			return true
		}
	}
	return false
}

func (g *grant) allows(right *streamhub.Right) bool {
	return (g.anyStore || g.store == right.Store) && (g.anySpace || right.Space != "" && g.space == right.Space) &&
		g.segments.has(right.Segment) && (right.Write && g.write || !right.Write && g.read)
}

// Denied returns the error for a missing right. Its text names only the names that the caller has sent.
func Denied(right streamhub.Right) error {
	verb := "read"
	if right.Write {
		verb = "write"
	}
	switch {
	case right.Space == "":
		return fmt.Errorf("%w: the token does not allow to %s the store %v as a whole", streamhub.ErrPermissionDenied, verb, right.Store)
	case right.Segment == "":
		return fmt.Errorf("%w: the token does not allow to %s the space %q as a whole", streamhub.ErrPermissionDenied, verb, right.Space)
	}
	return fmt.Errorf("%w: the token does not allow to %s the segment %q of the space %q", streamhub.ErrPermissionDenied, verb, right.Segment, right.Space)
}

// AllowsAll reports whether the principal may read from, or write to, every segment of every store.
func (p *Principal) AllowsAll(write bool) bool {
	for i := range p.grants {
		if g := &p.grants[i]; g.anyStore && g.anySpace && g.segments.has("") && (write && g.write || !write && g.read) {
			return true
		}
	}
	return false
}

// AllowsStore reports whether the principal may do anything in a store.
func (p *Principal) AllowsStore(store uuid.UUID) bool {
	if Reserved(store) {
		return false
	}
	for _, g := range p.grants {
		if g.anyStore || g.store == store {
			return true
		}
	}
	return false
}

// errSubject is the error for a new token with another subject.
var errSubject = errors.New("the token is for another subject")

// Succeed returns an error unless next may take the place of p on an open connection: it must have the same subject and
// the same issuer.
func (p *Principal) Succeed(next *Principal) error {
	if p != Anonymous && p != nil && (p.Subject != next.Subject || p.Issuer != next.Issuer) {
		return errSubject
	}
	return nil
}

// scopePrefix is the prefix of all scopes of streamhub.
const scopePrefix = "streamhub::"

// parseScopes parses the claim scopes. It ignores scopes of other systems. A malformed streamhub scope makes the token
// invalid. So does a malformed streamkit scope, unless streamkit::* precedes it.
func parseScopes(scopes []string) (grants []grant, err error) {
	all := false
	for _, scope := range scopes {
		if rest, ok := strings.CutPrefix(scope, scopePrefix); ok {
			g, err := parseScope(rest)
			if err != nil {
				return nil, fmt.Errorf("scope %q: %w", scope, err)
			}
			grants = append(grants, g)
			continue
		}
		rest, ok := strings.CutPrefix(scope, "streamkit::")
		if !ok || all {
			continue
		}
		g := grant{anySpace: true, segments: everything, read: true, write: true}
		if rest == "*" {
			all, g.anyStore = true, true
		} else if g.store, err = parseStore(rest); err != nil {
			return nil, fmt.Errorf("scope %q: %w", scope, err)
		}
		grants = append(grants, g)
	}
	if len(grants) == 0 {
		return nil, errors.New(`no scope of this service: want one that begins with "streamhub::" or "streamkit::"`)
	}
	return grants, nil
}

func parseScope(text string) (g grant, err error) {
	parts := strings.Split(text, "::")
	if len(parts) != 3 && len(parts) != 4 {
		return g, errors.New("want streamhub::<store>::<space>::<right> or streamhub::<store>::<space>::<segment>::<right>")
	}
	if g.anyStore = parts[0] == "*"; !g.anyStore {
		if g.store, err = parseStore(parts[0]); err != nil {
			return g, err
		}
	}
	if g.anySpace = parts[1] == "*"; !g.anySpace {
		if g.space, err = url.PathUnescape(parts[1]); err != nil || g.space == "" {
			return g, errors.New("the name of the space is not escaped as in a URL path")
		}
	}
	g.segments = everything
	if len(parts) == 4 {
		if g.segments, err = parsePattern(parts[2]); err != nil {
			return g, err
		}
	}
	switch parts[len(parts)-1] {
	case "read":
		g.read = true
	case "write":
		g.write = true
	case "*":
		g.read, g.write = true, true
	default:
		return g, errors.New("a right is read, write or *")
	}
	return g, nil
}

// parseStore accepts only the usual form of a UUID: other forms would be a second name for a store.
func parseStore(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, errors.New("a store is a UUID")
	}
	return id, nil
}

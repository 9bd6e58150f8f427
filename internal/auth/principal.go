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

// A Principal is who presented a token. It does not change.
type Principal struct {
	Subject, Issuer string
	// Expires is the end of the token; zero is never.
	Expires time.Time
	grants  []grant
	ticket  bool // a ticket said so
}

// Identify returns who presented a token, and what its scopes allow. An error says why the token is refused; it
// is for the log and not for the client.
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

// Anonymous is a peer that has not yet authenticated. It may do nothing.
var Anonymous = &Principal{}

// CountedAs returns under which name limits count p, which may be nil; "" is none: tokens without a subject may be of many.
func (p *Principal) CountedAs() string {
	if p == nil || p.Subject == "" {
		return ""
	}
	return p.Issuer + "\x00" + p.Subject
}

// A grant allows something in one store, or in all of them.
type grant struct {
	anyStore    bool
	store       uuid.UUID
	anySpace    bool
	space       string
	segments    pattern
	read, write bool
}

// A pattern stands for one segment, for those whose names begin alike, or for a space as a whole, which
// is also its timeline and the list of its segments. The zero value stands for no segment.
type pattern struct {
	name   string // or what the names begin with
	prefix bool
}

// everything is the pattern of a space as a whole.
var everything = pattern{prefix: true}

// has reports whether a segment is one of the pattern's; "" is the space as a whole.
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

// covers reports whether every segment of q is one of the pattern's, and the space as a whole if q has
// it.
func (p pattern) covers(q pattern) bool {
	if q.prefix {
		return p.prefix && strings.HasPrefix(q.name, p.name)
	}
	return p.has(q.name)
}

// parsePattern reads the name of a segment, escaped as in a URL path, or with an asterisk at its end a
// prefix. An asterisk of a name is %2A.
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

// Internal is the store in which gateways keep what is theirs: the subscriptions of Durable Streams
// and the key that signs webhooks. No transport serves it, whatever a client may do: who reads the key
// can forge webhooks. Its UUID is made of a name, so every gateway has the same one.
var Internal = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://streamhub/durable/subscriptions"))

// Reserved reports whether a store is [Internal].
func Reserved(store uuid.UUID) bool { return store == Internal }

// Allows reports whether the principal has a right. A right to a space as a whole needs a grant for all of
// its segments. One to a store as a whole needs a grant for all of its spaces.
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

// Denied is the error for a missing right, which it names. A caller learns only what it has named itself.
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

// errSubject is for a new token of another subject.
var errSubject = errors.New("the token is for another subject")

// Succeed returns an error unless next may take the place of p on an open connection: it is the
// same subject of the same issuer.
func (p *Principal) Succeed(next *Principal) error {
	if p != Anonymous && p != nil && (p.Subject != next.Subject || p.Issuer != next.Issuer) {
		return errSubject
	}
	return nil
}

// scopePrefix begins every scope of ours.
const scopePrefix = "streamhub::"

// parseScopes reads the claim. Scopes of other systems are ignored. A malformed one of streamkit
// rejects the token unless streamkit::* stands before it; a malformed one of ours always does.
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
		return nil, errors.New("no scope of this service")
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

// parseStore takes the usual form of a UUID only: others would be a second name for a store.
func parseStore(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, errors.New("a store is a UUID")
	}
	return id, nil
}

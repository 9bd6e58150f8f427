package streamhub

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// An Identity is the verified content of a token: its subject and scopes.
type Identity struct {
	// Subject is the client, and Issuer the authority that vouches for it. Limits count by both; an empty subject is
	// not counted.
	Subject, Issuer string
	// Expires is when connections and requests with the token end, unless the client presents a new one; the zero Time
	// is never.
	Expires time.Time
	// Scopes are the rights of the token, in the form of docs/auth.md: "streamhub::<store>::<space>::<right>", or
	// "streamhub::<store>::<space>::<segment>::<right>". A token with a malformed scope is refused.
	Scopes []string
}

// An Authenticator verifies tokens. It is safe for concurrent use. Its errors are for the log of a gateway, not for the
// client.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*Identity, error)
}

// A Right is the permission that a call needs: to read or to write one segment, a whole space, or a whole store.
type Right struct {
	Store uuid.UUID
	// Space is "" for a right to the whole store: the list of its spaces, its workers, its leases.
	Space string
	// Segment is "" for a right to the whole space: its list of segments, its timeline. The id of a live stream is the
	// name of a segment.
	Segment string
	Write   bool
}

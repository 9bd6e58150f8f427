package streamhub

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// An Identity is who presented a token, and what that allows.
type Identity struct {
	// Subject is who it is, and Issuer says so. Limits count by both; an empty subject is not counted.
	Subject, Issuer string
	// Expires is when connections and requests of the token end, unless the client presents a new
	// one; the zero Time is never.
	Expires time.Time
	// Scopes are what is allowed, in the form of docs/auth.md: "streamhub::<store>::<space>::<right>", or
	// "streamhub::<store>::<space>::<segment>::<right>". A token with a malformed scope is refused.
	Scopes []string
}

// An Authenticator says who presents a token. It is safe for concurrent use. Its error is for the
// log of a gateway, not for the client.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*Identity, error)
}

// A Right is the permission that a call needs: to read or to write one segment, a space as a whole, or a
// store as a whole.
type Right struct {
	Store uuid.UUID
	// Space is "" for what belongs to the store as a whole: the list of its spaces, its workers, its
	// leases.
	Space string
	// Segment is "" for what concerns the space as a whole: its list of segments, its timeline. The id of
	// a live stream is the name of a segment.
	Segment string
	Write   bool
}

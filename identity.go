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
	// Expires is when what was begun with the token ends, unless it is renewed; zero is never.
	Expires time.Time
	// Scopes are what is allowed, in the form of docs/auth.md: "streamhub::<store>::<space>::<right>", or
	// "streamhub::<store>::<space>::<segment>::<right>". One that cannot be read refuses the token.
	Scopes []string
}

// An Authenticator says who presents a token. It is safe for concurrent use. Its error is for the
// log of a gateway, not for the client.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*Identity, error)
}

// A Right is what the sender of a call must be allowed: to read from, or to write to, one segment, a space
// as a whole, or a store as a whole.
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

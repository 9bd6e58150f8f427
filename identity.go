package streamhub

import (
	"context"
	"time"
)

// An Identity is who presented a token, and what that allows.
type Identity struct {
	// Subject is who it is, and Issuer says so. Limits count by both; an empty subject is not counted.
	Subject, Issuer string
	// Expires is when what was begun with the token ends, unless it is renewed; zero is never.
	Expires time.Time
	// Scopes are what is allowed, in the form of docs/auth.md: "streamhub::<store>::<space>::<right>".
	// One that cannot be read refuses the token.
	Scopes []string
}

// An Authenticator says who presents a token. It is safe for concurrent use. Its error is for the
// log of a gateway, not for the client.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*Identity, error)
}

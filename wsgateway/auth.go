package wsgateway

import (
	"context"
	"time"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// An Authenticator says who presents a token. Its error is for the log, not for the client.
type Authenticator interface {
	Verify(ctx context.Context, token string) (*Principal, error)
}

// A Principal is who presented a token, and what that allows; see [NewPrincipal].
type Principal = auth.Principal

// JWTOptions configure [NewJWT].
type JWTOptions = auth.Options

// NewJWT returns an authenticator for JSON Web Tokens, by the rules of docs/auth.md.
func NewJWT(o JWTOptions) (Authenticator, error) {
	v, err := auth.NewVerifier(o)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// NewPrincipal is for authenticators of other tokens. Expires is the end of the connection, unless
// it is renewed; zero is never. Scopes are those of docs/auth.md.
func NewPrincipal(subject, issuer string, expires time.Time, scopes []string) (*Principal, error) {
	return auth.NewPrincipal(subject, issuer, expires, scopes)
}

// Limits bound the connections of a gateway.
type Limits = auth.Limits

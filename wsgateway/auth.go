package wsgateway

import (
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// JWTOptions configure [NewJWT]. Exactly one of HMACSecret, JWKSURL and PublicKeys is needed.
type JWTOptions struct {
	// HMACSecret verifies HS256. It has 32 bytes or more unless InsecureShortSecret is set.
	HMACSecret          []byte
	InsecureShortSecret bool
	// JWKSURL is the https URL of the keys for RS256, ES256 and EdDSA; http is allowed for a loopback address.
	JWKSURL string
	// PublicKeys, in PEM, verify RS256, ES256 and EdDSA: PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE. Only the key of a
	// certificate is used. At most 8 keys per algorithm are allowed. The key id of a token is ignored.
	PublicKeys []byte
	// Issuer and Audience, unless empty, must match the claims iss and aud of the token.
	Issuer, Audience string
	// Leeway is how far clocks may differ; the default is 30 s, which is also the maximum.
	Leeway time.Duration
	// MaxLifetime is the longest time from now that a token may be valid; the default is 24 h.
	MaxLifetime time.Duration
	// HTTPClient fetches the keys; the default is one with a timeout of 5 s.
	HTTPClient *http.Client
	// Now is the clock; the default is time.Now.
	Now func() time.Time
}

// NewJWT returns an authenticator for JSON Web Tokens, by the rules of docs/auth.md. A token has the claims
//
//	{"sub": "anna", "exp": 1790000000, "scopes": ["streamhub::<store>::<space>::read", "streamhub::*::chat::write"]}
//
// where exp is required. A scope ends with read, write or *, and write does not include read. It may name a segment, or
// a prefix of segments, before that; see docs/auth.md. A client learns only that it is not authenticated; the Logger of
// the server or the gateway gets the reason.
func NewJWT(o *JWTOptions) (streamhub.Authenticator, error) {
	v, err := auth.NewVerifier(auth.Options(*o))
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Limits bound the connections of a gateway. 0 is the default; a negative value is no limit. Connections from a
// loopback address have no limit per IP address, because a proxy opens them for many clients.
type Limits struct {
	// Connections, PerSubject and PerIP limit the open connections of the process, of one subject
	// and of one IP address; the defaults are 10,000, 100 and 200.
	Connections, PerSubject, PerIP int
	// Handshakes and HandshakesPerIP limit the handshakes per second of the process and of one IP
	// address; the defaults are 1,000 and 10.
	Handshakes, HandshakesPerIP float64
}

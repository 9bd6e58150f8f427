package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/seed-147127fe/streamhub"
)

const (
	// maxToken is the longest token that is parsed, in bytes.
	maxToken = 8 << 10
	// minSecret is the shortest secret for HS256, in bytes, that is accepted without InsecureShortSecret (RFC 7518,
	// 3.2).
	minSecret = 32

	defaultLeeway      = 30 * time.Second
	defaultMaxLifetime = 24 * time.Hour
)

// Options configure a Verifier. Exactly one of HMACSecret, JWKSURL and PublicKeys is
// needed.
type Options struct {
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

// A Verifier checks tokens. It is safe for concurrent use. Close it if it has a JWKSURL.
type Verifier struct {
	opt    Options
	parser *jwt.Parser
	keys   *keySet // nil without a JWKSURL
	fixed  fixedKeys
}

// NewVerifier returns a verifier, or an error if the options are invalid. Keys are fetched when the first token
// arrives.
func NewVerifier(o Options) (*Verifier, error) {
	if o.Leeway == 0 {
		o.Leeway = defaultLeeway
	}
	if o.MaxLifetime == 0 {
		o.MaxLifetime = defaultMaxLifetime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Verifier{opt: o}
	var algorithms []string
	switch {
	case count(len(o.HMACSecret) > 0, o.JWKSURL != "", len(o.PublicKeys) > 0) != 1:
		return nil, errors.New("one of a secret, the URL of a key set and public keys is needed")
	case o.MaxLifetime < 0:
		return nil, fmt.Errorf("a lifetime of %v", o.MaxLifetime)
	case o.Leeway < 0 || o.Leeway > defaultLeeway:
		return nil, fmt.Errorf("a leeway of %v is not between 0 and %v", o.Leeway, defaultLeeway)
	case o.JWKSURL != "":
		var err error
		if v.keys, err = newKeySet(&o); err != nil {
			return nil, err
		}
		algorithms = []string{"RS256", "ES256", "EdDSA"}
	case len(o.PublicKeys) > 0:
		var err error
		if v.fixed, err = parsePEM(o.PublicKeys); err != nil {
			return nil, err
		}
		algorithms = []string{"RS256", "ES256", "EdDSA"}
	case len(o.HMACSecret) < minSecret && !o.InsecureShortSecret:
		return nil, fmt.Errorf("the secret has %d bytes; %d are the least that is safe", len(o.HMACSecret), minSecret)
	default:
		algorithms = []string{"HS256"}
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(o.Leeway), jwt.WithTimeFunc(o.Now), jwt.WithStrictDecoding(),
	}
	if o.Issuer != "" {
		options = append(options, jwt.WithIssuer(o.Issuer))
	}
	if o.Audience != "" {
		options = append(options, jwt.WithAudience(o.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// scopeList parses the claim scopes: an array of strings, or one string with commas.
func scopeList(claim any) ([]string, error) {
	switch c := claim.(type) {
	case nil:
		return nil, nil
	case string:
		return strings.Split(c, ","), nil
	case []any:
		list := make([]string, len(c))
		for i, v := range c {
			text, ok := v.(string)
			if !ok {
				return nil, errors.New("a scope that is no string")
			}
			list[i] = text
		}
		if len(list) == 1 {
			return strings.Split(list[0], ","), nil
		}
		return list, nil
	}
	return nil, errors.New("scopes is neither a string nor an array of strings")
}

// Authenticate implements [streamhub.Authenticator].
func (v *Verifier) Authenticate(ctx context.Context, token string) (*streamhub.Identity, error) {
	switch {
	case token == "":
		return nil, errors.New("no token")
	case len(token) > maxToken:
		return nil, fmt.Errorf("a token of %d bytes", len(token))
	}
	// A map has the claims under their exact names. The fields of a struct would match names in any case, and repeated
	// names.
	c := jwt.MapClaims{}
	parsed, err := v.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) { return v.key(ctx, t, false) })
	if v.keys != nil && parsed != nil && kidOf(parsed) == "" && errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		// The token may be signed with a newer key than those that were tried.
		c = jwt.MapClaims{}
		_, err = v.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) { return v.key(ctx, t, true) })
	}
	if err != nil {
		return nil, err
	}
	expires, err := c.GetExpirationTime() // exp exists: the parser requires it
	if err != nil {
		return nil, err
	}
	if left := expires.Sub(v.opt.Now()); left > v.opt.MaxLifetime+v.opt.Leeway {
		return nil, fmt.Errorf("the token is valid for another %v, the limit is %v", left.Round(time.Second), v.opt.MaxLifetime)
	}
	subject, err := c.GetSubject()
	if err != nil {
		return nil, err
	}
	issuer, err := c.GetIssuer()
	if err != nil {
		return nil, err
	}
	scopes, err := scopeList(c["scopes"])
	if err != nil {
		return nil, err
	}
	// Expires includes the leeway, so that requests end at the time from which the token is refused.
	return &streamhub.Identity{Subject: subject, Issuer: issuer, Expires: expires.Add(v.opt.Leeway), Scopes: scopes}, nil
}

// Close cancels a fetch of keys in progress and waits for it. After that tokens are verified with the keys that were
// fetched before.
func (v *Verifier) Close() error {
	if v.keys != nil {
		v.keys.close()
	}
	return nil
}

func kidOf(t *jwt.Token) string {
	kid, _ := t.Header["kid"].(string)
	return kid
}

// key returns the keys that may verify t. Only the key id and the algorithm of the token are used to select them. A
// token without a key id is tried against all keys of its algorithm; with refetch, after a fetch.
func (v *Verifier) key(ctx context.Context, t *jwt.Token, refetch bool) (any, error) {
	// at+jwt is an access token (RFC 9068). Other types are for something else, such as tickets.
	if typ, ok := t.Header["typ"].(string); ok && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(typ, "at+jwt") {
		return nil, fmt.Errorf("a token of type %.20q", typ)
	}
	// Extensions that must be understood (RFC 7515, 4.1.11); this verifier understands none.
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("a critical header that is not known")
	}
	switch {
	case v.fixed != nil:
		return v.fixed.find(t.Method.Alg())
	case v.keys == nil:
		return v.opt.HMACSecret, nil
	}
	if kid := kidOf(t); kid != "" {
		return v.keys.find(ctx, kid, t.Method.Alg())
	}
	return v.keys.candidates(ctx, t.Method.Alg(), refetch)
}

// Bearer returns the token of a request, "" if there is none.
func Bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

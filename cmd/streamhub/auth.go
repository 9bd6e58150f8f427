package main

import (
	"bytes"
	"os"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// keyFlags say which tokens are valid.
type keyFlags struct {
	JWKSURL   string `name:"jwks-url" placeholder:"URL" help:"Where the keys for RS256, ES256 and EdDSA are."`
	Issuer    string `placeholder:"ISS" help:"Issuer that tokens must name."`
	Audience  string `placeholder:"AUD" help:"Audience that tokens must name."`
	PublicKey string `name:"jwt-public-key-file" placeholder:"F" help:"File with public keys for RS256, ES256 and EdDSA in PEM; the key id of a token has no say."`
	JWTSecret string `name:"jwt-hmac-secret-file" placeholder:"F" help:"File with the secret for HS256, 32 bytes or more; white space at its end is left out."`

	JWTMaxLifetime      time.Duration `name:"jwt-max-lifetime" default:"24h" placeholder:"D" help:"How far away the end of a token may be."`
	InsecureShortSecret bool          `help:"Take a shorter secret than is safe."`
}

// authFlags say who may use a gateway.
type authFlags struct {
	Auth      string   `enum:"none,jwt" default:"none" help:"none: every client that can connect may do everything. jwt: a JSON Web Token says what its bearer may do."`
	Origin    []string `placeholder:"URL" help:"Web origin that browsers may connect from, besides the gateway's own; can be repeated."`
	Host      []string `placeholder:"NAME" help:"Name under which the gateway is reached, besides the loopback's and the hosts of --origin; without --auth other names are refused. Can be repeated."`
	PublicURL string   `name:"public-url" placeholder:"URL" help:"Where clients reach the gateway, such as https://hub.example.com: the beginning of what others are told, the addresses of wakes and keys say. Its host is one of --host, its origin one of --origin."`
	Cookie    string   `placeholder:"NAME" help:"Cookie that may hold the token of a page of the gateway's own origin."`
	keyFlags

	StreamkitTokenExpiry string `enum:"handshake,close" default:"handshake" help:"handshake: the token of a streamkit client counts when it connects. close: its connection ends with the token."`

	TicketKeyFile  string `placeholder:"F" help:"File with the key that signs tickets, 32 bytes or more, the same for every gateway; white space at its end is left out. Without it a key is kept in Redis and replaced daily."`
	AdminTokenFile string `placeholder:"F" help:"File with the bearer token that the admin listener asks for; white space at its end is left out."`
	InsecureAdmin  bool   `help:"Let everybody who reaches the admin listener in, on any address and under any name."`

	InsecureNoAuth bool `help:"Listen on other addresses than the loopback without authentication."`
}

// verifier returns the authenticator, or nil for --auth none.
func (f *authFlags) verifier() (streamhub.Authenticator, error) {
	if f.Auth != "jwt" {
		if f.JWKSURL != "" || f.JWTSecret != "" || f.PublicKey != "" || f.Issuer != "" || f.Audience != "" || f.Cookie != "" || f.TicketKeyFile != "" || f.InsecureShortSecret {
			return nil, usagef("flags about tokens need --auth jwt")
		}
		return nil, nil
	}
	return f.newVerifier("--auth jwt")
}

// newVerifier returns the authenticator; asker names the flag or command that needs it, for errors.
func (f *keyFlags) newVerifier(asker string) (streamhub.Authenticator, error) {
	o := &wsgateway.JWTOptions{
		JWKSURL: f.JWKSURL, Issuer: f.Issuer, Audience: f.Audience, InsecureShortSecret: f.InsecureShortSecret, MaxLifetime: f.JWTMaxLifetime,
	}
	if f.JWTMaxLifetime <= 0 {
		return nil, usagef("--jwt-max-lifetime %v: want more than nothing", f.JWTMaxLifetime)
	}
	sources := 0
	for _, source := range []string{f.JWKSURL, f.JWTSecret, f.PublicKey} {
		if source != "" {
			sources++
		}
	}
	if sources != 1 {
		return nil, usagef("%s needs either --jwks-url, or --jwt-hmac-secret-file, or --jwt-public-key-file", asker)
	}
	if f.PublicKey != "" {
		keys, err := os.ReadFile(f.PublicKey)
		if err != nil {
			return nil, failedf("--jwt-public-key-file: %w", err)
		}
		if o.PublicKeys = keys; len(keys) == 0 {
			return nil, usagef("--jwt-public-key-file %s is empty", f.PublicKey)
		}
	}
	if f.JWTSecret != "" {
		secret, err := os.ReadFile(f.JWTSecret)
		if err != nil {
			return nil, failedf("--jwt-hmac-secret-file: %w", err)
		}
		if o.HMACSecret = bytes.TrimRight(secret, " \t\r\n"); len(o.HMACSecret) == 0 {
			return nil, usagef("--jwt-hmac-secret-file %s is empty", f.JWTSecret)
		}
	}
	v, err := wsgateway.NewJWT(o)
	if err != nil {
		return nil, usagef("%s: %w; see --jwks-url, --jwt-public-key-file, --jwt-hmac-secret-file and --insecure-short-secret", asker, err)
	}
	return v, nil
}

// adminToken returns the token that the admin listener requires, or "".
func (f *authFlags) adminToken() (string, error) {
	if f.AdminTokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(f.AdminTokenFile)
	if err != nil {
		return "", failedf("--admin-token-file: %w", err)
	}
	token := strings.TrimRight(string(text), " \t\r\n")
	if len(token) < minAdminToken {
		return "", usagef("--admin-token-file %s has %d bytes; %d are the least that is safe", f.AdminTokenFile, len(token), minAdminToken)
	}
	return token, nil
}

// ticketKey returns the key that signs tickets, or nil if the key is kept in Redis.
func (f *authFlags) ticketKey() ([]byte, error) {
	if f.TicketKeyFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.TicketKeyFile)
	if err != nil {
		return nil, failedf("--ticket-key-file: %w", err)
	}
	key := bytes.TrimRight(text, " \t\r\n")
	if len(key) < minTicketKey {
		return nil, usagef("--ticket-key-file %s has %d bytes; %d are the least that is safe", f.TicketKeyFile, len(key), minTicketKey)
	}
	return key, nil
}

// minTicketKey is the shortest key of tickets, in bytes.
const minTicketKey = 32

// minAdminToken is the shortest admin token, in bytes.
const minAdminToken = 16

// check refuses a gateway without authentication that is reachable from other machines.
func (f *authFlags) check(listen, adminListen string) error {
	if f.Auth != "jwt" && !f.InsecureNoAuth {
		if err := onLoopback("--listen", listen, "and nobody has to say who they are: listen on 127.0.0.1, use --auth jwt, or name --insecure-no-auth if something in front of it lets the right people in only"); err != nil {
			return err
		}
	}
	if f.AdminTokenFile != "" || f.InsecureAdmin {
		return nil
	}
	return onLoopback("--admin-listen", adminListen, "and metrics and profiles are for operators: listen on 127.0.0.1, ask for a token with --admin-token-file, or name --insecure-admin if something in front of it lets the right people in only")
}

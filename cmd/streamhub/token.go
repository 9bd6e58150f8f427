package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// tokenCmd groups the commands for the tokens of a gateway with --auth jwt.
type tokenCmd struct {
	Mint  tokenMintCmd  `cmd:"" help:"Make a token, for development and tests: in production an issuer does."`
	Check tokenCheckCmd `cmd:"" help:"Say whether a gateway with the same flags takes a token, and what it allows."`
}

type tokenMintCmd struct {
	Subject    string        `default:"developer" placeholder:"SUB" help:"Who the token is of."`
	Scope      []string      `required:"" placeholder:"SCOPE" help:"What it allows, such as streamkit::* or streamhub::<store>::<space>::<segment or prefix*>::read; can be repeated."`
	TTL        time.Duration `default:"1h" placeholder:"D" help:"How long it is valid."`
	Issuer     string        `placeholder:"ISS" help:"Issuer that it names."`
	Audience   string        `placeholder:"AUD" help:"Audience that it names."`
	JWTSecret  string        `name:"jwt-hmac-secret-file" xor:"key" required:"" placeholder:"F" help:"File with the secret for HS256; white space at its end is left out."`
	PrivateKey string        `name:"jwt-private-key-file" xor:"key" required:"" placeholder:"F" help:"File with a private key in PEM (PKCS 8), for RS256, ES256 or EdDSA."`
	KeyID      string        `placeholder:"KID" help:"Id of the key in the key set of the gateway."`
}

// Help returns what is written after the flags of the command.
func (tokenMintCmd) Help() string {
	return examples("token mint --jwt-hmac-secret-file secret --scope 'streamkit::*'",
		"token mint --jwt-hmac-secret-file secret --ttl 5m --scope 'streamhub::*::live::answer-17::read'")
}

// Run writes a token.
func (c *tokenMintCmd) Run(s *session) error {
	if c.TTL <= 0 {
		return usagef("--ttl %v: want more than nothing", c.TTL)
	}
	if _, err := auth.Identify(s.ctx, fixedIdentity{Scopes: c.Scope}, ""); err != nil {
		return usagef("--scope: %w", err)
	}
	method, key, err := c.key()
	if err != nil {
		return err
	}
	now := time.Now()
	claims := jwt.MapClaims{"sub": c.Subject, "iat": now.Unix(), "exp": now.Add(c.TTL).Unix(), "scopes": c.Scope}
	if c.Issuer != "" {
		claims["iss"] = c.Issuer
	}
	if c.Audience != "" {
		claims["aud"] = c.Audience
	}
	token := jwt.NewWithClaims(method, claims)
	if c.KeyID != "" {
		token.Header["kid"] = c.KeyID
	}
	text, err := token.SignedString(key)
	if err != nil {
		return failedf("%w", err)
	}
	_, err = fmt.Fprintln(s.stdout, text)
	return err
}

// key returns the signing method and the key.
func (c *tokenMintCmd) key() (jwt.SigningMethod, crypto.PrivateKey, error) {
	if c.JWTSecret != "" {
		secret, err := trimmedFile("--jwt-hmac-secret-file", c.JWTSecret)
		return jwt.SigningMethodHS256, secret, err
	}
	text, err := trimmedFile("--jwt-private-key-file", c.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, nil, usagef("--jwt-private-key-file %s: no PRIVATE KEY in PEM", c.PrivateKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, usagef("--jwt-private-key-file %s: %w", c.PrivateKey, err)
	}
	switch key.(type) {
	case *rsa.PrivateKey:
		return jwt.SigningMethodRS256, key, nil
	case *ecdsa.PrivateKey:
		return jwt.SigningMethodES256, key, nil
	case ed25519.PrivateKey:
		return jwt.SigningMethodEdDSA, key, nil
	}
	return nil, nil, usagef("--jwt-private-key-file %s: a key of no algorithm that gateways take", c.PrivateKey)
}

// trimmedFile reads a file without the white space at its end.
func trimmedFile(flag, name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, failedf("%s: %w", flag, err)
	}
	if text = []byte(strings.TrimRight(string(text), " \t\r\n")); len(text) == 0 {
		return nil, usagef("%s %s is empty", flag, name)
	}
	return text, nil
}

// A fixedIdentity is an authenticator that returns the same identity for every token.
type fixedIdentity streamhub.Identity

func (i fixedIdentity) Authenticate(_ context.Context, _ string) (*streamhub.Identity, error) {
	return (*streamhub.Identity)(&i), nil
}

type tokenCheckCmd struct {
	Token string `arg:"" optional:"" help:"The token; without it the first line of standard input, which other users of the machine do not see."`
	keyFlags
	Store   uuid.UUID `placeholder:"UUID" help:"Also say whether it allows something in this store."`
	Space   string    `placeholder:"SPACE" help:"The space; the store as a whole if not given."`
	Segment string    `placeholder:"SEGMENT" help:"The segment, or the id of a live stream; the space as a whole if not given."`
	Read    bool      `help:"End with 1 unless it allows to read that."`
	Write   bool      `help:"End with 1 unless it allows to write that."`
}

// Help returns what is written after the flags of the command.
func (tokenCheckCmd) Help() string {
	return examples("token check --jwt-hmac-secret-file secret <token", "token check --jwks-url https://issuer.example/jwks.json --space live --segment answer-17 --read <token")
}

// Run writes the identity of a token as JSON.
func (c *tokenCheckCmd) Run(s *session) error {
	token := c.Token
	if token == "" {
		var err error
		if token, err = readLine(s.ctx, s.stdin); err != nil {
			return err
		}
	}
	verifier, err := c.newVerifier("token check")
	if err != nil {
		return err
	}
	if keys, ok := verifier.(io.Closer); ok {
		defer keys.Close()
	}
	who, err := verifier.Authenticate(s.ctx, strings.TrimSpace(token))
	if err != nil {
		return failedf("the token is refused: %w", err)
	}
	p, err := auth.Identify(s.ctx, fixedIdentity(*who), "")
	if err != nil {
		return failedf("the token is refused: %w", err)
	}
	answer := struct {
		Subject string   `json:"subject"`
		Issuer  string   `json:"issuer"`
		Expires int64    `json:"expires_at"` // Unix milliseconds as of a segment, 0 for never
		Scopes  []string `json:"scopes"`
		Read    bool     `json:"read"`
		Write   bool     `json:"write"`
	}{Subject: who.Subject, Issuer: who.Issuer, Scopes: who.Scopes}
	if !who.Expires.IsZero() {
		answer.Expires = who.Expires.UnixMilli()
	}
	right := streamhub.Right{Store: c.Store, Space: c.Space, Segment: c.Segment}
	answer.Read = p.Allows(right)
	right.Write = true
	answer.Write = p.Allows(right)
	if err := json.NewEncoder(s.stdout).Encode(answer); err != nil {
		return err
	}
	if c.Read && !answer.Read || c.Write && !answer.Write {
		return failedf("%w", errors.New("the token does not allow that"))
	}
	return nil
}

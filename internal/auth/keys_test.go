package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// TestNoKid presents tokens that name no key: they are tried against those of their algorithm.
func TestNoKid(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	issuer := newIssuer(t)
	issuer.set(map[string]any{"a": otherKey(t).Public(), "b": rsaKey.Public(), "c": ecKey.Public()})
	v := newTimed(t, issuer)
	defer v.Close()
	verify := func(method jwt.SigningMethod, key any) error {
		_, err := v.Authenticate(t.Context(), sign(t, method, key, nil, claims(nil)))
		return err
	}
	require.NoError(t, verify(jwt.SigningMethodRS256, rsaKey))
	require.NoError(t, verify(jwt.SigningMethodES256, ecKey))
	require.EqualValues(t, 1, issuer.asked.Load())

	newer, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	issuer.set(map[string]any{"": newer.Public(), "b": rsaKey.Public()}) // a key without an id
	require.Error(t, verify(jwt.SigningMethodRS256, newer), "there was a fetch a moment ago")
	v.forward(11 * time.Second)
	require.NoError(t, verify(jwt.SigningMethodRS256, newer), "the keys are fetched again")
	require.Error(t, verify(jwt.SigningMethodES256, ecKey), "its key is gone")
	many := map[string]any{}
	for _, kid := range "abcdefghi" {
		many[string(kid)] = newer.Public()
	}
	issuer.set(many)
	v.forward(time.Hour / 2)
	require.Error(t, verify(jwt.SigningMethodRS256, newer), "a token is not tried against any number of keys")
}

// TestPEM verifies with keys of a file, whatever key a token names.
func TestPEM(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	block := func(kind string, key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if kind == "RSA PUBLIC KEY" {
			der, err = x509.MarshalPKCS1PublicKey(key.(*rsa.PublicKey)), nil
		}
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for name, text := range map[string][]byte{
		"short": block("PUBLIC KEY", short.Public()), "P-384": block("PUBLIC KEY", wide.Public()),
		"private": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
	} {
		_, err := auth.NewVerifier(auth.Options{PublicKeys: text})
		require.Error(t, err, name)
	}
	text := append(block("RSA PUBLIC KEY", rsaKey.Public()), block("PUBLIC KEY", ecKey.Public())...)
	v, err := auth.NewVerifier(auth.Options{PublicKeys: text, MaxLifetime: 1000 * time.Hour})
	require.NoError(t, err)
	far := claims(map[string]any{"exp": time.Now().Add(900 * time.Hour).Unix()})
	for _, kid := range []map[string]any{nil, {"kid": "any"}} {
		for _, test := range []struct {
			method jwt.SigningMethod
			key    any
			good   bool
		}{
			{jwt.SigningMethodRS256, rsaKey, true}, {jwt.SigningMethodES256, ecKey, true}, {jwt.SigningMethodRS256, otherKey(t), false},
			{jwt.SigningMethodEdDSA, ed, false}, {jwt.SigningMethodHS256, text, false},
		} {
			_, err := v.Authenticate(t.Context(), sign(t, test.method, test.key, kid, far))
			require.Equal(t, test.good, err == nil, "%s %v: %v", test.method.Alg(), kid, err)
		}
	}
}

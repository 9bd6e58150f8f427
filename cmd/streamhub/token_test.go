package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// TestToken makes tokens and says what they allow, as a gateway would.
func TestToken(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	secret, other := file("secret", []byte(strings.Repeat("s", 32)+"\n")), file("other", []byte(strings.Repeat("o", 32)))
	mint := func(args ...string) string {
		t.Helper()
		r := call(t, nil, append([]string{"token", "mint"}, args...)...)
		require.Zero(t, r.code, r.err)
		return r.out
	}
	check := func(token string, args ...string) (code int, out, err string) {
		t.Helper()
		r := call(t, strings.NewReader(token), append([]string{"token", "check"}, args...)...)
		return r.code, r.out, r.err
	}
	token := mint("--jwt-hmac-secret-file", secret, "--scope", "streamhub::*::live::answer-17::read", "--subject", "anna", "--issuer", "us")
	code, out, why := check(token, "--jwt-hmac-secret-file", secret, "--issuer", "us", "--space", "live", "--segment", "answer-17", "--read")
	require.Zero(t, code, why)
	require.Contains(t, out, `"subject":"anna","issuer":"us"`)
	require.Contains(t, out, `"read":true,"write":false`)
	require.Regexp(t, `"expires_at":\d{13},`, out)
	for name, args := range map[string][]string{
		"write":          {"--jwt-hmac-secret-file", secret, "--space", "live", "--segment", "answer-17", "--write"},
		"another":        {"--jwt-hmac-secret-file", secret, "--space", "live", "--segment", "answer-18", "--read"},
		"the space":      {"--jwt-hmac-secret-file", secret, "--space", "live", "--read"},
		"another key":    {"--jwt-hmac-secret-file", other},
		"another issuer": {"--jwt-hmac-secret-file", secret, "--issuer", "them"},
		"a short time":   {"--jwt-hmac-secret-file", secret, "--jwt-max-lifetime", "1m"},
	} {
		code, _, why := check(token, args...)
		require.Equal(t, exitFailed, code, name)
		require.NotContains(t, why, strings.TrimSpace(token), name)
	}
	for _, args := range [][]string{
		{"--jwt-hmac-secret-file", secret}, {"--scope", "streamkit::*"}, {"--jwt-hmac-secret-file", secret, "--scope", "streamhub::x"},
		{"--jwt-hmac-secret-file", secret, "--scope", "streamkit::*", "--ttl", "0s"}, {"--jwt-private-key-file", secret, "--scope", "streamkit::*"},
	} {
		require.Equal(t, exitUsage, call(t, nil, append([]string{"token", "mint"}, args...)...).code, "%v", args)
	}
	code, _, _ = check(token)
	require.Equal(t, exitUsage, code, "without a key")

	// The first line is enough, and an input that says nothing does not outlive a signal.
	in, typed := io.Pipe()
	t.Cleanup(func() { require.NoError(t, typed.Close()) })
	typing := make(chan error, 1)
	go func() {
		_, err := io.WriteString(typed, token) // with the end of its line
		typing <- err
	}()
	require.Zero(t, call(t, in, "token", "check", "--jwt-hmac-secret-file", secret, "--issuer", "us").code)
	require.NoError(t, <-typing)
	r := call(t, iotest.ErrReader(errors.New("no such input")), "token", "check", "--jwt-hmac-secret-file", secret)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "standard input: no such input")
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitFailed} {
		silent, open := io.Pipe()
		ctx, stop := context.WithCancelCause(t.Context())
		stop(interrupt{signal})
		require.Equal(t, want, run(ctx, []string{"token", "check", "--jwt-hmac-secret-file", secret}, silent, io.Discard, io.Discard, nil), "%v", signal)
		require.NoError(t, open.Close())
	}

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, pair := range map[string][2]any{"rsa": {rsaKey, rsaKey.Public()}, "ec": {ecKey, ecKey.Public()}, "ed": {edKey, edKey.Public()}} {
		private, err := x509.MarshalPKCS8PrivateKey(pair[0])
		require.NoError(t, err)
		public, err := x509.MarshalPKIXPublicKey(pair[1])
		require.NoError(t, err)
		privateFile := file(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
		publicFile := file(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
		code, _, why := check(mint("--jwt-private-key-file", privateFile, "--scope", "streamkit::*"), "--jwt-public-key-file", publicFile, "--write")
		require.Zero(t, code, why)
	}
}

package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ask makes a request and returns its status and body; headers are pairs.
func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestDurable writes over HTTP what the commands read, and the other way round, on paths that a mux
// would clean.
func TestDurable(t *testing.T) {
	s := serve(t)
	stream := s.front + "/v1/stream/chat/a//b"
	if status, body := ask(t, http.MethodPut, stream, "one", "Content-Type", "text/plain"); status != http.StatusCreated {
		t.Fatal(status, body)
	}
	if r := good(t, nil, "read", "chat/a//b", "--server", s.ws()); r.out != "one\n" {
		t.Errorf("%q", r.out)
	}
	good(t, strings.NewReader("two"), "append", "chat/a//b", "--server", s.ws())
	if status, body := ask(t, http.MethodGet, stream, ""); status != http.StatusOK || body != "onetwo" {
		t.Errorf("%d %q", status, body)
	}
	if status, body := ask(t, http.MethodGet, stream, "", "Origin", "https://evil.example"); status != http.StatusForbidden {
		t.Errorf("a page of another origin: %d %q", status, body)
	}
	if status, _ := ask(t, http.MethodGet, s.front+"/healthz", ""); status != http.StatusOK {
		t.Error(status)
	}
	s.end(syscall.SIGTERM)
	if r := call(t, nil, "serve", "--long-poll-timeout", "0s"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}

func TestDurableTokens(t *testing.T) {
	secret := strings.Repeat("s", 32)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--auth", "jwt", "--jwt-hmac-secret-file", file)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "me", "exp": time.Now().Add(time.Hour).Unix(),
		"scopes": []string{"streamhub::*::mine::*", "streamhub::*::theirs::read"},
	}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	bearer := []string{"Authorization", "Bearer " + token, "Content-Type", "text/plain", "Origin", "https://anywhere.example"}
	for _, c := range []struct {
		status       int
		method, path string
		headers      []string
	}{
		{401, http.MethodPut, "mine/s", nil},
		{401, http.MethodPut, "mine/s", []string{"Authorization", "Bearer nonsense"}},
		{201, http.MethodPut, "mine/s", bearer},
		{403, http.MethodPut, "theirs/s", bearer},
		{404, http.MethodGet, "theirs/s", bearer},
		{403, http.MethodGet, "else/s", bearer},
		{403, http.MethodPut, "__ds/subscriptions/s", bearer},
	} {
		if status, body := ask(t, c.method, s.front+"/v1/stream/"+c.path, "", c.headers...); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, body, c.status)
		}
	}
	s.end(syscall.SIGTERM)
}

package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestHost asks both listeners under names that are not theirs, as a page does whose name was given
// the address of the loopback.
func TestHost(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	status := func(url, host, method string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(within(t), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		request.Header.Set("Origin", "http://"+host)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	open := serve(t, "--origin", "https://app.example.com", "--host", "hub.internal", "--host", "10.1.2.3")
	tokens := serve(t, "--auth", "jwt", "--jwt-hmac-secret-file", secret)
	paths := []string{"/streamz", "/v1/stream/a", "/v1/stream/__ds/jwks.json", "/stores/11111111-1111-1111-1111-111111111111/v1/stream/a", "/v1/live/x", "/v1/live/x/status", "/", "/x"}
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodPut} {
			if got := status(open.front+path, "rebound.example.com:8080", method); got != http.StatusMisdirectedRequest {
				t.Errorf("%s %s under another name: %d", method, path, got)
			}
		}
		for _, host := range []string{"app.example.com", "hub.internal:1", "10.1.2.3", "localhost", "[::1]:5"} {
			if got := status(open.front+path, host, http.MethodGet); got == http.StatusMisdirectedRequest {
				t.Errorf("%s under %s: %d", path, host, got)
			}
		}
		if got := status(tokens.front+path, "hub.example.com", http.MethodGet); got == http.StatusMisdirectedRequest {
			t.Errorf("%s with --auth: %d", path, got)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := status(open.front+path, "10.9.9.9:8080", http.MethodGet); got != http.StatusOK {
			t.Errorf("%s by address: %d", path, got)
		}
	}
	for _, s := range []*served{open, tokens} {
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
			if got := status(s.admin+path, "rebound.example.com", http.MethodGet); got != http.StatusMisdirectedRequest {
				t.Errorf("admin %s under another name: %d", path, got)
			}
			if got := status(s.admin+path, "127.0.0.1:9090", http.MethodGet); got != http.StatusOK {
				t.Errorf("admin %s: %d", path, got)
			}
		}
		s.end(syscall.SIGTERM)
	}
	for _, args := range [][]string{{"--host", "http://x"}, {"--host", "*"}} {
		if r := call(t, nil, append([]string{"serve"}, args...)...); r.code != exitUsage {
			t.Errorf("%v: exit %d\n%s", args, r.code, r.err)
		}
	}
}

// TestLoopbackWebhooks asks for webhooks to this machine: only where everybody is on it, or by a flag.
func TestLoopbackWebhooks(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "tenant", "exp": time.Now().Add(time.Hour).Unix(), "scopes": []string{"streamkit::*"},
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	jwtFlags := []string{"--auth", "jwt", "--jwt-hmac-secret-file", file}
	for _, test := range []struct {
		flags  []string
		status int
	}{{nil, http.StatusCreated}, {jwtFlags, http.StatusBadRequest}, {append(jwtFlags, "--loopback-webhooks"), http.StatusCreated}} {
		s := serve(t, test.flags...)
		for _, host := range []string{"127.0.0.1:1", "localhost:1", "[::1]:1"} {
			body := `{"type":"webhook","pattern":"a/*","webhook":{"url":"http://` + host + `/x"}}`
			status, text := ask(t, http.MethodPut, s.front+"/v1/stream/__ds/subscriptions/"+url.PathEscape(host), body, "Content-Type", "application/json", "Authorization", "Bearer "+token)
			if status != test.status {
				t.Errorf("%v, %s: %d %s", test.flags, host, status, text)
			}
		}
		s.end(syscall.SIGTERM)
	}
}

// TestAdminToken has the admin listener ask for a token, on all addresses.
func TestAdminToken(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	p := start(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0", "--admin-token-file", write("token", "a token for operators\n"))
	m := regexp.MustCompile(`admin http://\S+:([1-9]\d*)$`).FindStringSubmatch(p.line())
	if m == nil {
		t.Fatal("no address")
	}
	admin := "http://127.0.0.1:" + m[1] + "/metrics"
	for token, want := range map[string]int{"a token for operators": http.StatusOK, "another": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		if status, _ := ask(t, http.MethodGet, admin, "", "Authorization", "Bearer "+token); status != want {
			t.Errorf("%q: %d, want %d", token, status, want)
		}
	}
	p.signal(syscall.SIGTERM)
	if _, code := p.rest(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.err)
	}
	for name, args := range map[string][]string{
		"short token": {"serve", "--admin-token-file", write("short", "short")},
		"no address":  {"serve", "--admin-listen", "0.0.0.0:0", "--insecure-no-auth"},
	} {
		if r := call(t, nil, args...); r.code != exitUsage {
			t.Errorf("%s: exit %d\n%s", name, r.code, r.err)
		}
	}
}

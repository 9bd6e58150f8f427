package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// told runs a command until it says what is wanted.
func told(t *testing.T, want string, args ...string) result {
	t.Helper()
	ctx := within(t)
	for {
		r := good(t, nil, args...)
		if strings.Contains(r.out, want) {
			return r
		}
		select {
		case <-ctx.Done():
			t.Fatalf("streamhub %s never said %q: %+v", strings.Join(args, " "), want, r)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestLeaseLs names the host and the process of who has a lease, to whoever wants it too.
func TestLeaseLs(t *testing.T) {
	server := testredis.Start(t, nil)
	g := serve(t, "--redis", server.URL())
	h, err := hub.Open(t.Context(), server.Client(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	host, _ := os.Hostname()
	for _, at := range [][]string{{"--server", g.ws()}, {"--redis", server.URL()}} {
		err := h.Store(uuid.Nil).WithLease(t.Context(), "night/ly", time.Minute, 0, func(context.Context, uint64) error {
			r := good(t, nil, append([]string{"lease", "ls"}, at...)...)
			for _, want := range []string{"KEY", "night/ly", host, strconv.Itoa(os.Getpid()), time.Now().UTC().Format("2006-01-02")} {
				if !strings.Contains(r.out, want) {
					t.Errorf("%q is not in %s", want, r.out)
				}
			}
			var l struct {
				Key, Host string
				Since     int64
			}
			r = good(t, nil, append([]string{"lease", "ls", "--json"}, at...)...)
			if err := json.Unmarshal([]byte(r.out), &l); err != nil || l.Key != "night/ly" || l.Host != host || time.Since(time.UnixMilli(l.Since)) > time.Minute {
				t.Errorf("%s: %v", r.out, err)
			}
			args := append(append([]string{"lease"}, at...), "night/ly", "true")
			if r := call(t, nil, args...); r.code != exitConflict || !strings.Contains(r.err, "process "+strconv.Itoa(os.Getpid())+" on "+host) || !strings.Contains(r.err, "--wait") || !strings.Contains(r.err, " since ") {
				t.Errorf("%+v", r)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The key ls needs the word run.
	if r := good(t, nil, "lease", "run", "--redis", server.URL(), "ls", "true"); r.out != "" {
		t.Errorf("%+v", r)
	}
}

func TestLiveLs(t *testing.T) {
	server := testredis.Start(t, nil)
	g := serve(t, "--redis", server.URL())
	good(t, strings.NewReader("a\nb\n"), "live", "publish", "answer", "--server", g.ws())
	for _, at := range [][]string{{"--server", g.ws()}, {"--redis", server.URL()}} {
		if r := good(t, nil, append([]string{"live", "ls"}, at...)...); r.out != "" || !strings.Contains(r.err, "--all") {
			t.Errorf("%+v", r)
		}
		if r := good(t, nil, append([]string{"live", "ls", "--all"}, at...)...); !strings.HasPrefix(r.out, "ID ") || !strings.Contains(r.out, "answer  done") {
			t.Errorf("%+v", r)
		}
		if r := good(t, nil, append([]string{"live", "ls", "--all", "--json"}, at...)...); !strings.HasPrefix(r.out, `{"id":"answer","generation":`) {
			t.Errorf("%+v", r)
		}
	}
}

// TestSubscriptions shows what fails, ends one, and ends all with the store.
func TestSubscriptions(t *testing.T) {
	server := testredis.Start(t, nil)
	g := serve(t, "--redis", server.URL())
	store := uuid.NewString()
	put := func(path, contentType, body string) {
		t.Helper()
		url := g.front + "/stores/" + store + "/v1/stream/" + path
		if status, text := ask(t, http.MethodPut, url, body, "Content-Type", contentType); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", path, status, text)
		}
	}
	put("__ds/subscriptions/hook", "application/json", `{"type":"webhook","streams":["s"],"webhook":{"url":"http://127.0.0.1:1/x"}}`)
	put("__ds/subscriptions/pull", "application/json", `{"type":"pull-wake","pattern":"jobs/*","wake_stream":"wakes"}`)
	put("s", "text/plain", "x")
	at := []string{"--server", g.front, "--store", store}
	r := told(t, "refused", append([]string{"subscriptions", "ls"}, at...)...)
	if !strings.HasPrefix(r.out, "ID ") || !strings.Contains(r.out, "jobs/*") {
		t.Errorf("%+v", r)
	}
	if r := good(t, nil, append([]string{"subscriptions", "show", "hook"}, at...)...); !strings.Contains(r.out, `"streams":{"s":`) {
		t.Errorf("%+v", r)
	}
	good(t, nil, append([]string{"subscriptions", "rm", "hook", "--yes"}, at...)...)
	if r := good(t, nil, append([]string{"subscriptions", "ls", "--json"}, at...)...); strings.Count(r.out, "\n") != 1 {
		t.Errorf("%+v", r)
	}
	h, err := hub.Open(t.Context(), server.Client(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Store(uuid.MustParse(store)).AcquireLeaseAs(t.Context(), "k", "me", time.Minute); err != nil {
		t.Fatal(err)
	}
	r = good(t, nil, "delete", "--yes", "--server", g.front, "--store", store)
	if !strings.Contains(r.out, `"segments":1`) || !strings.Contains(r.out, `"leases":1`) || !strings.Contains(r.out, `"subscriptions":1`) {
		t.Errorf("%+v", r)
	}
	for _, what := range []string{"subscriptions", "lease"} {
		if r := good(t, nil, append([]string{what, "ls"}, at...)...); r.out != "" {
			t.Errorf("%+v", r)
		}
	}
	if r := good(t, nil, append([]string{"ls", "default"}, at...)...); !strings.Contains(r.err, "were deleted") && !strings.Contains(r.err, "never had") {
		t.Errorf("%+v", r)
	}
}

// TestInstancesOfAll crosses stores: it wants a right on everything, or the admin token.
func TestInstancesOfAll(t *testing.T) {
	server := testredis.Start(t, nil)
	dir := t.TempDir()
	secret, admin := filepath.Join(dir, "secret"), filepath.Join(dir, "admin")
	key := bytes.Repeat([]byte("s"), 32)
	for file, text := range map[string][]byte{secret: key, admin: []byte("open sesame, please")} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := serve(t, "--redis", server.URL(), "--auth", "jwt", "--jwt-hmac-secret-file", secret, "--admin-token-file", admin)
	told(t, g.front, "instances", "--server", g.admin, "--token", "open sesame, please")
	told(t, "APPENDS/S", "instances", "--redis", server.URL())
	for _, at := range [][]string{{"--server", g.admin, "--token", "open sesame, please"}, {"--redis", server.URL()}, {"--server", g.front, "--token", token(t, key, "streamhub::*::*::read")}} {
		if r := good(t, nil, append([]string{"top", "--count", "1"}, at...)...); !strings.Contains(r.out, "Redis 7") && !strings.Contains(r.out, "commands/s") || !strings.Contains(r.out, g.front) {
			t.Errorf("%v: %+v", at, r)
		}
		if r := good(t, nil, append([]string{"top", "--count", "1", "--json"}, at...)...); !strings.HasPrefix(r.out, `{"at":`) || strings.Count(r.out, "\n") != 1 {
			t.Errorf("%v: %+v", at, r)
		}
	}
	if r := call(t, nil, "top", "--server", g.front, "--token", token(t, key, "streamhub::"+uuid.Nil.String()+"::*::*")); r.code != exitFailed || !strings.Contains(r.err, "streamhub::*::*::*") {
		t.Errorf("%+v", r)
	}
	good(t, nil, "instances", "--server", "ws://127.0.0.1:1,"+g.front, "--token", token(t, key, "streamhub::*::*::read"))
	good(t, nil, "instances", "--json", "--server", g.front, "--token", token(t, key, "streamhub::*::*::read"))
	for _, scope := range []string{"streamhub::" + uuid.Nil.String() + "::*::*", "streamhub::*::*::write", "streamhub::*::s::*"} {
		r := call(t, nil, "instances", "--server", g.front, "--token", token(t, key, scope))
		if r.code != exitFailed || !strings.Contains(r.err, "streamhub::*::*::*") {
			t.Errorf("%s: %+v", scope, r)
		}
	}
	if r := call(t, nil, "instances", "--server", g.admin, "--token", "guess"); r.code != exitFailed || !strings.Contains(r.err, "--admin-token-file") {
		t.Errorf("%+v", r)
	}
	// It only shows.
	// Each command of docs/operations.md that shows who is there.
	for _, args := range []string{"top --count 1", "lease ls", "live ls", "live ls --all", "subscriptions ls", "workers"} {
		good(t, nil, append(strings.Fields(args), "--server", g.admin, "--token", "open sesame, please")...)
	}
	if r := call(t, nil, "subscriptions", "rm", "x", "--yes", "--server", g.admin, "--token", "open sesame, please"); r.code != exitFailed || !strings.Contains(r.err, "denied") {
		t.Errorf("%+v", r)
	}
}

// token returns one that may do what a scope says.
func token(t *testing.T, key []byte, scope string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "me", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "scopes": []string{scope},
	}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

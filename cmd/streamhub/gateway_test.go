package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// ws is the address of the gateway.
func (s *served) ws() string { return "ws" + strings.TrimPrefix(s.front, "http") }

// TestGateway runs every command through a gateway and on the Redis itself: what one writes the
// other reads, and both say the same.
func TestGateway(t *testing.T) {
	server := testredis.Start(t, nil)
	s := serve(t, "--redis", server.URL())
	for i, to := range [][]string{{"--server", s.ws()}, {"--redis", server.URL()}} {
		name := fmt.Sprintf("space/seg%d", i)
		r := good(t, strings.NewReader("a\nb\r\nc"), append([]string{"append", name, "--expect", "1"}, to...)...)
		if !strings.Contains(r.out, `"first":1,"last":3,"records":3`) {
			t.Errorf("append: %q", r.out)
		}
		for _, from := range [][]string{{"--server", s.ws()}, {"--redis", server.URL()}} {
			if r := good(t, nil, append([]string{"read", name}, from...)...); r.out != "a\nb\r\nc" {
				t.Errorf("read: %q", r.out)
			}
			if r := good(t, nil, append([]string{"read", name, "--from", "2", "--limit", "1", "--output", "jsonl"}, from...)...); !strings.Contains(r.out, `"sequence":2`) {
				t.Errorf("read: %q", r.out)
			}
			if r := good(t, nil, append([]string{"ls", "space"}, from...)...); !strings.Contains(r.out, fmt.Sprintf("seg%d\n", i)) {
				t.Errorf("ls: %q", r.out)
			}
			if r := good(t, nil, append([]string{"peek", name}, from...)...); !strings.Contains(r.out, `"sequence":3`) {
				t.Errorf("peek: %q", r.out)
			}
			if r := good(t, nil, append([]string{"status", name}, from...)...); !strings.Contains(r.out, `"last_sequence":3`) {
				t.Errorf("status: %q", r.out)
			}
		}
		if r := call(t, strings.NewReader("x\n"), append([]string{"append", name, "--expect", "2"}, to...)...); r.code != exitConflict {
			t.Errorf("a sequence that is taken: %+v", r)
		}
		if r := call(t, nil, append([]string{"peek", "space/none"}, to...)...); r.code != exitFailed || r.out != "" {
			t.Errorf("nothing to peek at: %+v", r)
		}
		if r := good(t, nil, append(append([]string{"lease", "key"}, to...), "--", "sh", "-c", "echo $STREAMHUB_LEASE_TOKEN")...); strings.TrimSpace(r.out) == "" {
			t.Errorf("no token: %+v", r)
		}
	}
	s.end(syscall.SIGTERM)
}

// TestGatewayKilled kills the gateway with -9 again and again while one process appends and another
// follows, and starts another one at the same place.
func TestGatewayKilled(t *testing.T) {
	server := testredis.Start(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	again := func() *served {
		p := start(t, nil, "serve", "--listen", address, "--admin-listen", "127.0.0.1:0", "--redis", server.URL())
		p.line()
		return &served{program: p}
	}
	gateway := again()
	var input strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&input, "line %d\n", i)
	}
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte(input.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	follower := start(t, nil, "read", "space/seg", "--follow", "--limit", "20000", "--server", "ws://"+address)
	appender := start(t, nil, "append", "space/seg", "--batch", "20", "--file", file, "--server", "ws://"+address)
	for range 3 {
		if line := follower.line(); !strings.HasPrefix(line, "line ") {
			t.Fatalf("%q", line)
		}
		gateway.signal(syscall.SIGKILL)
		gateway.rest()
		gateway = again()
	}
	if out, code := appender.rest(); code != 0 || !strings.Contains(out, `"records":20000`) {
		t.Errorf("exit %d, %q\n%s", code, out, appender.err)
	}
	out, code := follower.rest()
	if code != 0 {
		t.Errorf("exit %d\n%s", code, follower.err)
	}
	if whole := "line 0\nline 1\nline 2\n" + out; whole != input.String() {
		t.Errorf("%d bytes came, %d were sent", len(whole), input.Len())
	}
	gateway.end(syscall.SIGTERM)
}

func TestGatewayToken(t *testing.T) {
	server := testredis.Start(t, nil)
	secret := []byte("a secret that is long enough for HS256")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, append(secret, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--redis", server.URL(), "--auth", "jwt", "--jwt-hmac-secret-file", file)
	token := func(scopes ...string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "somebody", "exp": time.Now().Add(time.Hour).Unix(), "scopes": scopes,
		}).SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, test := range []struct {
		name, token, command string
		code                 int
		says                 string
	}{
		{"none", "", "ls", exitFailed, "--token"},
		{"bad", "x.y.z", "ls", exitFailed, "--token"},
		{"other store", token("streamkit::11111111-1111-1111-1111-111111111111"), "ls", exitFailed, "permission denied"},
		{"all", token("streamkit::*"), "append", 0, ""},
		{"reader reads", token("streamhub::*::space::read"), "read", 0, ""},
		{"reader writes", token("streamhub::*::space::read"), "append", exitFailed, "permission denied"},
		{"reader of another", token("streamhub::*::other::read"), "read", exitFailed, "permission denied"},
	} {
		args := []string{test.command}
		if test.command != "ls" {
			args = append(args, "space/seg")
		}
		args = append(args, "--server", s.ws())
		if test.token != "" {
			args = append(args, "--token", test.token)
		}
		r := call(t, strings.NewReader("x\n"), args...)
		if r.code != test.code || !strings.Contains(r.err, test.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s", test.name, r.code, test.code, test.says, r.err)
		}
	}
	s.end(syscall.SIGTERM)
}

// TestTraces has a collector get the spans of an append.
func TestTraces(t *testing.T) {
	var got atomic.Int32
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" && r.ContentLength > 0 {
			got.Add(1)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	s := serve(t, "--otlp-endpoint", collector.URL)
	good(t, strings.NewReader("x\n"), "append", "space/seg", "--server", s.ws())
	s.end(syscall.SIGTERM)
	if got.Load() == 0 {
		t.Error("no span came")
	}
}

package main

import (
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"nothing", nil, "serve"},
		{"unknown command", []string{"frobnicate"}, "frobnicate"},
		{"unknown flag", []string{"append", "a/b", "--frobnicate"}, "--frobnicate"},
		{"unknown flag of a command of a command", []string{"archive", "verify", "--frobnicate"}, "see streamhub archive verify --help"},
		{"server and redis", []string{"ls", "--server", "ws://127.0.0.1:1", "--redis", "redis://127.0.0.1:1"}, "--server"},
		{"bad server", []string{"ls", "--server", "ftp://127.0.0.1"}, "ws://"},
		{"doctor of a gateway", []string{"doctor", "--server", "ws://127.0.0.1:1"}, "unknown flag --server"},
		{"jwt without keys", []string{"serve", "--auth", "jwt"}, "--jwks-url"},
		{"keys without jwt", []string{"serve", "--jwks-url", "https://example.com"}, "--auth jwt"},
		{"keys in the open", []string{"serve", "--auth", "jwt", "--jwks-url", "http://example.com/keys"}, "https"},
		{"no public key", []string{"serve", "--auth", "jwt", "--jwt-public-key-file", "run_test.go"}, "PEM"},
		{"keys and a secret", []string{"serve", "--auth", "jwt", "--jwt-public-key-file", "run_test.go", "--jwt-hmac-secret-file", "run_test.go"}, "either"},
		{"no lifetime", []string{"serve", "--auth", "jwt", "--jwt-public-key-file", "run_test.go", "--jwt-max-lifetime", "0s"}, "--jwt-max-lifetime"},
		{"short secret", []string{"serve", "--auth", "jwt", "--jwt-hmac-secret-file", "run_test.go", "--jwks-url", "https://example.com"}, "either"},
		{"no segment", []string{"append", "a", "--redis", "redis://127.0.0.1:1"}, "SPACE/SEGMENT"},
		{"empty segment", []string{"append", "a/", "--redis", "redis://127.0.0.1:1"}, "segment is empty"},
		{"empty space", []string{"read", "/b", "--redis", "redis://127.0.0.1:1"}, "space is empty"},
		{"long name", []string{"read", strings.Repeat("n", 1025), "--redis", "redis://127.0.0.1:1"}, "1025 bytes"},
		{"bad URL", []string{"ls", "--redis", "http://127.0.0.1"}, "URL"},
		{"bad store", []string{"ls", "--store", "x", "--redis", "redis://127.0.0.1:1"}, "store"},
		{"expect 0", []string{"append", "a/b", "--expect", "0", "--redis", "redis://127.0.0.1:1"}, "--expect 0"},
		{"batch 0", []string{"append", "a/b", "--batch", "0", "--redis", "redis://127.0.0.1:1"}, "--batch 0"},
		{"batch too large", []string{"append", "a/b", "--batch", "10001", "--redis", "redis://127.0.0.1:1"}, "10000"},
		{"sequence of a space", []string{"read", "a", "--from", "7", "--redis", "redis://127.0.0.1:1"}, "segment"},
		{"no cursor", []string{"read", "a/b", "--from", "here", "--redis", "redis://127.0.0.1:1"}, "cursor"},
		{"huge sequence", []string{"read", "a/b", "--from", "99999999999999999999", "--redis", "redis://127.0.0.1:1"}, "larger"},
		{"output", []string{"read", "a/b", "--output", "xml", "--redis", "redis://127.0.0.1:1"}, "output"},
		{"null in jsonl", []string{"read", "a/b", "--output", "jsonl", "--null", "--redis", "redis://127.0.0.1:1"}, "--null"},
		{"lease without command", []string{"lease", "k", "--redis", "redis://127.0.0.1:1"}, "command"},
		{"lease ttl", []string{"lease", "k", "--ttl", "1ms", "--redis", "redis://127.0.0.1:1", "--", "true"}, "--ttl"},
		{"two places", []string{"serve", "--redis", "redis://127.0.0.1:1", "--data", "d"}, "--data"},
		{"open to all", []string{"serve", "--listen", "0.0.0.0:0"}, "--insecure-no-auth"},
		{"open to all by default", []string{"serve", "--listen", ":0"}, "--insecure-no-auth"},
		{"admin open to all", []string{"serve", "--admin-listen", "0.0.0.0:0", "--insecure-no-auth"}, "--insecure-admin"},
		{"otlp", []string{"serve", "--otlp-endpoint", "collector"}, "http://HOST:4318"},
		{"log level", []string{"serve", "--log-level", "loud"}, "log-level"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := call(t, nil, test.args...)
			if r.code != exitUsage || !strings.Contains(r.err, test.says) || r.out != "" {
				t.Errorf("exit %d, want %d and %q in\n%s", r.code, exitUsage, test.says, r.err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"append", "--help"}, {"--version"}} {
		if r := call(t, nil, args...); r.code != 0 || !strings.Contains(r.out, "streamhub") || r.err != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestUnreachable wants an answer soon, and no password in it.
func TestUnreachable(t *testing.T) {
	for _, args := range [][]string{
		{"append", "a/b"}, {"read", "a/b"}, {"watch", "a"}, {"ls"}, {"peek", "a/b"}, {"status", "a/b"}, {"lease", "k", "true"},
		{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--no-wait-for-redis"},
	} {
		args = append(args, "--redis", "redis://:geheim@127.0.0.1:1")
		r := call(t, strings.NewReader("x\n"), args...)
		if r.code != exitFailed || !strings.Contains(r.err, "check that Redis runs") || strings.Contains(r.err, "geheim") || r.out != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestNoGateway wants to hear what to start.
func TestNoGateway(t *testing.T) {
	r := call(t, strings.NewReader("x\n"), "append", "a/b", "--server", "ws://127.0.0.1:1")
	if r.code != exitFailed || !strings.Contains(r.err, "streamhub serve") || r.out != "" {
		t.Errorf("%+v", r)
	}
}

func TestEnvironment(t *testing.T) {
	url, _ := embedded(t)
	var out, errors strings.Builder
	if code := run(within(t), []string{"append", "a/b"}, strings.NewReader("x\n"), &out, &errors, []string{redisVariable + "=" + url}); code != 0 {
		t.Fatalf("exit %d: %s", code, errors.String())
	}
	// The flag wins.
	code := run(within(t), []string{"ls", "--redis", url}, nil, &out, &errors, []string{redisVariable + "=redis://127.0.0.1:1"})
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errors.String())
	}
}

func TestLs(t *testing.T) {
	url, _ := embedded(t)
	other := "11111111-1111-1111-1111-111111111111"
	for _, name := range []string{"b/z", "b/a/c", "a/1", "b/new\nline"} {
		good(t, strings.NewReader("x\n"), "append", name, "--redis", url)
	}
	good(t, strings.NewReader("x\n"), "append", "theirs/1", "--redis", url, "--store", other)
	for _, test := range []struct{ args, want string }{
		{"ls", "a\nb\n"},
		{"ls b", "a/c\n\"new\\nline\"\nz\n"},
		{"ls nothing", ""},
		{"ls --store " + other, "theirs\n"},
	} {
		if r := good(t, nil, append(strings.Fields(test.args), "--redis", url)...); r.out != test.want {
			t.Errorf("%s: %q, want %q", test.args, r.out, test.want)
		}
	}
}

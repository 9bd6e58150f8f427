package main

import (
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestDoctor(t *testing.T) {
	form := regexp.MustCompile(`^(ok|warn|fail)  \S.*  \S.*$`)
	for _, test := range []struct {
		name    string
		options testredis.Options
		code    int
		lines   []string
	}{
		{"as we like it", testredis.Options{AOF: "everysec", MaxMemory: "100mb"}, 0,
			[]string{"ok  connection  ", "ok  eviction  noeviction", "ok  persistence  ", "ok  replication  ", "ok  clock  ", "ok  memory  ",
				"ok  streams  nodes of 4096 bytes, of which each segment has one at once; for many small segments CONFIG SET stream-node-max-bytes 2048",
				"ok  commands  ", "ok  pub/sub  ", "ok  transport  ", "ok  cluster  none", "ok  latency ping  ", "ok  latency script  "}},
		{"as it comes", testredis.Options{}, 0, []string{"warn  persistence  ", "warn  memory  ", "warn  acl  user default"}},
		{"evicting", testredis.Options{Config: []string{"maxmemory-policy allkeys-lru"}}, 1, []string{"fail  eviction  allkeys-lru"}},
		{"small nodes", testredis.Options{Config: []string{"stream-node-max-bytes 2048"}}, 0, []string{"ok  streams  nodes of 2048 bytes"}},
		{"smaller nodes", testredis.Options{Config: []string{"stream-node-max-bytes 1024"}}, 0, []string{"ok  streams  nodes of 1024 bytes: small segments take little"}},
		{"never synced", testredis.Options{AOF: "no"}, 0, []string{"warn  persistence  "}},
		{"a node of a cluster", testredis.Options{Config: []string{"cluster-enabled yes"}}, 1, []string{"fail  cluster  "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := call(t, nil, "doctor", "--redis", testredis.Start(t, &test.options).URL())
			if r.code != test.code || r.err != "" {
				t.Errorf("exit %d, want %d\n%s", r.code, test.code, r.err)
			}
			for line := range strings.Lines(r.out) {
				if line = strings.TrimSuffix(line, "\n"); !form.MatchString(line) {
					t.Errorf("line %q", line)
				}
				if !strings.HasPrefix(line, "ok") && !strings.Contains(line, "  → ") {
					t.Errorf("no cure in %q", line)
				}
			}
			for _, want := range test.lines {
				if !strings.Contains("\n"+r.out, "\n"+want) {
					t.Errorf("no line %q in\n%s", want, r.out)
				}
			}
		})
	}
}

func TestDoctorJSON(t *testing.T) {
	server := testredis.Start(t, nil)
	r := call(t, nil, "doctor", "--redis", server.URL(), "--json", "--strict")
	if r.code != exitFailed {
		t.Errorf("exit %d although there are warnings", r.code)
	}
	seen := map[string]string{}
	for line := range strings.Lines(r.out) {
		var check struct{ Level, Name, Detail, Cure string }
		if err := json.Unmarshal([]byte(line), &check); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		seen[check.Name] = check.Level
	}
	if seen["hub"] != "ok" || seen["persistence"] != "warn" {
		t.Errorf("%v", seen)
	}
}

// TestDoctorWithoutInfo fails where a hub does not open.
func TestDoctorWithoutInfo(t *testing.T) {
	server := testredis.Start(t, nil)
	rule := strings.Replace("hub on >secret "+redisx.UserRule, " +info ", " ", 1)
	args := []any{"acl", "setuser"}
	for word := range strings.FieldsSeq(rule) {
		args = append(args, word)
	}
	if err := server.Client().Do(within(t), args...).Err(); err != nil {
		t.Fatal(err)
	}
	r := call(t, nil, "doctor", "--redis", strings.Replace(server.URL(), "redis://", "redis://hub:secret@", 1))
	if r.code != exitFailed || !strings.Contains(r.out, "fail  hub  ") || !strings.Contains(r.out, "ACL SETUSER hub ~sh:* &sh:* +info") && !strings.Contains(r.out, "ACL SETUSER hub +info") {
		t.Errorf("exit %d\n%s", r.code, r.out)
	}
}

func TestDoctorCluster(t *testing.T) {
	c := testredis.SharedCluster(t)
	r := good(t, nil, "doctor", "--redis", "redis+cluster://"+strings.Join(c.Addrs(), ","))
	if !strings.Contains(r.out, "ok  cluster  every slot") || strings.Count(r.out, "  version ") != 3 {
		t.Errorf("%s", r.out)
	}
}

func TestDoctorEmbedded(t *testing.T) {
	url, _ := embedded(t)
	if r := good(t, nil, "doctor", "--redis", url); !strings.Contains(r.out, "warn  version  ") || !strings.Contains(r.out, "ok  commands  ") {
		t.Errorf("%s", r.out)
	}
}

func TestDoctorUnreachable(t *testing.T) {
	r := call(t, nil, "doctor", "--redis", "redis://127.0.0.1:1")
	if r.code != exitFailed || !strings.HasPrefix(r.out, "fail  connection  ") || strings.Count(r.out, "\n") != 1 {
		t.Errorf("%+v", r)
	}
	server := testredis.Start(t, &testredis.Options{Password: "secret"})
	r = call(t, nil, "doctor", "--redis", "redis://"+server.Addr())
	if r.code != exitFailed || !strings.Contains(r.out, "password") {
		t.Errorf("%+v", r)
	}
}

// TestDoctorUser gives a user what the doctor says a hub needs, and works as that user.
func TestDoctorUser(t *testing.T) {
	server := testredis.Start(t, nil)
	args := []any{"acl", "setuser", "hub", "on", ">secret"}
	for word := range strings.FieldsSeq(redisx.UserRule) {
		args = append(args, word)
	}
	if err := server.Client().Do(within(t), args...).Err(); err != nil {
		t.Fatal(err)
	}
	address := (&url.URL{Scheme: "redis", User: url.UserPassword("hub", "secret"), Host: server.Addr()}).String()
	r := good(t, nil, "doctor", "--redis", address)
	if !strings.Contains(r.out, "ok  commands  ") || !strings.Contains(r.out, "ok  pub/sub  ") || !strings.Contains(r.out, "ok  acl  ") {
		t.Errorf("%s", r.out)
	}
	good(t, strings.NewReader("1\n2\n"), "append", "a/b", "--redis", address)
	for _, args := range []string{"read a/b", "read a", "read a/b --follow --limit 2", "read a --follow --limit 2", "ls", "ls a", "peek a/b", "status a/b", "lease k true"} {
		if r := good(t, nil, append(strings.Fields(args), "--redis", address)...); strings.Contains(r.err, "NOPERM") {
			t.Errorf("%s: %+v", args, r)
		}
	}
	// One that lacks something is told.
	if err := server.Client().Do(within(t), "acl", "setuser", "hub", "-xadd").Err(); err != nil {
		t.Fatal(err)
	}
	if r := call(t, nil, "doctor", "--redis", address); r.code != exitFailed || !strings.Contains(r.out, "fail  commands  ") {
		t.Errorf("%+v", r)
	}
}

// TestDocumentedUser pastes the line of the documentation that makes a user, which is off then.
func TestDocumentedUser(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	server := testredis.Start(t, nil)
	admin := server.Client()
	lines := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "ACL SETUSER ") {
			continue
		}
		lines++
		var args []any
		for _, word := range strings.Fields(line) {
			args = append(args, word)
		}
		if err := admin.Do(within(t), args...).Err(); err != nil {
			if lines == 2 && strings.Contains(err.Error(), "waitaof") {
				continue // Redis 7.0
			}
			t.Fatalf("%s%v", line, err)
		}
		url := strings.Replace(server.URL(), "redis://", "redis://streamhub:secret@", 1)
		if r := call(t, nil, "ls", "--redis", url); r.code != exitFailed {
			t.Errorf("the user is on without a password: %+v", r)
		}
		if err := admin.Do(within(t), "ACL", "SETUSER", "streamhub", "on", ">secret").Err(); err != nil {
			t.Fatal(err)
		}
		good(t, strings.NewReader("x\n"), "append", "a/b", "--redis", url)
		good(t, nil, "read", "a", "--redis", url)
		good(t, strings.NewReader("1\n"), "live", "publish", "job", "--takeover", "--redis", url)
		good(t, nil, "lease", "key", "--redis", url, "--", "true")
		if err := admin.Do(within(t), "ACL", "DELUSER", "streamhub").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if lines != 2 {
		t.Errorf("%d lines, want 2", lines)
	}
}

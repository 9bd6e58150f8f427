package main

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestLeaseRuns(t *testing.T) {
	url, _ := embedded(t)
	last := uint64(0)
	for range 2 {
		r := good(t, strings.NewReader("in\n"), "lease", "k", "--redis", url, "--", "sh", "-c", "cat; echo err >&2; echo $STREAMHUB_LEASE_TOKEN")
		in, text, _ := strings.Cut(strings.TrimSpace(r.out), "\n")
		token, err := strconv.ParseUint(text, 10, 64)
		if in != "in" || err != nil || token <= last || r.err != "err\n" {
			t.Errorf("%+v, want a token above %d", r, last)
		}
		last = token
	}
}

func TestLeaseCodes(t *testing.T) {
	url, _ := embedded(t)
	for _, test := range []struct {
		command string
		want    int
	}{
		{"true", 0},
		{"exit 9", 9},
		{"kill -KILL $$", 128 + 9},
	} {
		if r := call(t, nil, "lease", "k", "--redis", url, "--", "sh", "-c", test.command); r.code != test.want {
			t.Errorf("%s: exit %d, want %d\n%s", test.command, r.code, test.want, r.err)
		}
	}
	if r := call(t, nil, "lease", "k", "--redis", url, "--", "no-such-command"); r.code != exitFailed {
		t.Errorf("%+v", r)
	}
}

func TestLeaseHeld(t *testing.T) {
	url, store := embedded(t)
	l, err := store.AcquireLease(within(t), "k", patience)
	if err != nil {
		t.Fatal(err)
	}
	for _, wait := range []string{"0s", "50ms"} {
		r := call(t, nil, "lease", "k", "--wait", wait, "--redis", url, "--", "echo", "ran")
		if r.code != exitConflict || r.out != "" || !strings.Contains(r.err, "held") {
			t.Errorf("%+v", r)
		}
	}
	done := make(chan result, 1)
	go func() {
		done <- call(t, nil, "lease", "k", "--wait", patience.String(), "--redis", url, "--", "echo", "ran")
	}()
	if _, err := l.Release(within(t)); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.code != 0 || r.out != "ran\n" {
		t.Errorf("%+v", r)
	}
}

func TestLeaseWaitInterrupted(t *testing.T) {
	url := testredis.Shared(t).URL()
	store := openStore(t, url)
	key := fresh("waited for")
	if _, err := store.AcquireLease(within(t), key, patience); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "lease", key, "--wait", "1h", "--redis", url, "--", "echo", "ran")
	p.signal(syscall.SIGINT)
	// It may come before anybody listens.
	if out, code := p.rest(); code != exitInterrupted && code != -1 || out != "" {
		t.Errorf("exit %d, %q\n%s", code, out, p.err)
	}
}

// command starts the test's own command under a lease and waits until it runs.
func command(t *testing.T, url, key, ttl string, args ...string) *program {
	t.Helper()
	p := start(t, nil, append([]string{"lease", key, "--ttl", ttl, "--redis", url, "--", "env", actVariable + "=" + actCommand, self(t)}, args...)...)
	if line := p.line(); !strings.HasPrefix(line, "token ") {
		t.Fatalf("%q", line)
	}
	return p
}

func TestLeaseSignal(t *testing.T) {
	for signal, want := range map[syscall.Signal]int{syscall.SIGTERM: 7, syscall.SIGINT: 128 + 2} {
		p := command(t, testredis.Shared(t).URL(), fresh("signalled"), "15s")
		p.signal(signal)
		if _, code := p.rest(); code != want {
			t.Errorf("%v: exit %d, want that of the command, %d\n%s", signal, code, want, p.err)
		}
	}
}

func TestLeaseLost(t *testing.T) {
	url := testredis.Shared(t).URL()
	for _, args := range [][]string{nil, {"stubborn"}} {
		key := fresh("lost")
		p := command(t, url, key, "600ms", args...)
		client, err := hub.NewClient(url)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if n, err := client.Del(within(t), "sh:{"+uuid.Nil.String()+"."+key+"}:l").Result(); err != nil || n != 1 {
			t.Fatalf("%d keys deleted, %v", n, err)
		}
		if _, code := p.rest(); code != exitConflict || !strings.Contains(p.err.String(), "lost") {
			t.Errorf("%v: exit %d\n%s", args, code, p.err)
		}
	}
}

// TestLeaseDies kills the holder: the command does not go on without it.
func TestLeaseDies(t *testing.T) {
	p := command(t, testredis.Shared(t).URL(), fresh("dies"), "15s")
	p.signal(syscall.SIGKILL)
	// The command has the same standard output: its end is that of both.
	if _, code := p.rest(); code != -1 {
		t.Errorf("exit %d", code)
	}
}

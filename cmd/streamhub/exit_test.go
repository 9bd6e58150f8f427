package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// An outcome is what a command does in one situation: its exit code, and a part of what it says.
type outcome struct {
	code int
	says string
}

// A situation is a command line, and what comes of it.
type situation struct {
	args string
	outcome
}

// exits has what every command does when something is in its way. What works on a hub is tried without
// a gateway, with a token that is none, and stopped, with args.
var exits = map[string]struct {
	args         string // a command line that would do something
	bad, nothing situation
}{
	"append":       {"append s/g --null", situation{"append s", outcome{exitUsage, "SPACE/SEGMENT"}}, situation{}},
	"read":         {"read s/g", situation{"read s/g --output xml", outcome{exitUsage, "--output"}}, situation{"read never", outcome{exitFailed, "never was"}}},
	"watch":        {"watch s", situation{"watch", outcome{exitUsage, "space"}}, situation{}},
	"ls":           {"ls", situation{"ls s t", outcome{exitUsage, "t"}}, situation{"ls never", outcome{0, "no segments"}}},
	"peek":         {"peek s/g", situation{"peek s", outcome{exitUsage, "SPACE/SEGMENT"}}, situation{"peek s/never", outcome{exitFailed, "there is no segment"}}},
	"status":       {"status s/g", situation{"status s", outcome{exitUsage, "SPACE/SEGMENT"}}, situation{"status s/never", outcome{exitFailed, "there is no segment"}}},
	"create":       {"create s/g", situation{"create s/g --ttl soon", outcome{exitUsage, "--ttl"}}, situation{}},
	"fork":         {"fork s/g s/h", situation{"fork s/g t/h", outcome{exitUsage, "same space"}}, situation{"fork s/never s/h", outcome{exitFailed, "not found"}}},
	"trim":         {"trim s/g --to 1 --yes", situation{"trim s/g --yes", outcome{exitUsage, "--to"}}, situation{"trim s/never --to 1 --yes", outcome{exitFailed, "not found"}}},
	"close":        {"close s/g", situation{"close s/g --verdict good", outcome{exitUsage, "--verdict"}}, situation{"close s/never", outcome{exitFailed, "not found"}}},
	"expire":       {"expire s/g 1h", situation{"expire s/g", outcome{exitUsage, "after"}}, situation{"expire s/never 1h", outcome{exitFailed, "not found"}}},
	"delete":       {"delete s/g --yes", situation{"delete s/g", outcome{exitUsage, "--yes"}}, situation{"delete s/never --yes", outcome{exitFailed, "not found"}}},
	"lease run":    {"lease k true", situation{"lease k", outcome{exitUsage, "command"}}, situation{"lease k /no/such/program", outcome{exitFailed, "cannot be run"}}},
	"lease ls":     {"lease ls", situation{"lease ls x", outcome{exitUsage, "x"}}, situation{"lease ls", outcome{0, "nobody holds"}}},
	"workers":      {"workers", situation{"workers x", outcome{exitUsage, "x"}}, situation{"workers", outcome{0, "no workers"}}},
	"live publish": {"live publish id", situation{"live publish", outcome{exitUsage, "id"}}, situation{}},
	"live read":    {"live read id", situation{"live read id --wait soon", outcome{exitUsage, "--wait"}}, situation{"live read never", outcome{exitFailed, "not found"}}},
	"live cancel":  {"live cancel id", situation{"live cancel", outcome{exitUsage, "id"}}, situation{"live cancel never", outcome{exitFailed, "not found"}}},
	"live status":  {"live status id", situation{"live status", outcome{exitUsage, "id"}}, situation{"live status never", outcome{exitFailed, "not found"}}},
	"live ls":      {"live ls", situation{"live ls x", outcome{exitUsage, "x"}}, situation{"live ls --space never", outcome{0, "nothing is produced"}}},
	"top":          {"top", situation{"top --every 1ms", outcome{exitUsage, "--every"}}, situation{}},
	"instances":    {"instances", situation{"instances x", outcome{exitUsage, "x"}}, situation{}},

	"subscriptions ls":   {"subscriptions ls", situation{"subscriptions ls x", outcome{exitUsage, "x"}}, situation{"subscriptions ls", outcome{0, "no subscriptions"}}},
	"subscriptions show": {"subscriptions show hook", situation{"subscriptions show", outcome{exitUsage, "id"}}, situation{"subscriptions show never", outcome{exitFailed, "not found"}}},
	"subscriptions rm":   {"subscriptions rm hook --yes", situation{"subscriptions rm hook", outcome{exitUsage, "--yes"}}, situation{"subscriptions rm never --yes", outcome{exitFailed, "not found"}}},

	"bench": {"bench --duration 1h", situation{"bench --size 1", outcome{exitUsage, "--size"}}, situation{}},

	"serve":           {bad: situation{"serve --listen nowhere", outcome{exitUsage, "--listen"}}},
	"demo":            {bad: situation{"demo --listen 0.0.0.0:0", outcome{exitUsage, "--listen"}}},
	"import":          {bad: situation{"import http://127.0.0.1:1", outcome{exitUsage, "ws://host:port"}}},
	"doctor":          {bad: situation{"doctor", outcome{exitUsage, "--redis"}}},
	"archive run":     {bad: situation{"archive run", outcome{exitUsage, "--redis"}}},
	"archive ls":      {bad: situation{"archive ls", outcome{exitUsage, "--archive"}}, nothing: situation{"archive ls --archive pebble:///no/such/directory", outcome{exitFailed, "/no/such/directory"}}},
	"archive verify":  {bad: situation{"archive verify", outcome{exitUsage, "--archive"}}, nothing: situation{"archive verify --archive pebble:///no/such/directory", outcome{exitFailed, "/no/such/directory"}}},
	"archive restore": {bad: situation{"archive restore", outcome{exitUsage, "--redis"}}},
	"config check":    {bad: situation{"config check --config /no/such/file", outcome{exitUsage, "/no/such/file"}}},
	"config show":     {bad: situation{"config show nothing", outcome{exitUsage, "nothing"}}},
	"token mint":      {bad: situation{"token mint --scope streamkit::*", outcome{exitUsage, "--jwt-"}}},
	"token check":     {bad: situation{"token check --store nothing x", outcome{exitUsage, "--store"}}},
	"version":         {bad: situation{"version x", outcome{exitUsage, "x"}}},
	"help":            {bad: situation{"help --frobnicate", outcome{exitUsage, "frobnicate"}}},
	"completion":      {bad: situation{"completion csh", outcome{exitUsage, "shell"}}},
}

// A closedPipe is what nobody reads any more.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

// try runs a command line in a situation.
func (st situation) try(t *testing.T, name string, ctx context.Context, stdout io.Writer, more ...string) {
	t.Helper()
	var out, err bytes.Buffer
	if stdout == nil {
		stdout = &out
	}
	args := strings.Fields(st.args)
	if len(more) > 0 && args[0] == "lease" && args[1] != "ls" { // flags come before the command
		args = append(append(slices.Clone(args[:1]), more...), args[1:]...)
	} else {
		args = append(args, more...)
	}
	code := run(ctx, args, strings.NewReader("x\n"), stdout, &err, nil)
	if code != st.code || !strings.Contains(err.String(), st.says) || st.code != 0 && out.Len() > 0 {
		t.Errorf("%s: streamhub %s: exit %d, %q, %q; want %d and %q", name, strings.Join(args, " "), code, out.String(), err.String(), st.code, st.says)
	}
	if st.code != 0 && st.code != exitInterrupted && err.Len() == 0 && st.says != "" {
		t.Errorf("%s: streamhub %s: nothing is said", name, st.args)
	}
}

// TestExits puts everything in the way of every command.
func TestExits(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("streamhub"), kong.Bind(&settings{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		if _, ok := exits[leaf.Path()]; !ok && !leaf.Hidden {
			t.Errorf("no word of %q", leaf.Path())
		}
	}
	server := testredis.Start(t, nil)
	open := serve(t, "--redis", server.URL())
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("s"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded := serve(t, "--redis", server.URL(), "--auth", "jwt", "--jwt-hmac-secret-file", secret)
	good(t, strings.NewReader("1\n2\n"), "append", "s/g", "--server", open.front)

	stopped, stop := context.WithCancelCause(t.Context())
	stop(interrupt{syscall.SIGINT})
	ended, end := context.WithCancelCause(t.Context())
	end(interrupt{syscall.SIGTERM})
	goOn := []string{"watch s", "top"}
	for _, c := range exits {
		c.bad.try(t, "bad argument", within(t), nil)
		if c.nothing.args != "" {
			more := []string{"--server", open.ws()}
			if c.args == "" {
				more = nil // it works on something else
			}
			c.nothing.try(t, "nothing there", within(t), nil, more...)
		}
		if c.args == "" {
			continue
		}
		situation{c.args, outcome{exitFailed, "streamhub serve runs"}}.try(t, "no server", within(t), nil, "--server", "ws://127.0.0.1:1")
		situation{c.args, outcome{exitFailed, "--token"}}.try(t, "wrong token", within(t), nil, "--server", guarded.ws(), "--token", "x.y.z")
		situation{c.args, outcome{exitInterrupted, ""}}.try(t, "Ctrl-C", stopped, nil, "--server", open.ws())
		want := outcome{exitFailed, "stopped by SIGTERM"}
		if slices.Contains(goOn, c.args) {
			want = outcome{0, ""}
		}
		situation{c.args, want}.try(t, "SIGTERM", ended, nil, "--server", open.ws())
	}
	situation{"read s/g --follow", outcome{0, ""}}.try(t, "SIGTERM", ended, nil, "--server", open.ws())
	for _, args := range []string{
		"read s/g", "read s --json", "ls", "ls -l", "ls s --json", "peek s/g", "status s/g", "create s/new", "expire s/new 1h", "fork s/g s/copy",
		"watch s", "trim s/g --to 1 --yes", "close s/copy", "delete s/new --yes", "live publish job", "live status job", "live read job", "live ls --all", "instances", "top",
	} {
		situation{args, outcome{0, ""}}.try(t, "closed pipe", within(t), closedPipe{}, "--server", open.ws())
	}
	for _, args := range []string{"version", "completion bash", "config show", "config check", "help"} {
		situation{args, outcome{0, ""}}.try(t, "closed pipe", within(t), closedPipe{})
	}
}

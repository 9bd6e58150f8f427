package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/internal/teststreamkit"
)

// An outcome is what a command does in one situation: its exit code, and a part of what it says. What is not good
// says it on standard error, with the cure in its last line.
type outcome struct {
	code int
	says string
}

// A situation is a command line, and what comes of it. Where no command line can bring it about, none says why. The
// command line has $open and $guarded, gateways without and with authentication; $redis, $locked, a Redis without
// and with a password; $old, a streamkit server with a token; $secret, a file with the secret of $guarded; and $dir, a new directory.
type situation struct {
	args string
	outcome
	none string
}

// A row has what a command does in each situation.
type row struct {
	badArgument, nothingThere, noServer, wrongToken, interrupted, closedPipe situation
}

const (
	noGateway    = "check that streamhub serve runs"
	noRedis      = "check that Redis runs"
	wrongToken   = "streamhub token check"
	wrongRedis   = "refuses this user or password"
	alwaysThere  = "it makes or shows what there is"
	asksNobody   = "it talks to no server"
	atOnce       = "it waits for nothing"
	onGateway    = " --server $open"
	onNoGateway  = " --server ws://127.0.0.1:1"
	onWrongToken = " --server $guarded --token x.y.z"
)

func does(args string, code int, says string) situation {
	return situation{args: args, outcome: outcome{code, says}}
}
func never(why string) situation { return situation{none: why} }

// works is the row of a command that works on a hub. Good is a command line that would do something; piped is one that
// does it where standard output has no reader, good if "".
func works(good, piped string, badArgument, nothingThere situation) row {
	if piped == "" {
		piped = good
	}
	if nothingThere.none == "" {
		nothingThere.args = at(nothingThere.args, onGateway)
	}
	return row{
		badArgument:  badArgument,
		nothingThere: nothingThere,
		noServer:     does(at(good, onNoGateway), exitFailed, noGateway),
		wrongToken:   does(at(good, onWrongToken), exitFailed, wrongToken),
		interrupted:  does(at(good, onGateway), exitInterrupted, ""),
		closedPipe:   does(at(piped, onGateway), 0, ""),
	}
}

// at says where a command works. After the key of a lease everything is the command to run.
func at(args, where string) string {
	if rest, ok := strings.CutPrefix(args, "lease k"); ok {
		return "lease" + where + " k" + rest
	}
	return args + where
}

// alone is the row of a command that asks no server.
func alone(good string, badArgument, nothingThere situation) row {
	return row{
		badArgument: badArgument, nothingThere: nothingThere, noServer: never(asksNobody), wrongToken: never(asksNobody),
		interrupted: never(atOnce), closedPipe: does(good, 0, ""),
	}
}

// exits has every command.
var exits = map[string]row{
	"append": works("append s/g --null", "append s/new", does("append s", exitUsage, "SPACE/SEGMENT"), never(alwaysThere)),
	"read":   works("read s/g", "", does("read s/g --output xml", exitUsage, "--output"), does("read never", exitFailed, "streamhub ls lists what there is")),
	"watch":  works("watch s", "", does("watch", exitUsage, "space"), never("it waits until something is there")),
	"ls":     works("ls", "ls s -l", does("ls s t", exitUsage, "t"), does("ls never", 0, "no segments")),
	"peek":   works("peek s/g", "", does("peek s", exitUsage, "SPACE/SEGMENT"), does("peek s/never", exitFailed, "streamhub ls s lists what there is")),
	"status": works("status s/g", "", does("status s", exitUsage, "SPACE/SEGMENT"), does("status s/never", exitFailed, "streamhub ls s lists what there is")),
	"create": works("create s/g", "create s/made", does("create s/g --ttl soon", exitUsage, "--ttl"), never(alwaysThere)),
	"fork":   works("fork s/g s/h", "", does("fork s/g t/h", exitUsage, "same space"), does("fork s/never s/h", exitFailed, "streamhub ls s lists what there is")),
	"trim":   works("trim s/trimmed --to 1 --yes", "", does("trim s/g --yes", exitUsage, "--to"), does("trim s/never --to 1 --yes", exitFailed, "streamhub ls s lists what there is")),
	"close":  works("close s/closed", "", does("close s/g --verdict good", exitUsage, "--verdict"), does("close s/never", exitFailed, "streamhub ls s lists what there is")),
	"expire": works("expire s/expired 1h", "", does("expire s/g", exitUsage, "after"), does("expire s/never 1h", exitFailed, "streamhub ls s lists what there is")),
	"delete": works("delete s/deleted --yes", "", does("delete s/g", exitUsage, "--yes"), does("delete s/never --yes", exitFailed, "streamhub ls s lists what there is")),

	"lease run": works("lease k true", "", does("lease k", exitUsage, "command"), does("lease k /no/such/program", exitFailed, "cannot be run")),
	"lease ls":  works("lease ls", "", does("lease ls x", exitUsage, "x"), does("lease ls", 0, "nobody holds")),
	"workers":   works("workers", "", does("workers x", exitUsage, "x"), does("workers", 0, "no workers")),

	"live publish": works("live publish id", "live publish piped", does("live publish", exitUsage, "id"), never(alwaysThere)),
	"live read":    works("live read id", "live read job", does("live read id --wait soon", exitUsage, "--wait"), does("live read never", exitFailed, "streamhub live ls --all lists what there is")),
	"live cancel":  works("live cancel id", "live cancel job", does("live cancel", exitUsage, "id"), does("live cancel never", exitFailed, "streamhub live ls --all lists what there is")),
	"live status":  works("live status id", "live status job", does("live status", exitUsage, "id"), does("live status never", exitFailed, "streamhub live ls --all lists what there is")),
	"live ls":      works("live ls", "live ls --all", does("live ls x", exitUsage, "x"), does("live ls --space never", 0, "nothing is produced")),

	"subscriptions ls":   works("subscriptions ls", "", does("subscriptions ls x", exitUsage, "x"), does("subscriptions ls --store 11111111-1111-1111-1111-111111111111", 0, "no subscriptions")),
	"subscriptions show": works("subscriptions show hook", "", does("subscriptions show", exitUsage, "id"), does("subscriptions show never", exitFailed, "streamhub subscriptions ls lists what there is")),
	"subscriptions rm":   works("subscriptions rm hook --yes", "subscriptions rm piped --yes", does("subscriptions rm hook", exitUsage, "--yes"), does("subscriptions rm never --yes", exitFailed, "streamhub subscriptions ls lists what there is")),

	"top":       works("top", "", does("top --every 1ms", exitUsage, "--every"), never(alwaysThere)),
	"instances": works("instances", "", does("instances x", exitUsage, "x"), never("a gateway reports itself")),
	"bench": works("bench --duration 1h", "bench --duration 20ms --callers 1 --segments 1", does("bench --size 1", exitUsage, "--size"),
		never("it makes what it needs")),

	"serve": {
		badArgument:  does("serve --listen nowhere", exitUsage, "--listen"),
		nothingThere: does("serve --data $dir --redis-server /no/such/program", exitFailed, "/no/such/program"),
		noServer:     does("serve --wait-for-redis=false --redis redis://127.0.0.1:1", exitFailed, noRedis),
		wrongToken:   does("serve --redis $locked", exitFailed, wrongRedis),
		interrupted:  does("serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", 0, ""),
		closedPipe:   does("serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", 0, ""),
	},
	"demo": {
		badArgument:  does("demo --listen 0.0.0.0:0", exitUsage, "--listen"),
		nothingThere: does("demo --listen 127.0.0.1:0 --redis-server /no/such/program", exitFailed, "/no/such/program"),
		noServer:     never("it starts its own"),
		wrongToken:   never("it wants none"),
		interrupted:  does("demo --listen 127.0.0.1:0", 0, ""),
		closedPipe:   does("demo --listen 127.0.0.1:0", 0, ""),
	},
	"import": {
		badArgument:  does("import http://127.0.0.1:1", exitUsage, "ws://host:port"),
		nothingThere: does("import $old mistyped --source-token secret --redis $redis", exitFailed, "no space \"mistyped\""),
		noServer:     does("import ws://127.0.0.1:1 --redis $redis", exitFailed, "127.0.0.1:1"),
		wrongToken:   does("import $old --source-token other --redis $redis", exitFailed, "--source-token"),
		interrupted:  does("import $old --source-token secret --redis $redis", exitInterrupted, ""),
		closedPipe:   does("import $old --source-token secret --store 22222222-2222-2222-2222-222222222222 --redis $redis", 0, ""),
	},
	"doctor": {
		badArgument:  does("doctor", exitUsage, "--redis"),
		nothingThere: never("an empty Redis is as good as any"),
		noServer:     does("doctor --redis redis://127.0.0.1:1", exitFailed, ""),
		wrongToken:   does("doctor --redis $locked", exitFailed, ""),
		interrupted:  does("doctor --redis $redis", exitInterrupted, ""),
		closedPipe:   does("doctor --redis $redis", 0, ""),
	},
	"archive run": {
		badArgument:  does("archive run", exitUsage, "--redis"),
		nothingThere: does("archive run --once --archive pebble://$dir/cold --redis $redis", 0, ""),
		noServer:     does("archive run --archive pebble://$dir/cold --redis redis://127.0.0.1:1", exitFailed, noRedis),
		wrongToken:   does("archive run --archive pebble://$dir/cold --redis $locked", exitFailed, wrongRedis),
		interrupted:  does("archive run --archive pebble://$dir/cold --redis $redis", exitInterrupted, ""),
		closedPipe:   does("archive run --once --archive pebble://$dir/cold --redis $redis", 0, ""),
	},
	"archive ls":     cold("archive ls", does("archive ls", exitUsage, "--archive")),
	"archive verify": cold("archive verify", does("archive verify", exitUsage, "--archive")),
	"archive restore": {
		badArgument:  does("archive restore", exitUsage, "--redis"),
		nothingThere: does("archive restore never --archive pebble://$cold --redis $redis", exitFailed, "streamhub archive ls lists what there is"),
		noServer:     does("archive restore --archive pebble://$cold --redis redis://127.0.0.1:1", exitFailed, noRedis),
		wrongToken:   does("archive restore --archive pebble://$cold --redis $locked", exitFailed, wrongRedis),
		interrupted:  does("archive restore --archive pebble://$cold --redis $redis", exitInterrupted, ""),
		closedPipe:   does("archive restore --archive pebble://$cold --redis $redis", 0, ""),
	},
	"config check": alone("config check", does("config check --config /no/such/file", exitUsage, "/no/such/file"), never("every value has a default")),
	"config show":  alone("config show", does("config show nothing", exitUsage, "nothing"), never("every value has a default")),
	"token mint": alone("token mint --scope streamkit::* --jwt-hmac-secret-file $secret", does("token mint --scope streamkit::*", exitUsage, "--jwt-"),
		does("token mint --scope streamkit::* --jwt-hmac-secret-file /no/such/file", exitFailed, "/no/such/file")),
	"token check": {
		badArgument:  does("token check --store nothing x", exitUsage, "--store"),
		nothingThere: does("token check x.y.z --jwt-hmac-secret-file /no/such/file", exitFailed, "/no/such/file"),
		noServer:     never("keys that cannot be fetched are tested with the flags of authentication"),
		wrongToken:   does("token check x.y.z --jwt-hmac-secret-file $secret", exitFailed, "the token is refused"),
		interrupted:  never("TestToken has it, with an input that says nothing"),
		closedPipe:   does("token check $token --jwt-hmac-secret-file $secret", 0, ""),
	},
	"version":    alone("version", does("version x", exitUsage, "x"), never(alwaysThere)),
	"help":       alone("help", does("help --frobnicate", exitUsage, "frobnicate"), does("help nothing", exitUsage, "nothing")),
	"completion": alone("completion bash", does("completion csh", exitUsage, "shell"), never(alwaysThere)),
}

// cold is the row of a command that reads an archive.
func cold(command string, badArgument situation) row {
	return row{
		badArgument:  badArgument,
		nothingThere: does(command+" never --archive pebble://$cold", exitFailed, "streamhub archive ls lists what there is"),
		noServer:     does(command+" --archive pebble:///no/such/directory", exitFailed, "/no/such/directory"),
		wrongToken:   never("a directory has none, and Azure's credential is Azure's"),
		interrupted:  does(command+" --archive pebble://$cold", exitInterrupted, ""),
		closedPipe:   does(command+" --archive pebble://$cold", 0, ""),
	}
}

// A closedPipe is what nobody reads any more.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

// A fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "out", Err: syscall.ENOSPC}
}

// TestFullDisk has what cannot be written end with 1, and what has no reader end well.
func TestFullDisk(t *testing.T) {
	for _, args := range []string{"help", "--help", "help ls", "ls --help", "--version", "version", "completion bash", "config show serve"} {
		does(args, exitFailed, "standard output: ").try(t, "full disk", within(t), fullDisk{}, nil)
		does(args, 0, "").try(t, "closed pipe", within(t), closedPipe{}, nil)
	}
}

// try runs the command line in its situation.
func (st situation) try(t *testing.T, name string, ctx context.Context, stdout io.Writer, places map[string]string) {
	t.Helper()
	if st.none != "" {
		return
	}
	if st.args == "" {
		t.Errorf("%s: no word of it", name)
		return
	}
	var out, err bytes.Buffer
	if stdout == nil {
		stdout = &out
	}
	args := strings.Fields(os.Expand(st.args, func(place string) string {
		if place == "dir" {
			return t.TempDir()
		}
		return places[place]
	}))
	code := run(ctx, args, strings.NewReader("x\n"), stdout, &err, []string{actVariable + "=" + actMain}) // demo starts itself
	said := strings.Split(strings.TrimSuffix(err.String(), "\n"), "\n")
	switch last := said[len(said)-1]; {
	case code != st.code:
		t.Errorf("%s: streamhub %s: exit %d, %q, %q; want %d", name, st.args, code, out.String(), err.String(), st.code)
	case !strings.Contains(err.String(), st.says), code != 0 && !strings.Contains(last, st.says):
		t.Errorf("%s: streamhub %s: %q; want %q in its last line", name, st.args, err.String(), st.says)
	}
}

// TestExits brings every command into every situation.
func TestExits(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("streamhub"), kong.Bind(&settings{}))
	if err != nil {
		t.Fatal(err)
	}
	server := testredis.Start(t, nil)
	locked := testredis.Start(t, &testredis.Options{Password: "secret"})
	open := serve(t, "--redis", server.URL())
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("s"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded := serve(t, "--redis", server.URL(), "--auth", "jwt", "--jwt-hmac-secret-file", secret)
	cold := filepath.Join(t.TempDir(), "cold")
	good(t, nil, "archive", "run", "--once", "--archive", "pebble://"+cold, "--redis", server.URL())
	token := good(t, nil, "token", "mint", "--scope", "streamkit::*", "--jwt-hmac-secret-file", secret).out
	places := map[string]string{
		"open": open.ws(), "guarded": guarded.ws(), "redis": server.URL(), "locked": "redis://:wrong@" + locked.Addr(), "secret": secret, "cold": cold,
		"token": strings.TrimSpace(token), "old": teststreamkit.Start(t, "secret").URL,
	}
	for _, segment := range []string{"g", "trimmed", "closed", "expired", "deleted"} {
		good(t, strings.NewReader("1\n2\n"), "append", "s/"+segment, "--server", open.front)
	}
	good(t, strings.NewReader("1\n"), "live", "publish", "job", "--server", open.front)
	for _, id := range []string{"hook", "piped"} {
		url, body := open.front+"/v1/stream/__ds/subscriptions/"+id, `{"type":"webhook","streams":["s"],"webhook":{"url":"http://127.0.0.1:1/x"}}`
		if status, text := ask(t, http.MethodPut, url, body, "Content-Type", "application/json"); status != http.StatusCreated {
			t.Fatal(status, text)
		}
	}

	stopped, stop := context.WithCancelCause(t.Context())
	stop(interrupt{syscall.SIGINT})
	ended, end := context.WithCancelCause(t.Context())
	end(interrupt{syscall.SIGTERM})
	for _, leaf := range parser.Model.Leaves(true) {
		c, ok := exits[leaf.Path()]
		if !ok {
			t.Errorf("no row of %q", leaf.Path())
			continue
		}
		c.badArgument.try(t, "bad argument", within(t), nil, places)
		c.nothingThere.try(t, "nothing there", within(t), nil, places)
		c.noServer.try(t, "no server", within(t), nil, places)
		c.wrongToken.try(t, "wrong token", within(t), nil, places)
		c.interrupted.try(t, "Ctrl-C", stopped, nil, places)
		c.closedPipe.try(t, "closed pipe", within(t), closedPipe{}, places)
	}
	for _, args := range []string{"read s/g", "ls", "live ls"} { // without a gateway
		does(args+" --redis redis://127.0.0.1:1", exitFailed, noRedis).try(t, "no Redis", within(t), nil, places)
		does(args+" --redis $locked", exitFailed, wrongRedis).try(t, "wrong password", within(t), nil, places)
		does(args+" --redis $redis", exitFailed, "stopped by SIGTERM").try(t, "SIGTERM", ended, nil, places)
	}
	for _, args := range []string{"import $old --source-token secret --redis $redis", "archive ls --archive pebble://$cold", "doctor --redis $redis", "bench --server $open"} {
		does(args, exitFailed, "stopped by SIGTERM").try(t, "SIGTERM", ended, nil, places)
	}
	does("ls --server $guarded", exitFailed, "wants a token: --token").try(t, "no token", within(t), nil, places)
	does("append s/closed --server $open", exitFailed, "takes nothing more").try(t, "closed", within(t), nil, places)
	does("append s/g --json --file $secret --server $open", exitFailed, "line 1").try(t, "no JSON", within(t), nil, places)
	// What only a signal ends.
	for _, args := range []string{
		"read s/g --follow --server $open", "watch s --server $open", "top --server $open", "archive run --archive pebble://$dir/cold --redis $redis",
		"serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", "demo --listen 127.0.0.1:0",
	} {
		does(args, 0, "").try(t, "SIGTERM", ended, nil, places)
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// callWith runs the program with variables.
func callWith(t *testing.T, env []string, args ...string) result {
	t.Helper()
	var out, err strings.Builder
	code := run(within(t), args, strings.NewReader(""), &out, &err, env)
	return result{code, out.String(), err.String()}
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "streamhub.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDocumentedFile has the file of docs/operations.md taken, and every key of it count.
func TestDocumentedFile(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml cmd/streamhub/settings_test.go\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/operations.md has no configuration file")
	}
	path := configFile(t, string(block[1]))
	good(t, nil, "config", "check", "--config", path)
	shown := good(t, nil, "config", "show", "serve", "--config", path).out
	if n := strings.Count(shown, " # file\n"); n != 5 {
		t.Errorf("%d keys come from the file, want its 5:\n%s", n, shown)
	}
}

// TestSettings has flags win over variables, and variables over the file.
func TestSettings(t *testing.T) {
	url, _ := embedded(t)
	for range 3 {
		good(t, strings.NewReader("a\nb\nc\n"), "append", "s/g", "--batch", "1", "--redis", url)
	}
	dead := "redis://127.0.0.1:1"
	path := configFile(t, "redis: "+url+"\nlimit: 1\nread:\n  limit: 2\nserve:\n  origin: [https://a.example, https://b.example]\n")
	for _, test := range []struct {
		name  string
		env   []string
		args  []string
		lines int // that are read
	}{
		{"file, under the command", nil, []string{"--config", path}, 2},
		{"file that a variable names", []string{"STREAMHUB_CONFIG=" + path}, nil, 2},
		{"variable over file", []string{"STREAMHUB_LIMIT=3"}, []string{"--config", path}, 3},
		{"flag over variable", []string{"STREAMHUB_LIMIT=3"}, []string{"--config", path, "--limit", "4"}, 4},
		{"a section that is commented out", nil, []string{"--config", configFile(t, "redis: "+url+"\nread:\n  # limit: 2\nserve: ~\nlimit: null\n")}, 9},
		{"anchors", nil, []string{"--config", configFile(t, "redis: "+url+"\nbatch: &n 2\nread: {limit: *n}\nserve: &all {redis: x}\narchive: {run: *all}\n")}, 2},
		{"an empty variable is none", []string{"STREAMHUB_LIMIT="}, []string{"--config", path}, 2},
		{"the flag for another place", []string{"STREAMHUB_SERVER=ws://127.0.0.1:1"}, []string{"--config", path, "--redis", url}, 2},
		{"variables over a file", []string{"STREAMHUB_REDIS_URL=" + url}, []string{"--config", configFile(t, "server: ws://127.0.0.1:1")}, 9},
		{"archive of another command", []string{"STREAMHUB_REDIS_URL=" + url, "STREAMHUB_ONCE=true"}, nil, 9},
	} {
		r := callWith(t, test.env, append([]string{"read", "s/g"}, test.args...)...)
		if r.code != 0 || strings.Count(r.out, "\n") != test.lines {
			t.Errorf("%s: %+v, want %d lines", test.name, r, test.lines)
		}
	}
	// Of two variables the gateway wins.
	if r := callWith(t, []string{"STREAMHUB_SERVER=ws://127.0.0.1:1", "STREAMHUB_REDIS_URL=" + url}, "ls"); r.code != exitFailed || !strings.Contains(r.err, "gateway") {
		t.Errorf("%+v", r)
	}
	// A command that looks at Redis itself takes the Redis.
	if r := callWith(t, []string{"STREAMHUB_SERVER=ws://127.0.0.1:1", "STREAMHUB_REDIS_URL=" + dead}, "doctor"); r.code != exitFailed || strings.Contains(r.err, "--redis") {
		t.Errorf("%+v", r)
	}
	for _, test := range []struct {
		env        []string
		text, says string
	}{
		{[]string{"STREAMHUB_LIMIT=many"}, "", "$STREAMHUB_LIMIT"},
		{[]string{"STREAMHUB_OUTPUT=xml"}, "", "$STREAMHUB_OUTPUT"},
		{nil, "limt: 3", "limt"},
		{nil, "read:\n  listen: x", "read.listen"},
		{nil, "reed:\n  limit: 3", "reed"},
		{nil, "append: 3", "append is a command"},
		{nil, "limit: {a: 3}", "limit is a flag"},
		{nil, "- limit", "want keys with values"},
		{nil, "limit: 1\n---\nread:\n  limit: 2", "several documents"},
		{nil, "limit: 1\n---\n[", "several documents"},
		{nil, "read:\n  limit: 1\n  limit: 2", "read: yaml"},
		{nil, "read:\n  limit: many", "--limit: from"},
		{nil, "limit: many", "streamhub.yaml"},
		{nil, "limit: [", "streamhub.yaml"},
		{[]string{"STREAMHUB_CONFIG=/nowhere/at/all"}, "", "/nowhere/at/all"},
	} {
		args := []string{"read", "s/g"}
		if test.text != "" {
			args = append(args, "--config", configFile(t, test.text))
		}
		if r := callWith(t, append(test.env, redisVariable+"="+url), args...); r.code != exitUsage || !strings.Contains(r.err, test.says) {
			t.Errorf("%+v: %+v", test, r)
		}
	}
}

// TestEveryFlagHasAVariable compares the names, which have to differ, with the rule.
func TestEveryFlagHasAVariable(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("streamhub"), kong.Bind(&settings{}))
	if err != nil {
		t.Fatal(err)
	}
	byVariable := map[string]string{}
	for _, leaf := range parser.Model.Leaves(true) {
		for _, flag := range leaf.Flags {
			name := variable(flag.Name)
			if other, ok := byVariable[name]; ok && other != flag.Name || name == tokenVariable || name == passwordVariable {
				t.Errorf("--%s and --%s share %s", flag.Name, other, name)
			}
			byVariable[name] = flag.Name
		}
	}
	for name, want := range map[string]string{"STREAMHUB_ADMIN_LISTEN": "admin-listen", "STREAMHUB_REDIS_URL": "redis", "STREAMHUB_TOKEN": "token"} {
		if byVariable[name] != want {
			t.Errorf("%s is of --%s", name, byVariable[name])
		}
	}
}

func TestConfigCommands(t *testing.T) {
	path := configFile(t, "token: geheim\nserve:\n  origin: [https://a.example, https://b.example]\n  redis: redis://me:geheim@example:6379\n  jwks-url: https://example/keys?password=geheim\n")
	env := []string{"STREAMHUB_LISTEN=127.0.0.1:1", "STREAMHUB_CONFIG=" + path}
	show := callWith(t, env, "config", "show")
	for _, line := range []string{
		"  listen: '127.0.0.1:1' # environment $STREAMHUB_LISTEN\n", "  origin: 'https://a.example,https://b.example' # file\n",
		"  admin-listen: '127.0.0.1:9090' # default\n", "  redis: 'redis://me:xxxxx@example:6379' # file\n", "  jwks-url: 'https://example/keys?password=xxxxx' # file\n",
	} {
		if show.code != 0 || !strings.Contains(show.out, line) {
			t.Errorf("%s is missing in %+v", line, show)
		}
	}
	if r := callWith(t, env, "config", "show", "append"); !strings.Contains(r.out, "token: 'xxxxx' # file") || strings.Contains(r.out+show.out, "geheim") {
		t.Errorf("%+v", r)
	}
	if r := callWith(t, nil, "config", "show", "live", "read"); !strings.HasPrefix(r.out, "live:\n  read:\n    server: '' # default\n") {
		t.Errorf("%+v", r)
	}
	for _, group := range []string{"nothing", "live"} {
		if r := callWith(t, nil, "config", "show", group); r.code != exitUsage || !strings.Contains(r.err, group) || r.out != "" {
			t.Errorf("%+v", r)
		}
	}
	// What is shown can be read.
	if r := callWith(t, nil, "config", "check", "--config", configFile(t, show.out)); r.code != 0 || !strings.HasPrefix(r.out, "ok ") {
		t.Errorf("%+v", r)
	}
	if r := callWith(t, []string{"STREAMHUB_BATCH=x", "STREAMHUB_LISTN=1"}, "config", "check"); r.code != exitUsage || !strings.Contains(r.err, "--batch from $STREAMHUB_BATCH") || !strings.Contains(r.err, "$STREAMHUB_LISTN is the variable of no flag") {
		t.Errorf("%+v", r)
	}
}

// TestConfigCheckPlaces finds addresses that are none, of every flag for one.
func TestConfigCheckPlaces(t *testing.T) {
	for _, pair := range []string{
		"SERVER=127.0.0.1:8080", "SERVER=ws://", "SERVER=ws://a:x", "SERVER=ws://a:70000", "SERVER=ftp://a", "SERVER=ws://a,b",
		"REDIS_URL=127.0.0.1:6379", "REDIS_URL=http://a", "REDIS_URL=redis://a/b", "REDIS_URL=redis+sentinel://a",
		"LISTEN=8080", "LISTEN=127.0.0.1:", "LISTEN=127.0.0.1:70000", "ADMIN_LISTEN=nowhere",
	} {
		name, value, _ := strings.Cut("STREAMHUB_"+pair, "=")
		if r := callWith(t, []string{name + "=" + value}, "config", "check"); r.code != exitUsage || !strings.Contains(r.err, name) || r.out != "" {
			t.Errorf("%s: %+v", pair, r)
		}
	}
	r := callWith(t, []string{"STREAMHUB_SERVER=ws://me:geheim@a:x", "STREAMHUB_REDIS_URL=redis://me:geheim@a:x"}, "config", "check")
	if r.code != exitUsage || strings.Contains(r.err, "geheim") {
		t.Errorf("%+v", r)
	}
	for _, pair := range []string{"SERVER=wss://a,http://b:1/path", "REDIS_URL=unix:///run/redis.sock", "LISTEN=:0", "LISTEN=[::1]:http"} {
		if r := callWith(t, []string{"STREAMHUB_" + pair}, "config", "check"); r.code != 0 {
			t.Errorf("%s: %+v", pair, r)
		}
	}
	// What excludes each other is found where one source has both, and says nothing where one of them wins.
	both := configFile(t, "redis: redis://a\nserve:\n  data: d\n")
	for _, env := range [][]string{{"STREAMHUB_CONFIG=" + both}, {"STREAMHUB_REDIS_URL=redis://a", "STREAMHUB_DATA=d"}} {
		if r := callWith(t, env, "config", "check"); r.code != exitUsage || strings.Count(r.err, "--redis and --data exclude each other") != 1 {
			t.Errorf("%v: %+v", env, r)
		}
	}
	for _, env := range [][]string{{"STREAMHUB_CONFIG=" + both, "STREAMHUB_DATA=e"}, {"STREAMHUB_SERVER=ws://a", "STREAMHUB_REDIS_URL=redis://a"}} {
		if r := callWith(t, env, "config", "check"); r.code != 0 {
			t.Errorf("%v: %+v", env, r)
		}
	}
	// A broken file is for the commands that take something of it.
	for _, args := range [][]string{{"version"}, {"completion", "bash"}} {
		if r := callWith(t, []string{"STREAMHUB_CONFIG=/nowhere/at/all"}, args...); r.code != 0 {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestNoUselessFlags: a command lists no flag of a place that it does not look at.
func TestNoUselessFlags(t *testing.T) {
	for args, none := range map[string]string{
		"doctor": "server token store archive", "import": "server token archive", "archive run": "server token store",
		"top": "store archive", "instances": "store archive", "lease ls": "archive", "live ls": "archive", "workers": "archive",
		"subscriptions ls": "archive", "subscriptions show": "archive", "subscriptions rm": "archive",
	} {
		r := good(t, nil, append([]string{"help"}, strings.Fields(args)...)...)
		for flag := range strings.FieldsSeq(none) {
			if strings.Contains(r.out, " --"+flag+"=") {
				t.Errorf("%s lists --%s", args, flag)
			}
		}
	}
}

// TestUseless refuses flags that have no effect without another one.
func TestUseless(t *testing.T) {
	for args, needs := range map[string]string{
		"serve --archive-age 1m": "--archive", "serve --archive-idle 1m": "--archive", "serve --archive-hot-bytes 1MiB": "--archive", "serve --archive-keep 1": "--archive",
		"serve --redis-server x": "--data", "serve --redis-password-file x": "--redis", "serve --data d --redis-tls-ca x": "--redis",
		"ls --redis-tls-cert x": "--redis", "top --redis-tls-server-name x": "--redis", "append a/b --redis-tls-key x": "--redis",
	} {
		if r := callWith(t, nil, strings.Fields(args)...); r.code != exitUsage || !strings.Contains(r.err, "goes with "+needs+"\n") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// TestLogs reads the first line of the log in both forms.
func TestLogs(t *testing.T) {
	s := serve(t, "--log-format", "json", "--durability", "timeout=2s")
	until(t, "start line", func() bool { return strings.Contains(s.err.String(), "\n") })
	var line struct{ Msg, Version, Listen, Admin, Auth, Redis, Redis_because, Durability string }
	first, rest, _ := strings.Cut(s.err.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatalf("%v: %s", err, first)
	}
	if line.Msg != "starting" || line.Version == "" || "http://"+line.Listen != s.front || "http://"+line.Admin != s.admin || line.Auth != "none" ||
		!strings.HasPrefix(line.Redis, "embedded") || line.Redis_because == "" || line.Durability != "timeout=2s" {
		t.Errorf("%s", first)
	}
	if strings.Contains(rest, "Try") {
		t.Errorf("%s", rest)
	}
	server := testredis.Start(t, nil)
	p := start(t, []string{redisVariable + "=" + server.URL()}, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	p.line()
	until(t, "start line", func() bool {
		return strings.Contains(p.err.String(), "msg=starting") && strings.Contains(p.err.String(), "redis_because=STREAMHUB_REDIS_URL")
	})
}

package streamhub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed-147127fe/streamhub"

// row says what one package may import of this module, and what it must not link, not even through others. Names of
// this module are relative to it, "." is the vocabulary, which everybody may import, and "/..." stands for a tree.
type row struct {
	pkg     string
	imports []string
	avoids  []string
	why     string
}

// The heavy ones, each with all that lies below it.
const (
	redis     = "github.com/redis/go-redis/..."
	miniredis = "github.com/alicebob/miniredis/..."
	pebble    = "github.com/cockroachdb/pebble/..."
	azure     = "github.com/Azure/azure-sdk-for-go/..."
)

// shared is what every package may import: the vocabulary, and leaves for what each would otherwise do again.
var shared = []string{".", "internal/fault", "internal/lru", "internal/millis", "internal/option"}

// importTable is who may import whom. Of two rows that fit a package the first one counts; a package without a row
// fails the test, so that it is given one.
var importTable = []row{
	{pkg: ".", why: "everybody names an Entry, so the vocabulary must not bring anything along"},

	{pkg: "internal/hotlog/hotlogtest", imports: []string{"internal/hotlog", "internal/redisx", "internal/testredis"}, why: "it is the contract of the log"},
	{pkg: "internal/leasetest", imports: []string{"lease", "internal/redisx", "internal/testredis"}, why: "it is the contract of lease"},
	{pkg: "archive/archivetest", imports: []string{"archive"}, why: "it is the contract of archive"},
	{pkg: "internal/livestream/livetest", imports: []string{"live", "internal/livestream", "internal/hotlog", "internal/follow", "internal/redisx"}, why: "it is the contract of live"},
	{pkg: "client/providertest", avoids: []string{redis, miniredis}, why: "it is the contract of every provider"},
	{pkg: "wsgateway/streamkittest", avoids: []string{redis, miniredis}, why: "it judges a gateway from outside, and knows nothing of it"},

	{pkg: "internal/hotlog", imports: []string{"archive", "internal/redisx", "internal/pause", "internal/drain"}, why: "the log names archived frames by the types of the archive, and knows nothing of what stands on it"},
	{pkg: "internal/follow", imports: []string{"internal/hotlog", "internal/redisx", "internal/pause", "internal/drain"}, why: "a follower reads the log and knows its notices; an interface between the two would have one implementation"},
	{pkg: "store", imports: []string{"internal/hotlog", "internal/redisx"}, why: "it is the log for programs outside of this module"},
	{pkg: "subscribe", imports: []string{"internal/hotlog", "internal/follow", "internal/redisx"}, why: "it is the followers for programs outside of this module"},
	{pkg: "lease", imports: []string{"internal/redisx", "internal/pause"}, why: "the parts know nothing of each other: hub joins them"},
	{pkg: "archive/pebble", imports: []string{"archive", "internal/datadir"}, avoids: []string{redis, azure}, why: "a backend knows only the contract it fulfils"},
	{pkg: "archive/azure", imports: []string{"archive"}, avoids: []string{redis, pebble}, why: "a backend knows only the contract it fulfils"},
	{pkg: "archive/tier", imports: []string{"archive"}, avoids: []string{redis}, why: "it says what is archived, and links nothing that does it"},
	{pkg: "archive/...", imports: []string{"archive/..."}, why: "the parts know nothing of each other: hub joins them"},
	{pkg: "internal/archiver", imports: []string{"archive", "archive/tier", "internal/hotlog", "lease"}, why: "it moves history from the log into an archive, under a lease"},
	{pkg: "session", avoids: []string{redis, miniredis}, why: "clients link it, and they have no Redis"},

	{pkg: "live", avoids: []string{redis, miniredis}, why: "clients name live streams, and they have no Redis"},
	{pkg: "live/livehttp", imports: []string{"live", "internal/verdict", "internal/auth", "internal/httpstatus", "internal/query", "internal/sse", "internal/pause", "internal/drain"}, avoids: []string{redis}, why: "a transport speaks to live streams and to nothing below"},
	{pkg: "internal/livestream", imports: []string{"live", "internal/hotlog", "internal/follow", "internal/redisx", "internal/pause", "internal/verdict", "internal/drain"}, why: "a live stream is a segment with a lease and followers"},
	{pkg: "internal/port", imports: []string{"internal/hotlog", "internal/follow", "archive", "internal/archiver"}, why: "it names what hub offers to transports alone"},
	{pkg: "hub/hubtest", imports: []string{"hub", "client", "wsgateway", "internal/memredis", "internal/faultproxy", "internal/hotlog", "internal/redisx"}, why: "it lets a hub, a gateway and a client fail for tests of programs over them"},
	{pkg: "hub", imports: []string{"live", "lease", "archive", "archive/tier", "internal/archiver", "internal/follow", "internal/hotlog", "internal/livestream", "internal/port", "internal/redisx", "internal/instance"}, why: "it is glue, for transports that it does not know"},

	{pkg: "internal/dispatch", imports: []string{"hub", "live", "internal/verdict", "internal/port", "internal/wire", "internal/auth"}, why: "the one place where a request becomes a hub call"},
	{pkg: "wsgateway", imports: []string{"hub", "session", "internal/offset", "internal/port", "internal/dispatch", "internal/wire", "internal/auth", "internal/front"}, why: "a transport speaks to the hub and to nothing below"},
	{pkg: "durable", imports: []string{"hub", "internal/port", "internal/dispatch", "internal/wire", "internal/auth", "internal/httpstatus", "internal/query", "internal/sse", "internal/drain"}, why: "a transport speaks to the hub and to nothing below"},

	{
		pkg: "client", imports: []string{"session", "live", "internal/wire", "internal/pause", "internal/instance", "internal/verdict"},
		avoids: []string{redis, miniredis, "hub", "store", "internal/hotlog/..."},
		why:    "a program that only speaks to a gateway does not link the server",
	},
	{pkg: "client/streamkit/inprockit", imports: []string{"client/streamkit/api", "hub"}, why: "it reaches a hub in the same process, so it links the server"},
	{
		pkg: "client/streamkit/eskit", imports: []string{"client/streamkit/client", "eventsource/streamkit"},
		avoids: []string{redis, miniredis, "hub", "store", "internal/hotlog/..."},
		why:    "it keeps events over that client, in the envelope that eventsource reads",
	},
	{
		pkg: "client/streamkit/...", imports: []string{"client", "client/streamkit/...", "internal/pause", "internal/offset"},
		avoids: []string{redis, miniredis, "hub", "store", "internal/hotlog/..."},
		why:    "it is the client under other names, and does not link the server either",
	},
	{
		pkg: "eventsource", imports: []string{"client"},
		avoids: []string{redis, miniredis, "hub", "store", "internal/hotlog/..."},
		why:    "it works over the client alone",
	},
	{
		pkg: "eventsource/streamkit", imports: []string{"eventsource"},
		avoids: []string{redis, miniredis, "hub", "store", "internal/hotlog/..."},
		why:    "an envelope around events",
	},

	{pkg: "internal/verdict", imports: []string{"live"}, avoids: []string{redis, miniredis}, why: "producers in a process and over a gateway end alike"},
	{pkg: "internal/prose/...", imports: []string{"internal/prose"}, avoids: []string{redis, miniredis}, why: "a check of the text, run by make lint"},
	{pkg: "internal/fault", avoids: []string{redis, miniredis}, why: "clients link it"},
	{pkg: "internal/lru", avoids: []string{redis, miniredis}, why: "it keeps anything"},
	{pkg: "internal/option", avoids: []string{redis, miniredis}, why: "clients link it"},
	{pkg: "internal/millis", avoids: []string{redis, miniredis}, why: "the vocabulary imports it"},
	{pkg: "internal/datadir", avoids: []string{redis, miniredis}, why: "it looks at a directory"},
	{pkg: "internal/instance", avoids: []string{redis, miniredis}, why: "it names the process"},
	{pkg: "internal/pause", avoids: []string{redis, miniredis}, why: "it waits"},
	{pkg: "internal/drain", avoids: []string{redis, miniredis}, why: "it waits"},
	{pkg: "internal/httpstatus", avoids: []string{redis, miniredis}, why: "it is a table"},
	{pkg: "internal/httpstatus/httpstatustest", imports: []string{"internal/httpstatus"}, avoids: []string{redis, miniredis}, why: "it is the contract of what transports over HTTP answer"},
	{pkg: "internal/query", avoids: []string{redis, miniredis}, why: "it reads a URL"},
	{pkg: "internal/sse", avoids: []string{redis, miniredis}, why: "it writes bytes"},
	{pkg: "internal/redisbin", avoids: []string{redis, miniredis}, why: "it looks for a program"},
	{pkg: "internal/testredis", imports: []string{"internal/redisbin"}, why: "it starts servers for tests of any package"},
	{pkg: "internal/testazurite", avoids: []string{redis, miniredis, azure, pebble}, why: "it starts a program"},
	{pkg: "internal/memredis", imports: []string{"internal/redisx"}, why: "it is a server, and knows nothing of what is kept in it; its link makes scripts that it loses count as sent"},
	{pkg: "internal/offset", avoids: []string{redis, miniredis}, why: "a gateway and a client resolve alike"},
	{pkg: "internal/streamz", imports: []string{"internal/pause"}, avoids: []string{redis, miniredis}, why: "it speaks to a server of another system, and knows no hub"},
	{pkg: "internal/teststreamkit", avoids: []string{redis, miniredis}, why: "it is a server of another system, for tests"},
	{pkg: "internal/importer", imports: []string{"internal/pause", "internal/port", "internal/streamz"}, why: "it reads one system and writes to the other"},
	{pkg: "internal/faultproxy", avoids: []string{redis}, why: "it knows no protocol"},
	{pkg: "internal/redisx", imports: []string{"internal/redisx/...", "internal/pause"}, why: "the parts share it, so it knows none of them"},
	{pkg: "internal/wire", imports: []string{"live"}, avoids: []string{redis, miniredis}, why: "client links it"},
	{pkg: "internal/auth", avoids: []string{redis, miniredis}, why: "who somebody is does not depend on the hub"},

	{pkg: "server", imports: []string{"hub", "internal/port", "internal/redisx", "live", "live/livehttp", "durable", "wsgateway", "internal/front", "internal/auth", "internal/webclient", "internal/operate", "internal/openapi", "internal/console"}, why: "it assembles the transports and decides nothing of what they do"},
	{pkg: "internal/operate", imports: []string{"hub", "durable", "lease", "live", "archive", "internal/auth", "internal/doctor", "internal/httpstatus", "internal/instance", "internal/port", "internal/query", "internal/sse"}, why: "it asks the hub what operators ask, and nothing below"},
	{pkg: "internal/front", imports: []string{"internal/auth", "internal/httpstatus"}, avoids: []string{redis, miniredis}, why: "who may pass does not depend on the hub"},

	{pkg: "internal/doctor", imports: []string{"internal/redisx"}, why: "it looks at a Redis as a hub would, and knows nothing of what stands on one"},
	{pkg: "internal/console", imports: []string{"internal/auth"}, avoids: []string{redis, miniredis}, why: "it is a few files and a cookie"},
	{pkg: "internal/openapi", avoids: []string{redis, miniredis}, why: "it is a file"},
	{pkg: "internal/webclient", avoids: []string{redis, miniredis}, why: "it is a file"},

	{pkg: "cmd/...", imports: []string{"..."}, why: "the program wires everything"},
	{pkg: "integration/...", imports: []string{"..."}, why: "it tests everything together"},
	{pkg: "examples/...", imports: []string{"..."}, why: "they show everything"},
}

// onlyFrom lists what nobody may import but the packages named.
var onlyFrom = []struct {
	path string
	from []string
	why  string
}{
	{module + "/archive/pebble", []string{"cmd/...", "integration/...", "examples/..."}, "who uses the library links Pebble only on request"},
	{module + "/archive/azure", []string{"cmd/...", "integration/...", "examples/..."}, "who uses the library links the Azure SDK only on request"},
	{pebble, []string{"archive/pebble"}, "it is a backend's own"},
	{azure, []string{"archive/azure", "cmd/..."}, "it is a backend's own; the program holds the credentials"},
	{module + "/internal/testredis", []string{"internal/hotlog/hotlogtest", "internal/leasetest", "integration/..."}, "it is for tests"},
	{module + "/internal/faultproxy", []string{"hub/hubtest", "integration/..."}, "it is for tests"},
	{module + "/internal/memredis", []string{"hub/hubtest", "integration/..."}, "it is for tests"},
	{module + "/hub/hubtest", []string{"examples/..."}, "it is for tests"},
	{module + "/internal/teststreamkit", []string{"integration/..."}, "it is for tests"},
	{module + "/internal/testazurite", []string{"integration/..."}, "it is for tests"},
	{module + "/client/providertest", []string{"integration/..."}, "it is for tests"},
	{module + "/wsgateway/streamkittest", []string{"integration/..."}, "it is for tests"},
	{"testing", []string{"internal/hotlog/hotlogtest", "internal/leasetest", "archive/archivetest", "internal/livestream/livetest", "client/providertest", "wsgateway/streamkittest", "internal/httpstatus/httpstatustest", "internal/testredis", "internal/testazurite", "internal/teststreamkit", "integration/..."}, "package testing adds its flags to every program that links it"},
	{"go.uber.org/goleak", []string{"internal/testredis", "integration/..."}, "it is for tests"},
	{"github.com/stretchr/testify/...", []string{"internal/hotlog/hotlogtest", "internal/leasetest", "archive/archivetest", "internal/livestream/livetest", "client/providertest", "wsgateway/streamkittest", "internal/httpstatus/httpstatustest", "integration/..."}, "it is for tests"},
}

// listed is what go list says about a package without its tests.
type listed struct {
	ImportPath string
	Imports    []string // direct
	Deps       []string // with those of all imports
}

func TestImportTable(t *testing.T) {
	touch(t)
	// With -e a package that does not build is listed too; that is for other tests to notice.
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if !slices.ContainsFunc(pkgs, func(p listed) bool { return p.ImportPath == module }) {
		t.Fatalf("go list ./... does not name %s", module)
	}
	for _, violation := range violations(pkgs) {
		t.Error(violation)
	}
}

// touch opens every folder, because the test cache knows of what a test opens itself but not of what go list reads.
func touch(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "bin"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func violations(pkgs []listed) []string {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, p := range pkgs {
		name := relative(p.ImportPath)
		i := slices.IndexFunc(importTable, func(r row) bool { return matches(r.pkg, name) })
		if i < 0 {
			report("%s has no row in importTable: say what it may import, and why", name)
			continue
		}
		r := importTable[i]
		for _, path := range p.Imports {
			imported := relative(path)
			if ours(path) && !slices.Contains(shared, imported) && !matchesAny(r.imports, imported) {
				report("%s must not import %s: %s", name, imported, r.why)
			}
			if name == "." && !standard(path) && path != "github.com/google/uuid" && !slices.Contains(shared, imported) {
				report("package streamhub must not import %s: %s", path, r.why)
			}
			for _, o := range onlyFrom {
				if matches(o.path, path) && !matches(o.path, p.ImportPath) && !matchesAny(o.from, name) {
					report("%s must not import %s: %s", name, path, o.why)
				}
			}
		}
		for _, avoided := range r.avoids {
			linked := func(path string) bool { return matches(avoided, relative(path)) }
			if i := slices.IndexFunc(p.Deps, linked); i >= 0 {
				report("%s must not link %s: %s", name, p.Deps[i], r.why)
			}
		}
	}
	return found
}

// relative turns the path of a package of this module into its name here, and leaves others.
func relative(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// standard says whether the path is of the standard library, whose paths begin with a word without a dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	tree, isTree := strings.CutSuffix(pattern, "/...")
	return name == tree || isTree && strings.HasPrefix(name, tree+"/")
}

// TestImportTableNotices gives the table packages that break it, one rule each.
func TestImportTableNotices(t *testing.T) {
	for _, tc := range []struct {
		pkg           string
		imports, deps []string
		want          string // part of the one violation, or none
	}{
		{pkg: ".", imports: []string{"fmt", "encoding/json", "github.com/google/uuid"}},
		{pkg: ".", imports: []string{module + "/internal/millis"}},
		{pkg: ".", imports: []string{"github.com/redis/go-redis/v9"}, want: "package streamhub must not import"},
		{pkg: ".", imports: []string{module + "/store"}, want: "must not import store"},
		{pkg: "store", imports: []string{module, module + "/internal/redisx", "github.com/redis/go-redis/v9"}},
		{pkg: "store", imports: []string{module + "/lease"}, want: "must not import lease"},
		{pkg: "storefront", want: "no row"},
		{pkg: "lease", imports: []string{module + "/store"}, want: "must not import store"},
		{pkg: "internal/livestream", imports: []string{module + "/live", module + "/internal/hotlog", module + "/internal/follow"}},
		{pkg: "internal/livestream", imports: []string{module + "/hub"}, want: "must not import hub"},
		{pkg: "live", deps: []string{"github.com/redis/go-redis/v9"}, want: "must not link"},
		{pkg: "hub", imports: []string{module + "/internal/dispatch"}, want: "must not import internal/dispatch"},
		{pkg: "hub", imports: []string{module + "/archive/pebble"}, want: "must not import"},
		{pkg: "cmd/streamhub", imports: []string{module + "/archive/pebble", module + "/archive/azure", module + "/hub"}},
		{pkg: "cmd/streamhub", imports: []string{"github.com/cockroachdb/pebble/v2"}, want: "a backend's own"},
		{pkg: "archive/pebble", imports: []string{module + "/archive", "github.com/cockroachdb/pebble/v2/vfs"}},
		{pkg: "archive/azure", imports: []string{module + "/archive/pebble"}, want: "must not import"},
		{pkg: "wsgateway", imports: []string{module + "/store"}, want: "must not import store"},
		{pkg: "client", imports: []string{module, module + "/session", module + "/internal/wire"}, deps: []string{"net"}},
		{pkg: "client", deps: []string{"github.com/redis/go-redis/v9/internal/pool"}, want: "must not link github.com/redis"},
		{pkg: "client", deps: []string{module + "/hub"}, want: "must not link"},
		{pkg: "eventsource", deps: []string{module + "/internal/hotlog/hotlogtest"}, want: "must not link"},
		{pkg: "hub", imports: []string{"testing"}, want: "must not import testing"},
		{pkg: "internal/hotlog/hotlogtest", imports: []string{"testing", module + "/internal/hotlog"}},
		{pkg: "lease", imports: []string{module + "/internal/testredis"}, want: "must not import"},
	} {
		path := module + "/" + tc.pkg
		if tc.pkg == "." {
			path = module
		}
		got := strings.Join(violations([]listed{{ImportPath: path, Imports: tc.imports, Deps: tc.deps}}), "\n")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s importing %v, linking %v: %q, want %q", tc.pkg, tc.imports, tc.deps, got, tc.want)
		}
	}
}

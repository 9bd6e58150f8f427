package doctor

import (
	"io/fs"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// TestRuleIsWhole wants every command that a script of the hub uses in the rule for users, and tried
// by the probe.
func TestRuleIsWhole(t *testing.T) {
	call := regexp.MustCompile(`\bp?call\(\s*'([A-Za-z]+)'`)
	found := 0
	root := os.DirFS("../..")
	for _, dir := range []string{"internal/hotlog", "internal/follow", "internal/livestream", "lease"} {
		err := fs.WalkDir(root, dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".lua") {
				return err
			}
			text, err := fs.ReadFile(root, path)
			if err != nil {
				return err
			}
			for _, m := range call.FindAllStringSubmatch(string(text), -1) {
				found++
				if name := strings.ToLower(m[1]); !strings.Contains(redisx.UserRule+" ", "+"+name+" ") {
					t.Errorf("%s calls %s, which the rule does not allow", path, name)
				}
				if !strings.Contains(probe, "redis.call('"+strings.ToUpper(m[1])+"'") {
					t.Errorf("%s calls %s, which the probe does not try", path, m[1])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 20 {
		t.Errorf("found %d calls only", found)
	}
}

// TestGreeting asks servers that close a connection at once, and say why or do not.
func TestGreeting(t *testing.T) {
	for said, want := range map[string][2]string{
		"-DENIED Redis is running in protected mode. To connect, do one of many things.\r\n": {"protected mode", "protected-mode no"},
		"-ERR max number of clients reached\r\n":                                             {"max number of clients", "maxclients"},
		"":                                                                                   {"redis unavailable (down)", "where the URL says"},
	} {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				conn, err := server.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(said))
				_ = conn.Close()
			}
		})
		client := redis.NewClient(&redis.Options{Addr: server.Addr().String(), MaxRetries: -1})
		c := connection(t.Context(), client)
		if c.Level != Fail || !strings.Contains(c.Detail+"\n", want[0]) || !strings.Contains(c.Cure, want[1]) {
			t.Errorf("%q: %s", said, c)
		}
		_ = client.Close()
		_ = server.Close()
		serving.Wait()
	}
}

func TestCheckIsOneLine(t *testing.T) {
	c := Check{Fail, "name", "it\r\nsays\x1b[2J so", "cure it"}
	if got, want := c.String(), "fail  name  it says [2J so  → cure it"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]Level{
		"6.2.20": Fail, "7.0.15": Warn, "7.2.4": Warn, "7.2.11": OK, "7.4.6": OK, "8.0.2": Warn, "8.0.6": OK, "8.2.1": Warn, "8.4.0": OK, "": Warn,
	} {
		if got := version(t.Context(), &node{info: map[string]string{"redis_version": text}}); got.Level != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	for _, test := range []struct {
		field, version string
		want           Level
		says           string
	}{
		{"valkey_version", "7.2.10", Warn, "7.2.11"},
		{"valkey_version", "8.1.1", Warn, "Debian 13"},
		{"valkey_version", "8.1.4", OK, "Valkey 8.1.4"},
		{"valkey_version", "9.1.2", OK, "Valkey 9.1.2"},
		{"redict_version", "7.3.6", Warn, "Redict 7.3.6"},
		{"dragonfly_version", "df-v1.30.0", Fail, "Dragonfly 1.30.0"},
		{"mvcc_depth", "0", Fail, "KeyDB 7.2.4"},
	} {
		got := version(t.Context(), &node{info: map[string]string{"redis_version": "7.2.4", test.field: test.version}})
		if got.Level != test.want || !strings.Contains(got.String(), test.says) {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, test := range []struct {
		used, most, fragmentation string
		want                      Level
	}{
		{"1000", "0", "1.0", Warn},
		{"1000", "10000", "9.0", OK},
		{"8000", "10000", "1.0", Warn},
		{"9500", "10000", "1.0", Fail},
		{"100000000", "1000000000", "2.0", Warn},
		{"", "", "", Warn},
	} {
		n := &node{info: map[string]string{"used_memory": test.used, "maxmemory": test.most, "mem_fragmentation_ratio": test.fragmentation}}
		if got := memory(t.Context(), n); got.Level != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestTransport(t *testing.T) {
	for address, want := range map[string]Level{
		"redis://127.0.0.1:6379": OK, "redis://[::1]:6379": OK, "redis://localhost": OK, "unix:///tmp/s": OK,
		"rediss://far.example:6379": OK, "redis://far.example:6379": Warn, "rediss://far.example?skip_verify=true": Warn,
		"redis+cluster://127.0.0.1:1,10.0.0.1:2": Warn, "redis+cluster://127.0.0.1:1,127.0.0.2:2": OK,
		"redis+sentinel://far.example:1/main?tls=true": OK,
	} {
		if got := transport(address); got.Level != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

package testredis

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

// Options configures a server. The zero value keeps its data in memory only.
type Options struct {
	// AOF is the appendfsync policy of an append-only file: "always", "everysec" or "no". Empty: no such file, and a
	// restart loses everything.
	AOF string

	// Password is asked of every client. Empty: none.
	Password string

	// MaxMemory is the limit after which writes are refused, such as "16mb"; the policy is noeviction. Empty: no limit.
	MaxMemory string

	// Config holds further lines of the configuration file; they come last and so override everything above.
	Config []string
}

// Server is one Redis server, bound to the test that asked for it.
type Server struct {
	tb testing.TB
	n  *node
}

// Start starts a server that ends with the test; nil options mean the defaults.
func Start(tb testing.TB, opts *Options) *Server {
	tb.Helper()
	n, err := startServer(findBinary(tb), tb.TempDir(), opts, nil)
	if err != nil {
		tb.Fatalf("testredis: %v", err)
	}
	return own(tb, n)
}

// own binds a server to the test that is to end it.
func own(tb testing.TB, n *node) *Server {
	tb.Cleanup(func() {
		if err := n.kill(); err != nil {
			tb.Errorf("testredis: %v", err)
		}
		logOnFailure(tb, n)
	})
	return &Server{tb: tb, n: n}
}

func logOnFailure(tb testing.TB, n *node) {
	if tb.Failed() {
		tb.Logf("log of redis-server on %s:\n%s", n.addr(), n.log(0))
	}
}

// findBinary returns the path of the server program, or ends the test.
func findBinary(tb testing.TB) string {
	tb.Helper()
	path, err := redisbin.Find("")
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") != "", os.Getenv("STREAMHUB_REQUIRE_REDIS") != "", !errors.Is(err, redisbin.ErrNotInstalled):
		tb.Fatal(err)
	}
	tb.Skip(err)
	return ""
}

// startServer starts a server in a directory of its own below base, trying other ports as long as another process takes
// the one it chose. The lines of role make it a replica or a node of a Cluster.
func startServer(path, base string, opts *Options, role func(*node) ([]string, error)) (*node, error) {
	if opts == nil {
		opts = &Options{}
	}
	for range 20 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		n := &node{path: path, port: port, password: opts.Password}
		lines := serverLines(port, opts)
		if role != nil {
			more, err := role(n)
			if err != nil {
				return nil, err
			}
			lines = append(lines, more...)
		}
		n.config = strings.Join(append(lines, opts.Config...), "\n") + "\n"
		if n.dir, err = os.MkdirTemp(base, "redis-"); err != nil {
			return nil, err
		}
		if err = n.create(); err == nil {
			return n, nil
		}
		if !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("20 ports in a row: %w", errPortTaken)
}

func serverLines(port int, opts *Options) []string {
	lines := []string{
		fmt.Sprintf("port %d", port),
		"bind " + loopback,
		"daemonize no",
		`logfile ""`,
		`save ""`,
		"maxmemory-policy noeviction",
		"repl-diskless-sync-delay 0",
		// Valkey 9.1 otherwise notices up to a second after a download that it has ended; a Sentinel that gives a
		// server half a second takes the replica for dead meanwhile.
		"repl-diskless-load swapdb",
		"repl-ping-replica-period 1",
	}
	if opts.AOF != "" {
		lines = append(lines, "appendonly yes", "appendfsync "+opts.AOF)
	}
	if opts.Password != "" {
		lines = append(lines, fmt.Sprintf("requirepass %q", opts.Password), fmt.Sprintf("masterauth %q", opts.Password))
	}
	if opts.MaxMemory != "" {
		lines = append(lines, "maxmemory "+opts.MaxMemory)
	}
	return lines
}

// Addr is the server's host:port; it never changes.
func (s *Server) Addr() string { return s.n.addr() }

// URL is the redis:// form of Addr, with the password.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.n.addr(), Path: "/0"}
	if s.n.password != "" {
		u.User = url.UserPassword("", s.n.password)
	}
	return u.String()
}

// Client returns a new client with default options; it is closed when the test ends.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.n.addr(), Password: s.n.password, ContextTimeoutEnabled: true})
	closeAtEnd(s.tb, c)
	return c
}

// Dir is the directory that holds the server's data, such as its append-only file.
func (s *Server) Dir() string { return s.n.dataDir() }

// Config is the text of the configuration the server was first started with.
func (s *Server) Config() string { return s.n.config }

// Pid is the id of the running process, 0 if there is none.
func (s *Server) Pid() int { return s.n.pid() }

// Kill ends the process with SIGKILL and returns when it is gone. A server that does not run stays as it is.
func (s *Server) Kill() { s.must("kill", s.n.kill()) }

// KillAfter kills the server once its process has received so many bytes since it started, and reports true. It reports
// false if done is closed before. So a test breaks a large write in its middle, however fast the machine is.
func (s *Server) KillAfter(received int64, done <-chan struct{}) bool {
	s.tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.n.addr(), Password: s.n.password, ContextTimeoutEnabled: true})
	defer client.Close()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return false
		case <-s.tb.Context().Done():
			return false
		case <-ticker.C:
		}
		info, err := client.InfoMap(s.tb.Context(), "stats").Result()
		if err != nil {
			s.must("ask what was received", err)
			return false
		}
		n, err := strconv.ParseInt(info["Stats"]["total_net_input_bytes"], 10, 64)
		if err != nil {
			s.must("ask what was received", err)
			return false
		}
		if n >= received {
			s.Kill()
			return true
		}
	}
}

// Stop ends the process with SIGTERM, which flushes the append-only file, and returns when it is gone.
func (s *Server) Stop() { s.must("stop", s.n.stop()) }

// Restart stops the server if it runs and starts it on the same port with the same data. It returns when the data is
// loaded.
func (s *Server) Restart() { s.must("restart", s.n.restart(false)) }

// RestartEmpty kills the server if it runs, removes its data and starts it on the same port.
func (s *Server) RestartEmpty() { s.must("restart empty", s.n.restart(true)) }

// Pause stops the process with SIGSTOP: connections stay open and nothing answers.
func (s *Server) Pause() { s.must("pause", s.n.pause()) }

// Resume ends a Pause.
func (s *Server) Resume() { s.must("resume", s.n.resume()) }

// Log is the end of what the server has logged.
func (s *Server) Log() string { return s.n.log(0) }

func (s *Server) must(what string, err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Errorf("testredis: %s: %v", what, err)
	}
}

func closeAtEnd(tb testing.TB, c interface{ Close() error }) {
	tb.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			tb.Errorf("testredis: close client: %v", err)
		}
	})
}

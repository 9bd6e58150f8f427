//go:build conformance

// Package conformance runs the public conformance suite of Durable Streams against the program.
package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// tests is how many there are. Fewer would be a suite that was not found, or a group left out.
const tests = 338

func TestEmbedded(t *testing.T) { conform(t, serve(t).url) }

func TestRedis(t *testing.T) { conform(t, serve(t, "--redis", testredis.Shared(t).URL()).url) }

// TestTwoGateways sends every request to another gateway than the one before it.
func TestTwoGateways(t *testing.T) {
	redis := testredis.Shared(t).URL()
	var targets []*url.URL
	for range 2 {
		u, err := url.Parse(serve(t, "--redis", redis).url)
		require.NoError(t, err)
		targets = append(targets, u)
	}
	var turn atomic.Uint64
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(targets[turn.Add(1)%uint64(len(targets))])
		r.Out.Host = r.In.Host
	}}
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		if r.Context().Err() == nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	conform(t, server.URL)
	require.Greater(t, turn.Load(), uint64(tests))
}

// TestProducer has the official client write through gateways that are killed and started again in
// turn, and read back what it wrote.
func TestProducer(t *testing.T) {
	redis := testredis.Shared(t).URL()
	gateways := make([]atomic.Pointer[gateway], 2)
	for i := range gateways {
		gateways[i].Store(serve(t, "--redis", redis))
	}
	var turn, errors atomic.Uint64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to, err := url.Parse(gateways[turn.Add(1)%uint64(len(gateways))].Load().url)
		if err != nil {
			t.Error(err)
			return
		}
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		errors.Add(1)
		w.WriteHeader(http.StatusBadGateway) // the gateway is dead: the client tries again
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	name, count := "producer/"+uuid.NewString(), 10_000
	cmd := exec.CommandContext(ctx, "node", "producer.mjs", server.URL+"/v1/stream/"+name, strconv.Itoa(count))
	done := make(chan error, 1)
	var out []byte
	go func() {
		var err error
		out, err = cmd.CombinedOutput()
		done <- err
	}()
	kills := 0
	for tick := time.Tick(500 * time.Millisecond); ; {
		select {
		case <-tick:
			g := &gateways[kills%len(gateways)]
			kills++
			g.Load().kill()
			g.Store(serve(t, "--redis", redis))
			continue
		case err := <-done:
			require.NoError(t, err, "%s", out)
		}
		break
	}
	t.Logf("%s, %d kills, %d requests, %d of them without an answer", strings.TrimSpace(string(out)), kills, turn.Load(), errors.Load())
	require.Greater(t, kills, 2)
	require.Positive(t, errors.Load(), "the client met no dead gateway")

	// And byte for byte, through a gateway that has seen none of it.
	response, err := http.Get(serve(t, "--redis", redis).url + "/v1/stream/" + name)
	require.NoError(t, err)
	defer response.Body.Close()
	var messages []json.RawMessage
	require.NoError(t, json.NewDecoder(response.Body).Decode(&messages))
	require.Len(t, messages, count)
	for n, m := range messages {
		require.Equal(t, fmt.Sprintf(`{"n":%d,"text":"message %d ünï \"%s\""}`, n, n, strings.Repeat("x", n%50)), string(m))
	}
}

// program builds the program once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "streamhub")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "streamhub")
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/streamhub").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

type gateway struct {
	url string
	cmd *exec.Cmd
}

// kill leaves it no time for anything.
func (g *gateway) kill() {
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
}

// serve starts a gateway, which ends with the test.
func serve(t *testing.T, args ...string) *gateway {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	cmd := exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--long-poll-timeout", "500ms", "--log-level", "warn"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	return &gateway{url: strings.Fields(line)[1], cmd: cmd}
}

// conform runs the suite, subscriptions included.
func conform(t *testing.T, gateway string) {
	t.Helper()
	if _, err := os.Stat("node_modules"); err != nil {
		t.Fatal("the suite is not installed: make conformance installs it, which needs Node.js 20 and npm")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(ctx, "npx", "--no-install", "vitest", "run", "--reporter=json", "--outputFile="+file)
	cmd.Env = append(os.Environ(), "CONFORMANCE_URL="+gateway)
	out, failed := cmd.CombinedOutput()
	text, err := os.ReadFile(file)
	require.NoError(t, err, "%s", out)
	var report struct {
		Passed  int `json:"numPassedTests"`
		Total   int `json:"numTotalTests"`
		Results []struct {
			Tests []struct {
				Name     string   `json:"fullName"`
				Status   string   `json:"status"`
				Messages []string `json:"failureMessages"`
			} `json:"assertionResults"`
		} `json:"testResults"`
	}
	require.NoError(t, json.Unmarshal(text, &report))
	for _, file := range report.Results {
		for _, test := range file.Tests {
			if test.Status != "passed" {
				t.Errorf("%s: %s\n%s", test.Status, test.Name, strings.Join(test.Messages, "\n"))
			}
		}
	}
	t.Logf("%d of %d", report.Passed, report.Total)
	require.NoError(t, failed)
	require.Equal(t, tests, report.Passed)
	require.Equal(t, tests, report.Total)
}

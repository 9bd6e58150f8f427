//go:build faults && crowd

package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

const (
	hostileClients = 200
	// strangerMemory is by how much they may have a gateway grow.
	strangerMemory = 64 << 20
	// idleCPU is what an idle gateway may take of a core, more than before they came.
	idleCPU = 0.1
)

// A logCounter counts lines of a log, and keeps the last ones.
type logCounter struct {
	mu    sync.Mutex
	lines int
	last  []byte
}

func (c *logCounter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines += bytes.Count(p, []byte("\n"))
	c.last = append(c.last, p...)
	c.last = c.last[max(0, len(c.last)-4000):]
	return len(p), nil
}

func (c *logCounter) count() (int, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines, string(c.last)
}

// A guarded is a gateway process that asks for tokens.
type guarded struct {
	*gatewayProcess
	t      *testing.T
	secret string // the file
	log    logCounter
}

func startGuarded(t *testing.T, flags ...string) *guarded {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	g := &guarded{t: t, secret: filepath.Join(t.TempDir(), "secret")}
	require.NoError(t, os.WriteFile(g.secret, []byte(rand.Text()+rand.Text()), 0o600))
	g.gatewayProcess = startLogging(t, &g.log, testredis.Start(t, nil).URL(), append(flags, "--auth", "jwt", "--jwt-hmac-secret-file", g.secret)...)
	return g
}

// token makes one of a subject.
func (g *guarded) token(subject, scope string) string {
	g.t.Helper()
	path, err := program()
	require.NoError(g.t, err)
	out, err := exec.Command(path, "token", "mint", "--jwt-hmac-secret-file", g.secret, "--subject", subject, "--scope", scope).Output()
	require.NoError(g.t, err)
	return strings.TrimSpace(string(out))
}

// resident is the memory of the process, in bytes.
func (g *guarded) resident() int {
	n := rss(g.cmd.Process.Pid)
	require.NotZero(g.t, n)
	return int(n)
}

// cpu is the time that the process has taken.
func (g *guarded) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	require.NoError(g.t, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.Atoi(fields[11])
	require.NoError(g.t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(g.t, err)
	return time.Duration(user+system) * (time.Second / 100) // USER_HZ
}

// load is the part of a core that the process takes for a while.
func (g *guarded) load(during time.Duration) float64 {
	begin, before := time.Now(), g.cpu()
	require.True(g.t, pause.For(g.t.Context(), during))
	return float64(g.cpu()-before) / float64(time.Since(begin))
}

// TestCrowdOfStrangers has clients that never say who they are do the worst they can for a minute. The gateway
// does not grow, logs a line for each of them at most, and is idle a second after they have left.
func TestCrowdOfStrangers(t *testing.T) {
	for name, flags := range map[string][]string{"plain": nil, "TLS": {"--tls-self-signed"}} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, flags...)
			_, address, _ := strings.Cut(g.address, "://")
			w := start(t, "hostile", "strangers", hostileConfig{Address: address, TLS: flags != nil, Clients: hostileClients, For: time.Minute})
			idle := g.load(3 * time.Second)
			lines, _ := g.log.count()
			memory := g.resident()
			peak, busy := memory, g.cpu()
			w.tell("go")
			for left := false; !left; {
				select {
				case <-w.ended:
					left = true
				case <-time.After(50 * time.Millisecond):
				}
				peak = max(peak, g.resident())
			}
			busy = g.cpu() - busy
			w.wait(time.Second)
			require.True(t, pause.For(t.Context(), time.Second))
			after := g.load(2 * time.Second)
			now, last := g.log.count()
			t.Logf("%d clients: memory %d MiB, at most %d MiB; %d lines of log; CPU %v, of a core %.3f before and %.3f after",
				hostileClients, memory>>20, peak>>20, now-lines, busy, idle, after)
			require.LessOrEqual(t, peak-memory, strangerMemory)
			require.LessOrEqual(t, now-lines, hostileClients, "lines of log, the last ones are\n%s", last)
			require.LessOrEqual(t, after, idle+idleCPU)
			eventually(t, 10*time.Second, func(ctx context.Context) error {
				for _, metric := range []string{"streamhub_open_streams", "streamhub_gateway_connections", "streamhub_gateway_calls", "streamhub_followers"} {
					if n, err := g.metric(ctx, metric); err != nil || n != 0 {
						return fmt.Errorf("%s is %v: %v", metric, n, err)
					}
				}
				return nil
			})
		})
	}
}

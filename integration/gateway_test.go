//go:build faults

package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	sdk "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// program builds the program once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join("..", "bin"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "streamhub-test")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/streamhub").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return path, err
})

// A gatewayProcess is a running serve.
type gatewayProcess struct {
	cmd            *exec.Cmd
	address, admin string // ws://host:port and http://host:port
	once           sync.Once
}

// startGateway starts a gateway process on a Redis, with further flags.
func startGateway(t *testing.T, redis string, flags ...string) *gatewayProcess {
	t.Helper()
	return startLogging(t, nil, redis, flags...)
}

// startLogging is startGateway for a gateway whose log is wanted.
func startLogging(t *testing.T, log io.Writer, redis string, flags ...string) *gatewayProcess {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	flags = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", redis}, flags...)
	g := &gatewayProcess{cmd: exec.Command(path, flags...)}
	g.cmd.Stderr = log
	out, err := g.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, g.cmd.Start())
	t.Cleanup(g.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	fields := strings.Fields(line)
	g.address, g.admin = "ws"+strings.TrimPrefix(fields[1], "http"), fields[3]
	return g
}

// metric returns the sum of the series of a metric that have all of the labels, as the gateway tells them.
func (g *gatewayProcess) metric(ctx context.Context, name string, labels ...string) (sum float64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
series:
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue series
			}
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += value
	}
	return sum, nil
}

// kill ends the process with SIGKILL.
func (g *gatewayProcess) kill() {
	g.once.Do(func() {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
	})
}

func gatewayClient(t *testing.T, gateways ...string) *sdk.Client {
	t.Helper()
	p, err := sdk.NewWebSocketProvider(t.Context(), gateways, nil)
	require.NoError(t, err)
	c := sdk.New(p, &sdk.Options{Retry: &sdk.RetryPolicy{Attempts: 100, InitialDelay: 20 * time.Millisecond, MaxDelay: time.Second, Multiplier: 2}})
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
	return c
}

// TestGatewayKilledUnderConsumers has many consumers, each with a connection of its own, follow
// through one gateway while appenders go through it too. It is killed with -9, and all go on at the
// other one: every consumer sees every entry once, in order.
func TestGatewayKilledUnderConsumers(t *testing.T) {
	consumers, appends := pick(300, 1000), pick(200, 400)
	const appenders = 4
	ctx := within(t, 3*time.Minute)
	server := testredis.Start(t, nil)
	a, b := startGateway(t, server.URL()), startGateway(t, server.URL())
	id := uuid.New()
	total := appenders * appends

	var reading, done sync.WaitGroup
	var half atomic.Int64
	reading.Add(consumers)
	for n := range consumers {
		s := gatewayClient(t, a.address, b.address).Store(id)
		done.Go(func() {
			started := sync.OnceFunc(reading.Done)
			defer started()
			next := uint64(1)
			for e, err := range s.FollowSegment(ctx, "space", "seg", &streamhub.FollowOptions{Limit: uint64(total) + 1}) {
				if err != nil || e.Sequence != next {
					t.Errorf("consumer %d wants %d and gets %d: %v", n, next, e.Sequence, err)
					return
				}
				started()
				if next == uint64(total/2) {
					half.Add(1)
				}
				next++
			}
		})
	}
	first := gatewayClient(t, a.address).Store(id)
	_, err := first.Append(ctx, "space", "seg", []streamhub.Record{{Payload: []byte("first")}}, nil)
	require.NoError(t, err)
	reading.Wait()

	var writing sync.WaitGroup
	killed := make(chan struct{})
	for w := range appenders {
		s := gatewayClient(t, a.address, b.address).Store(id)
		writing.Go(func() {
			for i := range appends {
				if i == appends/2 {
					<-killed
				}
				if _, err := s.Append(ctx, "space", "seg", []streamhub.Record{{Payload: fmt.Appendf(nil, "%d-%d", w, i)}}, nil); err != nil {
					t.Errorf("append %d-%d: %v", w, i, err)
					return
				}
			}
		})
	}
	time.AfterFunc(100*time.Millisecond, func() {
		a.kill()
		close(killed)
	})
	writing.Wait()
	began := time.Now()
	done.Wait()
	t.Logf("%d consumers saw %d entries each; the last one %v after the last append", consumers, total+1, time.Since(began).Round(time.Millisecond))

	seen := map[string]bool{}
	for e, err := range gatewayClient(t, b.address).Store(id).ConsumeSegment(ctx, "space", "seg", nil) {
		require.NoError(t, err)
		require.False(t, seen[string(e.Payload)], "%s is stored twice", e.Payload)
		seen[string(e.Payload)] = true
	}
	require.Len(t, seen, total+1)
}

// TestPresenceAndLeasesAcrossGateways uses what belongs to a store through two gateways.
func TestPresenceAndLeasesAcrossGateways(t *testing.T) {
	ctx := within(t, time.Minute)
	server := testredis.Start(t, nil)
	a, b := startGateway(t, server.URL()), startGateway(t, server.URL())
	id, worker := uuid.New(), uuid.New()
	lists := make(chan int, 100)
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for workers, err := range gatewayClient(t, a.address).Store(id).Workers(watching) {
			if err == nil {
				lists <- len(workers)
			}
		}
	})
	until := func(n int) {
		t.Helper()
		for {
			select {
			case got := <-lists:
				if got == n {
					return
				}
			case <-ctx.Done():
				t.Fatalf("the list never had %d workers", n)
			}
		}
	}
	until(0)
	m, err := gatewayClient(t, b.address, a.address).Store(id).JoinWorkers(ctx, streamhub.Worker{ID: worker}, 5*time.Second)
	require.NoError(t, err)
	until(1)

	mine := gatewayClient(t, b.address).Store(id)
	err = mine.WithLease(ctx, "key", 5*time.Second, 0, func(ctx context.Context, token uint64) error {
		_, err := gatewayClient(t, a.address).Store(id).AcquireLeaseAs(ctx, "key", "other", time.Second)
		require.ErrorIs(t, err, streamhub.ErrLeaseNotAcquired)
		_, err = mine.Append(ctx, "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, &streamhub.AppendOptions{Generation: token})
		require.NoError(t, err)
		b.kill()
		<-ctx.Done() // nobody can say any more that the lease is held
		require.ErrorIs(t, context.Cause(ctx), streamhub.ErrLeaseLost)
		return nil
	})
	require.ErrorIs(t, err, streamhub.ErrLeaseLost)
	token, err := gatewayClient(t, a.address).Store(id).AcquireLeaseAs(ctx, "key", "other", time.Minute)
	for err != nil {
		var held *streamhub.LeaseHeldError
		require.ErrorAs(t, err, &held)
		<-time.After(held.Left) // its ttl ends by itself
		token, err = gatewayClient(t, a.address).Store(id).AcquireLeaseAs(ctx, "key", "other", time.Minute)
	}
	require.NotZero(t, token)
	require.NoError(t, m.Err(), "the worker has joined again at the other gateway")
	require.NoError(t, m.Leave(ctx))
	until(0)
	stop()
	watcher.Wait()
}

// TestSlowHandler reads a long segment with a handler that takes its time.
func TestSlowHandler(t *testing.T) {
	const entries = 100_000
	ctx := within(t, 3*time.Minute)
	server := testredis.Start(t, nil)
	g := startGateway(t, server.URL())
	s := gatewayClient(t, g.address).Store(uuid.New())
	batch := make([]streamhub.Record, 10_000)
	for i := range batch {
		batch[i].Payload = []byte("a small record")
	}
	for range entries / len(batch) {
		_, err := s.Append(ctx, "space", "seg", batch, nil)
		require.NoError(t, err)
	}
	next := uint64(1)
	for e, err := range s.ConsumeSegment(ctx, "space", "seg", nil) {
		require.NoError(t, err)
		require.Equal(t, next, e.Sequence)
		next++
		for began := time.Now(); time.Since(began) < 300*time.Microsecond; {
		}
	}
	require.EqualValues(t, entries+1, next)
}

//go:build faults && crowd

package integration

import (
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	sdk "github.com/seed-147127fe/streamhub/client"
)

// TestCrowdOfOneTenant has the clients of one tenant do the same with a token, on one core. It gets no more than its
// limits. What another tenant appends is delivered, and how late that was is logged: no bound on it holds yet.
func TestCrowdOfOneTenant(t *testing.T) {
	g := startGuarded(t)
	_, address, _ := strings.Cut(g.address, "://")
	other := uuid.New()
	token := g.token("other", "streamkit::"+other.String())
	p, err := sdk.NewWebSocketProvider(t.Context(), []string{g.address}, &sdk.WebSocketOptions{Token: func(context.Context) (string, error) { return token, nil }})
	require.NoError(t, err)
	defer p.Close()
	c := sdk.New(p, nil)
	defer c.Close()
	s := c.Store(other)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	arrived := make(chan uint64, 1)
	var following sync.WaitGroup
	defer following.Wait()
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	following.Go(func() {
		for e, err := range s.FollowSegment(ctx, "space", "seg", nil) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("the other tenant's reader ended: %v", err)
				}
				return
			}
			select {
			case arrived <- e.Sequence:
			case <-ctx.Done():
				return
			}
		}
	})
	// deliver appends and waits until the reader has it, again and again, and returns the 99th of a hundred.
	deliver := func(until <-chan struct{}) time.Duration {
		t.Helper()
		var took []time.Duration
		for {
			begin := time.Now()
			_, err := s.Append(ctx, "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
			require.NoError(t, err)
			select {
			case <-arrived:
			case <-time.After(time.Minute):
				t.Fatal("the other tenant's reader hears nothing")
			}
			took = append(took, time.Since(begin))
			select {
			case <-until:
				slices.Sort(took)
				t.Logf("%d deliveries: half in %v, 99 of 100 in %v, the slowest %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
				return took[len(took)*99/100]
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	quiet, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	idle := deliver(quiet.Done())

	w := start(t, "hostile", "tenant", hostileConfig{Address: address, Token: g.token("hostile", "streamkit::"+uuid.NewString()), Clients: hostileClients, For: 15 * time.Second})
	out, err := exec.Command("taskset", "-a", "-p", "-c", "0", strconv.Itoa(w.cmd.Process.Pid)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	memory := g.resident()
	peak, connections := memory, 0.0
	done := make(chan struct{})
	following.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Millisecond):
			}
			peak = max(peak, g.resident())
			if n, err := g.metric(ctx, "streamhub_gateway_connections"); err == nil {
				connections = max(connections, n)
			}
		}
	})
	w.tell("go")
	attacked := deliver(w.ended)
	close(done)
	w.wait(time.Second)
	leave()
	following.Wait()
	t.Logf("memory %d MiB, at most %d MiB; at most %v connections", memory>>20, peak>>20, connections)
	t.Logf("p99 %v idle, %v attacked", idle, attacked)
	require.LessOrEqual(t, connections, 101.0, "100 of a subject, and that of the other")
	require.LessOrEqual(t, peak-memory, 512<<20)
}

//go:build faults

package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

var replicated = streamhub.Durability{Replicas: 1, Timeout: 200 * time.Millisecond}

// TestReplicated shows what replicated(1) is: the script and WAIT on one connection, and an error
// that says so where the replica does not answer, with the result, because it is written.
func TestReplicated(t *testing.T) {
	p := startPair(t, seedOf(t))
	patient := streamhub.Durability{Replicas: 1, Timeout: time.Minute}
	s := open(t, p.client(t), &hub.Options{Durability: patient}).Store(testStore)
	ctx := within(t, time.Minute)
	one := []streamhub.Record{{Payload: []byte("x")}}
	_, err := s.Append(ctx, "warm", "up", one, nil)
	for errors.Is(err, streamhub.ErrNotConfirmed) && pause.For(ctx, 10*time.Millisecond) { // the replica does not count yet
		_, err = s.Append(ctx, "warm", "up", one, nil)
	}
	require.NoError(t, err)
	_, err = s.Append(ctx, "space", "segment", one, nil)
	require.NoError(t, err)

	lines := monitor(t, p.master.Addr())
	for range 50 {
		_, err := s.Append(ctx, "space", "segment", one, nil)
		require.NoError(t, err)
	}
	waits := 0
	last := map[string]string{} // the command before, by connection
	for waits < 50 {
		var line string
		select {
		case line = <-lines:
		case <-ctx.Done():
			t.Fatalf("%d of 50 WAITs seen", waits)
		}
		from, command, ok := parseMonitor(line)
		if !ok {
			continue
		}
		if command == "wait" {
			waits++
			require.Equal(t, "evalsha", last[from], "WAIT on a connection whose last command was another")
		}
		last[from] = command
	}

	p.replica.Pause()
	begin := time.Now()
	r, err := s.Append(ctx, "space", "segment", one, &streamhub.AppendOptions{Durability: &replicated})
	require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
	require.EqualValues(t, 52, r.Last)
	require.Less(t, time.Since(begin), 30*time.Second, "as long as this call waits, not as long as the hub does")
	p.replica.Resume()
	_, err = s.Append(ctx, "space", "segment", one, nil)
	require.NoError(t, err)
}

// monitor returns what the server runs.
func monitor(t *testing.T, addr string) <-chan string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = io.WriteString(conn, "MONITOR\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	lines := make(chan string, 1<<16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return lines
}

// parseMonitor reads `+<time> [<db> <address>] "<command>" …`; what scripts do is left out.
func parseMonitor(line string) (from, command string, ok bool) {
	_, rest, ok := strings.Cut(line, " [")
	if !ok {
		return "", "", false
	}
	from, rest, _ = strings.Cut(rest, "] ")
	command, _, _ = strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
	return from, strings.ToLower(command), !strings.HasSuffix(from, " lua")
}

// TestReplicatedFailover lets the replica fall behind and then takes its place, under load. What
// replicated(1) acknowledged is there; what it called not confirmed may be gone.
func TestReplicatedFailover(t *testing.T) {
	seed := seedOf(t)
	for round := range pick(3, 50) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			report := replicatedFailover(t, startPair(t, seed+uint64(round)), seed+uint64(round))
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			t.Log(report)
		})
	}
}

func replicatedFailover(t *testing.T, p *pair, seed uint64, hooks ...redis.Hook) *history.Report {
	t.Helper()
	r := random(seed, 1<<32)
	// The durability is that of the hub, so that no client has one of its own.
	var writers []*hub.Hub
	for range 3 {
		writers = append(writers, open(t, p.client(t, hooks...), &hub.Options{Durability: replicated}))
	}
	l := startLoad(t, seed, writers, nil, []string{"space"}, loadOptions{PerHub: 3, Ops: 1200, Pause: 6 * time.Millisecond, Losing: true})
	l.acked(minTraffic, 20*time.Second, "before the failover")
	lag := time.Duration(100+r.IntN(900)) * time.Millisecond
	l.note("the replica falls behind, for %v", lag)
	p.lag()
	require.True(t, pause.For(t.Context(), lag))
	l.note("failover")
	p.promote(seed)
	l.note("all is whole")
	l.acked(minTraffic, 20*time.Second, "after the failover")
	s := open(t, p.client(t), nil).Store(testStore)
	l.settle(s, 10*time.Second)
	logs := sealed(t, s, l)
	losses := map[string][]history.Loss{}
	for i := range logs {
		losses[logs[i].Key()] = history.LossesOf(&logs[i], zero, true)
	}
	return history.Check(l.rec.History(), logs, &history.Options{Seed: seed, Schedule: l.schedule, Losses: losses})
}

// sealed writes to every segment once more, so that a reign under which nothing was written shows,
// and reads the logs.
func sealed(t *testing.T, s *hub.Store, l *load) []history.Log {
	t.Helper()
	c := l.rec.Client("sealer", s)
	for _, at := range l.places {
		status, err := s.Status(t.Context(), at.space, at.segment)
		if errors.Is(err, streamhub.ErrNotFound) {
			continue
		}
		require.NoError(t, err)
		if status.State == streamhub.StateOpen {
			_, err = c.Append(t.Context(), at.space, at.segment, []streamhub.Record{{Payload: []byte("seal")}},
				&streamhub.AppendOptions{Generation: status.Generation})
			require.NoError(t, err, "seal %s", at.key())
		}
	}
	return readLogs(t, s, l.places)
}

//go:build faults

package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// The tests of this file plant bugs, from outside, and fail unless the checker finds them. Each
// runs the same thing without its bug too, so that it is the bug that is found.

// A mutant is a hook that replaces parts of a script on its way to the server.
type mutant struct {
	passThrough
	marker   string // a text of the script that is meant
	replaces map[string]string

	mu      sync.Mutex
	shas    map[string]string
	misfits []string
}

// passThrough is a hook that does nothing.
type passThrough struct{}

func (passThrough) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (passThrough) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (passThrough) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (m *mutant) change(cmd redis.Cmder) {
	args := cmd.Args()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(args) == 3 && args[0] == "script" && args[1] == "load":
		text := args[2].(string)
		if !strings.Contains(text, m.marker) {
			return
		}
		old := sha1.Sum([]byte(text))
		for from, to := range m.replaces {
			if !strings.Contains(text, from) {
				m.misfits = append(m.misfits, from)
			}
			text = strings.ReplaceAll(text, from, to)
		}
		changed := sha1.Sum([]byte(text))
		m.shas[hex.EncodeToString(old[:])] = hex.EncodeToString(changed[:])
		args[2] = text
	case len(args) > 1 && args[0] == "evalsha":
		if sha, ok := m.shas[args[1].(string)]; ok {
			args[1] = sha
		}
	}
}

func (m *mutant) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		m.change(cmd)
		return next(ctx, cmd)
	}
}

func (m *mutant) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			m.change(cmd)
		}
		return next(ctx, cmds)
	}
}

// TestPlantedNoRepeatCheck takes the check for repeats out of the append script. Appends whose
// reply was cut are then stored twice.
func TestPlantedNoRepeatCheck(t *testing.T) {
	for _, planted := range []bool{false, true} {
		t.Run(fmt.Sprintf("planted=%v", planted), func(t *testing.T) {
			seed := seedOf(t)
			server := testredis.Start(t, nil)
			r := newRelay(t, seed, faultproxy.Faults{}, server)
			c := r.through(t, server.URL())
			m := &mutant{
				marker: "-- append adds frames",
				replaces: map[string]string{
					"local head, mine = facts[1], facts[2]": "local head, mine = facts[1], false",
					"if tonumber(seq) ~= want then":         "if false then",
				},
				shas: map[string]string{},
			}
			if planted {
				c.AddHook(m)
			}
			s := open(t, c, nil).Store(testStore)
			r.set(faultproxy.Faults{CutReply: 0.05})
			rec := history.NewRecorder(clock)
			client, random := rec.Client("writer", s), random(seed, 0)
			for range 500 {
				_, _ = client.Append(t.Context(), "space", "segment", records(random, 1), nil)
			}
			r.set(faultproxy.Faults{})
			require.NotZero(t, r.counters().CutReplies)
			require.Empty(t, m.misfits, "the script has changed, so the bug is not planted")
			report := history.Check(rec.History(), readLogs(t, s, []place{{"space", "segment"}}), &history.Options{Seed: seed})
			red(t, planted, "stored twice", report)
		})
	}
}

// red judges what the checker said of a run with or without its planted bug.
func red(t *testing.T, planted bool, kind string, report *history.Report) {
	t.Helper()
	switch {
	case !planted:
		require.NoError(t, report.Err())
	case !report.Has(kind):
		t.Fatalf("the planted bug was not found: %v", report)
	default:
		v := report.Violations[0]
		t.Logf("found among %d violations: %v", len(report.Violations)+report.Dropped, &v)
	}
}

// A straying is a hook that sends WAIT over another connection than the script before it.
type straying struct {
	passThrough
	address func() string
}

func (s *straying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var kept, waits []redis.Cmder
		for _, cmd := range cmds {
			if cmd.Name() == "wait" {
				waits = append(waits, cmd)
			} else {
				kept = append(kept, cmd)
			}
		}
		err := next(ctx, kept)
		for _, cmd := range waits {
			value, failed := s.wait(ctx, cmd.Args())
			if failed != nil {
				cmd.SetErr(failed)
			} else {
				cmd.(*redis.Cmd).SetVal(value)
			}
		}
		return err
	}
}

// wait asks on a connection that has seen no command before: one that has asks for what had been
// written by then, which is what makes the bug hide so well in a pool.
func (s *straying) wait(ctx context.Context, args []any) (int64, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.address())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "WAIT %v %v\r\n", args[1], args[2]); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, ":")), 10, 64)
}

// TestPlantedWaitElsewhere sends WAIT over another connection. It then confirms what no replica
// has, and a failover takes it.
func TestPlantedWaitElsewhere(t *testing.T) {
	for _, planted := range []bool{false, true} {
		t.Run(fmt.Sprintf("planted=%v", planted), func(t *testing.T) {
			seed := seedOf(t)
			p := startPair(t, seed)
			var hooks []redis.Hook
			if planted {
				hooks = append(hooks, &straying{address: p.address})
			}
			red(t, planted, "acknowledged, yet gone", replicatedFailover(t, p, seed, hooks...))
		})
	}
}

// TestPlantedNoRecheck leaves the re-check out while notifications get lost. Followers then stay
// after.
func TestPlantedNoRecheck(t *testing.T) {
	for _, planted := range []bool{false, true} {
		t.Run(fmt.Sprintf("planted=%v", planted), func(t *testing.T) {
			seed := seedOf(t)
			server := testredis.Start(t, nil)
			writer := open(t, client(t, server.URL()), nil).Store(testStore)
			r := newRelay(t, seed, faultproxy.Faults{}, server)
			swallowed := make(chan struct{}, 1<<10)
			r.wrap = func(c net.Conn) net.Conn { return newDeaf(c, swallowed) }
			recheck := 300 * time.Millisecond
			if planted {
				recheck = time.Hour
			}
			reader := open(t, r.through(t, server.URL()), &hub.Options{Recheck: recheck}).Store(testStore)
			rec := history.NewRecorder(clock)
			c := rec.Client("writer", writer)
			at := place{"space", "segment"}
			fill(t, c, at, 1)
			ctx, cancel := context.WithCancel(t.Context())
			f, wait := history.Start("follower", at.space, at.segment, 1, reader.FollowSegment(ctx, at.space, at.segment, nil), clock, nil)
			require.NoError(t, f.Wait(within(t, 10*time.Second), 1))
			fill(t, c, at, 50)
			limit, stop := context.WithTimeout(ctx, 3*time.Second)
			_ = f.Wait(limit, 51)
			stop()
			cancel()
			wait()
			require.NotEmpty(t, swallowed, "no notification was lost")
			session := f.Session()
			session.Reach = 51
			report := history.Check(rec.History(), readLogs(t, writer, []place{at}), &history.Options{Seed: seed, Sessions: []history.Session{session}})
			red(t, planted, "behind", report)
		})
	}
}

// A deaf is a connection that never hears a published message. Everything else arrives.
type deaf struct {
	net.Conn
	in        *bufio.Reader
	ready     bytes.Buffer
	swallowed chan<- struct{}
}

func newDeaf(c net.Conn, swallowed chan<- struct{}) *deaf {
	return &deaf{Conn: c, in: bufio.NewReader(c), swallowed: swallowed}
}

func (d *deaf) Read(p []byte) (int, error) {
	for d.ready.Len() == 0 {
		first, err := d.value()
		if err != nil {
			return 0, err
		}
		if first == "message" {
			d.ready.Reset()
			select {
			case d.swallowed <- struct{}{}:
			default:
			}
		}
	}
	return d.ready.Read(p)
}

// value copies one value of the protocol and returns the text of its first bulk string, if it
// is an array.
func (d *deaf) value() (first string, err error) {
	line, err := d.in.ReadString('\n')
	d.ready.WriteString(line)
	if err != nil || len(line) < 3 {
		return "", err
	}
	size, _ := strconv.Atoi(strings.TrimSpace(line[1:])) // of other types it is no number
	switch line[0] {
	case '$', '=', '!':
		if size < 0 {
			return "", nil
		}
		body := make([]byte, size+2)
		_, err = io.ReadFull(d.in, body)
		d.ready.Write(body)
		return string(body[:size]), err
	case '%', '|':
		size *= 2
		fallthrough
	case '*', '~', '>':
		for i := range max(size, 0) {
			text, err := d.value()
			if err != nil {
				return "", err
			}
			if i == 0 {
				first = text
			}
		}
	}
	return first, nil
}

//go:build faults

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestKillProcesses kills and freezes the processes that append and those that follow, in the
// middle of what they do, and puts others in their place, which go on where a cursor says.
func TestKillProcesses(t *testing.T) {
	const writers = 3
	seed := seedOf(t)
	r := random(seed, 0)
	server := testredis.Start(t, nil)
	h := open(t, client(t, server.URL()), nil).Store(testStore)
	at := place{"space", "segment"}
	var all []*worker
	writer := func() *worker {
		n := len(all)
		w := start(t, "append", fmt.Sprintf("writer %d", n), appendConfig{
			base:  base{URL: server.URL(), Store: testStore, Name: fmt.Sprintf("writer %d", n), Seed: seed + uint64(n)},
			Space: at.space, Segment: at.segment, Goroutines: 4, Pause: 8 * time.Millisecond, Expect: n%2 == 0,
		})
		w.tell("go")
		all = append(all, w)
		return w
	}
	follower := func(n int, from uint64, cursor streamhub.Cursor) *worker {
		return start(t, "follow", fmt.Sprintf("follower %d", n), followConfig{
			base:  base{URL: server.URL(), Store: testStore, Name: fmt.Sprintf("follower %d", n)},
			Space: at.space, Segment: at.segment, From: from, Cursor: cursor,
		})
	}
	reach := func(sequence uint64) {
		t.Helper()
		eventually(t, 20*time.Second, func(ctx context.Context) error {
			s, err := h.Status(ctx, at.space, at.segment)
			if err == nil && s.LastSequence < sequence {
				err = fmt.Errorf("the segment is at %d, not at %d", s.LastSequence, sequence)
			}
			return err
		})
	}
	last := func() uint64 {
		s, err := h.Status(t.Context(), at.space, at.segment)
		require.NoError(t, err)
		return s.LastSequence
	}
	var sessions []history.Session
	running := make([]*worker, writers)
	for i := range running {
		running[i] = writer()
	}
	f := follower(0, 1, "")
	next := uint64(1)
	reach(minTraffic)
	for round := range pick(4, 12) {
		i := r.IntN(writers)
		switch round % 2 {
		case 0:
			running[i].kill()
			running[i] = writer()
		default:
			running[i].pause()
			pause.For(t.Context(), time.Duration(r.IntN(1500))*time.Millisecond)
			running[i].resume()
		}
		reach(last() + 50)
		f.kill()
		session, cursor := f.session(at, next)
		sessions = append(sessions, session)
		next += uint64(len(session.Seen))
		f = follower(round+1, next, cursor)
	}
	reach(last() + minTraffic)
	var ops []history.Op
	for _, w := range running {
		w.stop()
	}
	for _, w := range all {
		ops = append(ops, w.ops()...)
	}
	end := last()
	for seen := next - 1; seen < end; {
		var line followLine
		f.next(&line)
		require.Nil(t, line.Ended, "the follower ended: %v", line.Ended)
		seen = line.Seen.Sequence
	}
	f.kill()
	session, _ := f.session(at, next)
	session.Reach = end
	sessions = append(sessions, session)
	// How much the writers get done is up to the machine.
	check(t, ops, h, []place{at}, history.Options{Seed: seed, Sessions: sessions, MaxOps: 100_000})
}

// session returns what a follower that was killed had got, and the cursor after that.
func (w *worker) session(at place, from uint64) (history.Session, streamhub.Cursor) {
	w.t.Helper()
	s := history.Session{Follower: w.name, Space: at.space, Segment: at.segment, From: from}
	var cursor streamhub.Cursor
	if from > 1 { // its predecessor's, if it got nothing
		var c followConfig
		require.NoError(w.t, json.Unmarshal([]byte(w.config), &c))
		cursor = c.Cursor
	}
	for line := range bytes.Lines(w.written()) {
		var l followLine
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it was killed in the middle of the line
		}
		require.NoError(w.t, json.Unmarshal(line, &l))
		if l.Seen != nil {
			s.Seen = append(s.Seen, *l.Seen)
			cursor = l.Cursor
		}
	}
	return s, cursor
}

//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A bookmark is a position in a segment, as somebody who left keeps it.
type bookmark struct {
	place
	sequence uint64
	cursor   streamhub.Cursor
}

// fill appends n entries one by one and returns the bookmarks after each.
func fill(t *testing.T, c *history.Client, at place, n int) []bookmark {
	t.Helper()
	var marks []bookmark
	for range n {
		r, err := c.Append(t.Context(), at.space, at.segment, []streamhub.Record{{Payload: fmt.Append(nil, len(marks))}}, nil)
		require.NoError(t, err)
		marks = append(marks, bookmark{at, r.Last, r.Cursor()})
	}
	return marks
}

// resume reads after a bookmark and returns what it got and the error.
func resume(ctx context.Context, s *hub.Store, b bookmark) (n int, err error) {
	for _, err := range s.ConsumeSegment(ctx, b.space, b.segment, &streamhub.ReadOptions{Cursor: b.cursor}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// resumeFollowing follows after a bookmark until something comes, and returns its sequence or
// the error.
func resumeFollowing(ctx context.Context, s *hub.Store, b bookmark) (uint64, error) {
	for e, err := range s.FollowSegment(ctx, b.space, b.segment, &streamhub.FollowOptions{Cursor: b.cursor}) {
		return e.Sequence, err
	}
	return 0, errors.New("the follower ended without an error")
}

// TestRestartEmpty loses everything. Everybody who had seen something is told so, on every way: an
// old cursor, an appender that was at work, a follower that was following.
func TestRestartEmpty(t *testing.T) {
	for _, how := range []string{"empty restart", "flushall", "regrown"} {
		t.Run(how, func(t *testing.T) {
			server := testredis.Start(t, nil)
			writer := open(t, client(t, server.URL()), nil).Store(testStore)
			reader := open(t, client(t, server.URL()), &hub.Options{Recheck: time.Second}).Store(testStore)
			rec := history.NewRecorder(clock)
			at := place{"space", "segment"}
			marks := fill(t, rec.Client("writer", writer), at, 20)

			f, wait := history.Start("follower", at.space, at.segment, 1, reader.FollowSegment(t.Context(), at.space, at.segment, nil), clock, nil)
			require.NoError(t, f.Wait(within(t, 10*time.Second), 20))
			produced := &streamhub.Producer{ID: "p"}
			_, err := writer.Append(t.Context(), at.space, "produced", []streamhub.Record{{Payload: []byte("0")}}, &streamhub.AppendOptions{Producer: produced})
			require.NoError(t, err)

			if how == "flushall" {
				require.NoError(t, server.Client().FlushAll(t.Context()).Err())
			} else {
				server.RestartEmpty()
			}
			_, err = writer.Append(t.Context(), at.space, at.segment, []streamhub.Record{{Payload: []byte("x")}}, nil)
			lost(t, err, 1, "the appender that was at work")
			_, err = writer.Append(t.Context(), at.space, "produced", []streamhub.Record{{Payload: []byte("1")}},
				&streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: 1}})
			lost(t, err, 1, "the producer that was at work")
			if how == "regrown" { // another history, longer than the old one
				fill(t, rec.Client("other", open(t, client(t, server.URL()), nil).Store(testStore)), at, 30)
			}
			for _, m := range marks {
				_, err := resume(within(t, 10*time.Second), reader, m)
				lost(t, err, 1, fmt.Sprintf("a cursor after %d", m.sequence))
			}
			_, err = resumeFollowing(within(t, 10*time.Second), reader, marks[5])
			lost(t, err, 1, "a follower that comes back")
			require.NoError(t, f.WaitEnd(within(t, 10*time.Second)), "the follower that was following")
			wait()
			if s := f.Session(); s.Code != "history_lost" || s.FirstLost != 1 || len(s.Seen) != 20 {
				t.Errorf("the follower that was following: %v", &s)
			}
		})
	}
}

// TestLaggingFailover promotes a replica that had stopped listening. Every cursor after the fork
// is told the first lost sequence, every other one goes on, and so do followers.
func TestLaggingFailover(t *testing.T) {
	for round := range pick(2, 50) {
		t.Run(fmt.Sprint(round), func(t *testing.T) { laggingFailover(t, seedOf(t)) })
	}
}

func laggingFailover(t *testing.T, seed uint64) {
	r := random(seed, 0)
	top := testredis.StartSentinel(t, &testredis.SentinelOptions{Replicas: 1})
	url := sentinelURL(top)
	writer := open(t, client(t, url), nil).Store(testStore)
	followers := open(t, client(t, url), &hub.Options{Recheck: time.Second}).Store(testStore)
	rec := history.NewRecorder(clock)
	c := rec.Client("writer", writer)
	ctx := within(t, 90*time.Second)

	// Segments with different forks: kept entries, and then lost ones, which for some are none.
	const segments = 8
	kept, gone := make([]int, segments), make([]int, segments)
	marks := make([][]bookmark, segments)
	at := func(i int) place { return place{"space", fmt.Sprintf("segment-%d", i)} }
	for i := range segments {
		kept[i] = 20 + r.IntN(20)
		if i%2 == 0 {
			gone[i] = 1 + r.IntN(20)
		}
		marks[i] = fill(t, c, at(i), kept[i])
	}
	master := top.Master()
	replica := top.Servers[1]
	if master == replica {
		replica = top.Servers[0]
	}
	inStep(t, master)

	watching := make([]*history.Following, segments)
	for i := range segments {
		f, wait := history.Start(fmt.Sprintf("follower %d", i), "space", at(i).segment, 1, followers.FollowSegment(ctx, "space", at(i).segment, nil), clock, nil)
		t.Cleanup(wait)
		require.NoError(t, f.Wait(ctx, uint64(kept[i])))
		watching[i] = f
	}
	detach(t, master, replica)
	for i := range segments {
		marks[i] = append(marks[i], fill(t, c, at(i), gone[i])...)
		require.NoError(t, watching[i].Wait(ctx, uint64(kept[i]+gone[i])))
	}
	master.Kill()
	began := time.Now()
	replica.Resume()
	next := top.WaitFailover(master)
	require.Equal(t, replica.Addr(), next.Addr())
	t.Logf("promoted %v after the kill", time.Since(began).Round(time.Millisecond))

	// Another writer goes on, past the old end.
	eventually(t, 10*time.Second, func(ctx context.Context) error { return client(t, url).Ping(ctx).Err() })
	other := rec.Client("other", open(t, client(t, url), nil).Store(testStore))
	for i := range segments {
		var status streamhub.Status
		eventually(t, 10*time.Second, func(ctx context.Context) (err error) {
			status, err = followers.Status(ctx, "space", at(i).segment)
			return err
		})
		require.Equal(t, uint64(kept[i]), status.LastSequence)
		fill(t, other, at(i), gone[i]+5)
	}
	forks := 0
	losses := map[string][]history.Loss{}
	for i := range segments {
		end := kept[i] + gone[i] + 5
		forked := len(marks[i]) > kept[i]
		if forked {
			forks++
			losses[at(i).key()] = []history.Loss{{Keep: uint64(kept[i])}}
		}
		for _, m := range marks[i] {
			n, err := resume(ctx, followers, m)
			what := fmt.Sprintf("a cursor after %d of %s, of which %d were kept", m.sequence, m.segment, kept[i])
			if int(m.sequence) > kept[i] {
				lost(t, err, uint64(kept[i]+1), what)
				continue
			}
			if err != nil || n != end-int(m.sequence) {
				t.Errorf("%s: got %d entries of %d, %v", what, n, end-int(m.sequence), err)
			}
		}
		f := watching[i]
		if forked {
			require.NoError(t, f.WaitEnd(ctx), "a follower after the fork has to be told")
		} else {
			require.NoError(t, f.Wait(ctx, uint64(end)), "a follower before the fork goes on")
		}
		session := f.Session()
		if forked && (session.Code != "history_lost" || session.FirstLost != uint64(kept[i]+1)) {
			t.Errorf("kept %d: %v", kept[i], &session)
		}
		if !forked && session.Code != "" {
			t.Errorf("false alarm: %v", &session)
		}
	}
	require.GreaterOrEqual(t, forks, 2, "nothing was lost, so nothing was shown")
	var places []place
	var sessions []history.Session
	for i := range segments {
		places = append(places, at(i))
		sessions = append(sessions, watching[i].Session())
	}
	logs := readLogs(t, followers, places)
	for i := range logs {
		if losses[logs[i].Key()] != nil {
			losses[logs[i].Key()] = history.LossesOf(&logs[i], zero, false)
		}
	}
	report := history.Check(rec.History(), logs, &history.Options{Seed: seed, Losses: losses, Sessions: sessions})
	require.NoError(t, report.Err())
	require.NotZero(t, report.Lost)
	t.Log(report)
}

// detach freezes a replica and cuts its link, so that nothing of what is written from now on waits
// for it in a socket.
func detach(t *testing.T, master, replica *testredis.Server) {
	t.Helper()
	replica.Pause()
	require.NoError(t, master.Client().ClientKillByFilter(t.Context(), "TYPE", "replica").Err())
}

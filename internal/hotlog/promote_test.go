package hotlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// replicate makes replica follow primary and returns when it has everything.
func replicate(t *testing.T, replica, primary *testredis.Server) {
	t.Helper()
	host, port, _ := strings.Cut(primary.Addr(), ":")
	require.NoError(t, replica.Client().Do(t.Context(), "replicaof", host, port).Err())
	require.Eventually(t, func() bool {
		info, err := replica.Client().Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	}, 20*time.Second, 5*time.Millisecond)
	caughtUp(t, primary)
}

// caughtUp waits until the one replica of primary has everything.
func caughtUp(t *testing.T, primary *testredis.Server) {
	t.Helper()
	client := primary.Client()
	require.Eventually(t, func() bool {
		if err := client.Set(t.Context(), "caught-up", "1", 0).Err(); err != nil {
			return false
		}
		n, err := client.Wait(t.Context(), 1, time.Second).Result()
		return err == nil && n == 1
	}, 20*time.Second, time.Millisecond)
}

func logOn(t *testing.T, server *testredis.Server, id uuid.UUID, options *hotlog.Options) *hotlog.Store {
	t.Helper()
	conn := connect(t, redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}), nil)
	log, err := hotlog.Open(t.Context(), conn, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log.Store(id)
}

func add(t *testing.T, s *hotlog.Store, segment, payload string) streamhub.AppendResult {
	t.Helper()
	r, err := s.Append(t.Context(), "space", segment, []streamhub.Record{{Payload: []byte(payload)}}, nil)
	require.NoError(t, err)
	return r
}

// resume reads after a cursor and returns the payloads.
func resume(t *testing.T, s *hotlog.Store, segment string, cursor streamhub.Cursor) (payloads []string, err error) {
	t.Helper()
	for e, err := range s.ConsumeSegment(t.Context(), "space", segment, &streamhub.ReadOptions{Cursor: cursor}) {
		if err != nil {
			return payloads, err
		}
		payloads = append(payloads, string(e.Payload))
	}
	return payloads, nil
}

// TestPromotion promotes a replica that lags, lets the log grow over what was lost, and then asks
// with the cursors of the old primary. A promoted server names the lineage that it came from as
// well as its own; only the latter counts.
func TestPromotion(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	id := uuid.New()
	old := logOn(t, primary, id, nil)
	var cursors []streamhub.Cursor
	for i := range 5 {
		r := add(t, old, "seg", fmt.Sprint("kept ", i+1))
		cursors = append(cursors, r.Cursor())
	}
	add(t, old, "quiet", "kept")
	caughtUp(t, primary)
	// The link is cut by making the replica a primary; the old one goes on for a while.
	require.NoError(t, replica.Client().Do(t.Context(), "replicaof", "no", "one").Err())
	for i := range 3 {
		r := add(t, old, "seg", fmt.Sprint("lost ", i+6))
		cursors = append(cursors, r.Cursor())
	}
	promoted := logOn(t, replica, id, nil)
	// This process knows the segment from before, and its head is still what it was.
	for i := range 9 {
		add(t, promoted, "seg", fmt.Sprint("new ", i+6))
	}
	for i, cursor := range cursors {
		rest, err := resume(t, promoted, "seg", cursor)
		if i < 5 {
			require.NoError(t, err)
			require.Len(t, rest, 14-i-1)
			continue
		}
		var lost *streamhub.HistoryLostError
		require.ErrorAs(t, err, &lost)
		require.EqualValues(t, 6, lost.FirstLost)
	}
	// With the lineage alone, whatever the entries are.
	p, err := cursors[7].Position()
	require.NoError(t, err)
	_, err = promoted.ReadPage(t.Context(), "space", "seg", p, false)
	require.ErrorIs(t, err, streamhub.ErrHistoryLost)
}

// TestPromotionUnderLog has one log, whose server changes under it.
func TestPromotionUnderLog(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	id := uuid.New()
	at := addressOf(primary.Addr())
	client := redis.NewClient(&redis.Options{Addr: "moves", Dialer: at.dial, ContextTimeoutEnabled: true})
	conn := connect(t, client, nil)
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(id)
	for _, segment := range []string{"whole", "cut"} {
		for i := range 5 {
			add(t, s, segment, fmt.Sprint(i+1))
		}
	}
	caughtUp(t, primary)
	require.NoError(t, replica.Client().Do(t.Context(), "replicaof", "no", "one").Err())
	add(t, s, "cut", "6")
	last := add(t, s, "cut", "7")
	primary.Kill()
	at.Store(replica.Addr())

	before := add(t, logOn(t, replica, id, nil), "other", "x") // the lineage of the new one
	r := add(t, s, "whole", "6")
	require.EqualValues(t, 6, r.First, "nothing of it was lost, and nobody is told so")
	require.Equal(t, before.Position.Lineage, r.Position.Lineage)
	require.NotEqual(t, last.Position.Lineage, r.Position.Lineage)
	_, err = s.Append(t.Context(), "space", "cut", []streamhub.Record{{Payload: []byte("8")}}, nil)
	var lost *streamhub.HistoryLostError
	require.ErrorAs(t, err, &lost)
	require.EqualValues(t, 6, lost.FirstLost)
	r = add(t, s, "cut", "new 6")
	require.EqualValues(t, 6, r.First)
	_, err = resume(t, s, "cut", last.Cursor())
	require.ErrorAs(t, err, &lost)
	require.EqualValues(t, 6, lost.FirstLost)
}

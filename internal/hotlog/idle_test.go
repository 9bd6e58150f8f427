package hotlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// TestIdleAppenders lets the sweep forget the rows of processes that were idle for a day. They go
// on as if nothing had been. Rows of named producers stay, those of ephemeral ones do not.
func TestIdleAppenders(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	now := time.Now()
	m.SetTime(now)
	conn := connect(t, redis.NewClient(&redis.Options{Addr: m.Addr()}), nil)
	id := uuid.New()
	var logs []*hotlog.Store
	for range 3 {
		log, err := hotlog.Open(t.Context(), conn, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		logs = append(logs, log.Store(id))
	}
	rowsOf := func(segment string) (own, ephemeral, named int) {
		fields, err := m.HKeys(hotlog.SegmentChannel(id, "space", segment))
		require.NoError(t, err)
		for _, f := range fields {
			switch {
			case strings.HasPrefix(f, "p:~~"):
				ephemeral++
			case strings.HasPrefix(f, "p:~"):
				own++
			case strings.HasPrefix(f, "p:"):
				named++
			}
		}
		return own, ephemeral, named
	}
	rows := func() (own, ephemeral, named int) { return rowsOf("seg") }
	named := &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "named"}}
	_, err := logs[0].Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("1")}}, named)
	require.NoError(t, err)
	passing := &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "~passing"}}
	_, err = logs[0].Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("2")}}, passing)
	require.NoError(t, err)
	_, ephemeral, _ := rows()
	require.Equal(t, 1, ephemeral)
	add(t, logs[0], "seg", "3")
	add(t, logs[1], "seg", "4")
	// The first row in this segment that a sweep has to find is that of a process that did not create it.
	_, err = logs[0].Append(t.Context(), "space", "taken", []streamhub.Record{{Payload: []byte("1")}}, named)
	require.NoError(t, err)
	add(t, logs[1], "taken", "2")
	own, _, _ := rowsOf("taken")
	require.Equal(t, 1, own)
	sequence := uint64(4)
	for day := range 3 {
		now = now.Add(20 * time.Hour)
		m.SetTime(now)
		add(t, logs[2], "seg", fmt.Sprint("kept ", day))
		sequence++
		require.NoError(t, logs[0].Sweep(t.Context()))
		own, _, _ := rows()
		require.Equal(t, 3, own, "nobody was idle for a day")
		now = now.Add(5 * time.Hour)
		m.SetTime(now)
		require.NoError(t, logs[0].Sweep(t.Context()))
		own, ephemeral, producers := rows()
		require.Zero(t, ephemeral)
		require.Equal(t, 1, own)
		require.Equal(t, 1, producers)
		own, _, producers = rowsOf("taken")
		require.Zero(t, own)
		require.Equal(t, 1, producers)
		for _, s := range logs[:2] {
			for range 2 {
				sequence++
				require.Equal(t, sequence, add(t, s, "seg", "again").First)
			}
		}
	}
	r, err := logs[1].Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("1")}}, named)
	require.NoError(t, err)
	require.True(t, r.Repeated)
	require.EqualValues(t, 1, r.First)
}

// TestOldTombstone deletes a segment and looks at it two days later.
func TestOldTombstone(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	conn := connect(t, redis.NewClient(&redis.Options{Addr: m.Addr()}), nil)
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	r := add(t, s, "seg", "1")
	add(t, s, "other", "1")
	require.NoError(t, s.Delete(t.Context(), "space", "seg", ""))
	m.FastForward(48 * time.Hour)
	_, err = resume(t, s, "seg", r.Cursor())
	require.ErrorIs(t, err, streamhub.ErrHistoryLost)
	require.ErrorIs(t, s.Delete(t.Context(), "space", "seg", ""), streamhub.ErrNotFound)
	n := 0
	for e, err := range s.ConsumeSpace(t.Context(), "space", nil) {
		require.NoError(t, err, "it was deleted on purpose, though nothing says so any more")
		require.Equal(t, "other", e.Segment)
		n++
	}
	require.Equal(t, 1, n)
	_, err = s.Append(t.Context(), "space", "seg", []streamhub.Record{{}}, nil)
	require.ErrorIs(t, err, streamhub.ErrHistoryLost)
	require.EqualValues(t, 1, add(t, s, "seg", "new").First)
}

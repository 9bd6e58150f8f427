package hub_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

// TestRestoreLive brings back a space with live streams. A generation that had no verdict is lost, and a segment
// that only has a name like one stays open.
func TestRestoreLive(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	backend := archive.NewMemory()
	on := func(sweepEvery time.Duration) *hub.Hub {
		client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), Protocol: 2})
		t.Cleanup(func() { _ = client.Close() })
		return open(t, client, &hub.Options{
			Archive: backend, Archiving: tier.Options{Policy: tier.Policy{Age: 1}, Every: -1, Recent: 1},
			Live: &live.Options{Heartbeat: 100 * time.Millisecond}, SweepEvery: sweepEvery,
		})
	}
	h := on(-1)
	s := h.Store(uuid.New())
	const odd = "an id ~%"
	for _, id := range []string{"open", "done", odd} {
		p, _, err := s.Live("space").Register(ctx, id, nil)
		require.NoError(t, err)
		require.NoError(t, p.Publish(ctx, []byte("chunk")))
		require.NoError(t, p.Flush(ctx))
		if id == "done" {
			require.NoError(t, p.Done(ctx, "output"))
		}
	}
	_, err := s.Append(ctx, "space", "plain~7", records("x"), nil)
	require.NoError(t, err)
	require.NoError(t, h.ArchiveNow(ctx))

	h = on(50 * time.Millisecond)
	s = h.Store(s.ID())
	_, err = h.RestoreSpace(ctx, archive.SpaceID{Store: s.ID(), Space: "space"})
	require.NoError(t, err)
	var names []string
	for name, err := range s.Segments(ctx, "space") {
		require.NoError(t, err)
		names = append(names, name)
	}
	require.Len(t, names, 7, "two of each stream, and the plain one")
	for _, name := range names {
		status, err := s.Status(ctx, "space", name)
		for err == nil && name != "plain~7" && status.Verdict == nil {
			status, err = s.Status(ctx, "space", name) // ctx ends it
		}
		require.NoError(t, err)
		switch {
		case name == "plain~7":
			require.Equal(t, streamhub.StateOpen, status.State)
		case name[:4] == "done":
			require.Equal(t, streamhub.VerdictDone, status.Verdict.Kind)
		default:
			require.Equal(t, streamhub.VerdictLost, status.Verdict.Kind, name)
		}
	}
}

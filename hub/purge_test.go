package hub_test

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestPurge removes a store with spaces in Redis, in the archive and in both, with forks, leases and live streams.
func TestPurge(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server := testredis.Start(t, nil)
	backend := archive.NewMemory()
	options := func(backend archive.Backend) *hub.Options {
		return &hub.Options{
			Archive: backend, Archiving: tier.Options{Policy: tier.Policy{Age: 1}, Every: -1, Recent: 1}, SweepEvery: -1,
		}
	}
	h, other := open(t, server.Client(), options(backend)), open(t, server.Client(), options(backend))
	cold := open(t, server.Client(), options(nil))
	s, neighbour := h.Store(uuid.New()), h.Store(uuid.New())
	for _, store := range []*hub.Store{s, neighbour} {
		for _, name := range []string{"a~1", "b", "c"} {
			_, err := store.Append(ctx, "space", name, records("x", "y"), nil)
			require.NoError(t, err)
		}
		_, _, err := store.Create(ctx, "space", "fork", &streamhub.CreateOptions{ForkOf: "b"})
		require.NoError(t, err)
		_, err = store.Append(ctx, "hot", "segment", records("x"), nil)
		require.NoError(t, err)
		p, _, err := store.Live("live").Register(ctx, "answer ~%", nil)
		require.NoError(t, err)
		require.NoError(t, p.Publish(ctx, []byte("chunk")))
		require.NoError(t, p.Flush(ctx))
		_, err = store.AcquireLeaseAs(ctx, "job", "me", time.Minute)
		require.NoError(t, err)
	}
	require.NoError(t, other.ArchiveNow(ctx), "another instance archives")
	gone := archive.SpaceID{Store: s.ID(), Space: "gone from Redis"}
	_, err := archive.New(backend, nil).Claim(ctx, gone, archive.Owner{Token: 1, Holder: "h"})
	require.NoError(t, err)

	_, err = s.Purge(ctx)
	require.ErrorIs(t, err, streamhub.ErrConflict, "it has segments")
	for space, err := range s.Spaces(ctx) {
		require.NoError(t, err)
		for segment, err := range s.Segments(ctx, space) {
			require.NoError(t, err)
			require.NoError(t, s.Delete(ctx, space, segment, ""))
		}
	}
	_, err = cold.Store(s.ID()).Purge(ctx)
	require.ErrorIs(t, err, streamhub.ErrUnavailable, "it does not know the archive")
	purged, err := s.Purge(ctx)
	require.NoError(t, err)
	require.Equal(t, 4, purged.Spaces)
	require.GreaterOrEqual(t, purged.Leases, 1)
	again, err := s.Purge(ctx)
	require.NoError(t, err)
	require.Equal(t, hub.Purged{}, again)

	ids, err := backend.Spaces(ctx, archive.SpaceID{}, 100)
	require.NoError(t, err)
	require.Len(t, ids, 3, "those of the neighbour")
	for _, id := range ids {
		require.Equal(t, neighbour.ID(), id.Store)
		report, err := archive.New(backend, nil).Verify(ctx, id, nil)
		require.NoError(t, err)
		require.Empty(t, report.Problems)
	}
	stores, err := h.Stores(ctx)
	require.NoError(t, err)
	require.NotContains(t, stores, s.ID())
	require.Contains(t, stores, neighbour.ID())
	// What stays has a deadline: tombstones, fences of leases, and what tells who reads.
	passing := regexp.MustCompile(`:(m:.*|f|w|lr|lw)$`)
	keys, err := server.Client().Keys(ctx, fmt.Sprintf("*%s*", s.ID())).Result()
	require.NoError(t, err)
	for _, key := range keys {
		require.Regexp(t, passing, key)
		left, err := server.Client().PTTL(ctx, key).Result()
		require.NoError(t, err)
		require.Positive(t, left, key)
	}
	n := 0
	for e, err := range neighbour.ConsumeSpace(ctx, "space", nil) {
		require.NoError(t, err)
		require.NotEmpty(t, e.Payload)
		n++
	}
	require.Equal(t, 6, n)
	_, err = s.Append(ctx, "space", "d", records("x"), nil)
	require.NoError(t, err)
	require.NoError(t, h.ArchiveNow(ctx))
	n = 0
	for _, err := range s.ConsumeSpace(ctx, "space", nil) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 1, n)
}

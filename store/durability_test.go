package store_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/store"
)

func TestDurability(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	s := logOn(t, primary, uuid.New(), &store.Options{Durability: streamhub.Durability{Replicas: 1, Timeout: 10 * time.Second}})
	r := add(t, s, "seg", "1")
	require.EqualValues(t, 1, r.First)
	onReplica := logOn(t, replica, s.ID(), nil)
	e, ok, err := onReplica.Peek(t.Context(), "space", "seg")
	require.NoError(t, err)
	require.True(t, ok, "an append that was confirmed is on the replica")
	require.Equal(t, r.Position, e.Position)

	replica.Pause()
	append := func(id uuid.UUID, d *streamhub.Durability) (streamhub.AppendResult, error) {
		return s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, &streamhub.AppendOptions{Durability: d, TRX: id})
	}
	id := uuid.New()
	for range 2 { // a repeat is not confirmed either
		r, err = append(id, &streamhub.Durability{Replicas: 1, Timeout: 20 * time.Millisecond})
		require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
		require.EqualValues(t, 2, r.First, "it is written, and the caller is told where")
	}
	r, err = append(uuid.New(), &streamhub.Durability{})
	require.NoError(t, err, "who does not ask does not wait")
	require.EqualValues(t, 3, r.First)
	replica.Resume()
	r, err = append(uuid.New(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, r.First)

	for _, bad := range []streamhub.Durability{{Fsync: true}, {Replicas: -1}, {Timeout: -1}} {
		_, err = append(uuid.New(), &bad)
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, "%+v", bad)
	}
}

func TestDurabilityRefused(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	conn := connect(t, redis.NewClient(&redis.Options{Addr: m.Addr()}), nil)
	for _, d := range []streamhub.Durability{{Replicas: 1}, {Fsync: true}} {
		_, err := store.Open(t.Context(), conn, &store.Options{Durability: d})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	}
}

package pebble_test

import (
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
	"github.com/seed-147127fe/streamhub/archive/pebble"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

func open(t *testing.T, dir string) *pebble.Backend {
	t.Helper()
	b, err := pebble.Open(dir, nil)
	require.NoError(t, err)
	return b
}

func TestContract(t *testing.T) {
	t.Parallel()
	archivetest.Run(t, func(t *testing.T) archive.Backend {
		b := open(t, t.TempDir())
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	})
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	space := archive.SpaceID{Store: uuid.New(), Space: "s"}
	b := open(t, dir)
	_, err := pebble.Open(dir, nil)
	require.ErrorIs(t, err, streamhub.ErrUnavailable, "it is open already")
	require.NoError(t, b.Put(t.Context(), space, archive.Object{Key: "k", Data: []byte("v")}))
	version, err := b.SetManifest(t.Context(), space, "", []byte("m"))
	require.NoError(t, err)
	require.NoError(t, b.Close())

	b = open(t, dir)
	data, err := b.Get(t.Context(), space, "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(data))
	_, found, err := b.Manifest(t.Context(), space)
	require.NoError(t, err)
	require.Equal(t, version, found)
	require.NoError(t, b.Close())

	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = pebble.Open(dir, nil)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument, "everybody may write to it")
}

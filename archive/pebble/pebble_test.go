package pebble_test

import (
	"os"
	"path/filepath"
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

	// What others could read before, they cannot any more.
	require.NoError(t, os.Chmod(dir, 0o755))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		require.NoError(t, os.Chmod(filepath.Join(dir, f.Name()), 0o644))
	}
	other := filepath.Join(dir, "README")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	require.NoError(t, os.Chmod(other, 0o644))
	b = open(t, dir)
	require.NoError(t, b.Put(t.Context(), space, archive.Object{Key: "k2", Data: []byte("v")}))
	require.NoError(t, b.Close())
	files, err = os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		if f.Name() == "README" {
			require.EqualValues(t, 0o644, info.Mode().Perm(), "it is not the archive's")
		} else {
			require.Zero(t, info.Mode().Perm()&0o077, "%s %v", f.Name(), info.Mode())
		}
	}

	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = pebble.Open(dir, nil)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument, "everybody may write to it")
}

// TestForeign makes an archive only where no files of others are, and leaves those as they were.
func TestForeign(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{
		"notes.txt": streamhub.ErrInvalidArgument, "dump.rdb": streamhub.ErrInvalidArgument, "cold": streamhub.ErrInvalidArgument,
		"lost+found": nil, ".snapshot": nil, "OPTIONS-000003": nil,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		b, err := pebble.Open(dir, nil)
		if want == nil {
			require.NoError(t, err, name)
			require.NoError(t, b.Close())
			continue
		}
		require.ErrorIs(t, err, want, name)
		require.ErrorContains(t, err, name)
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, files, 1, "nothing is made beside %s", name)
	}
}

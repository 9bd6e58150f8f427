package pebble_test

import (
	"bytes"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/pebble"
)

var large = bytes.Repeat([]byte("v"), 100_000)

// TestDiskFails lets writes to the disk fail. The process lives, nothing counts as written, and who
// opens the archive again finds what was.
func TestDiskFails(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("cold", 0o700))
	var full atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	b, err := pebble.Open("cold", &pebble.Options{FS: fs})
	require.NoError(t, err)
	space := archive.SpaceID{Store: uuid.New(), Space: "s"}
	require.NoError(t, b.Put(t.Context(), space, archive.Object{Key: "a", Data: large}))
	version, err := b.SetManifest(t.Context(), space, "", []byte("1"))
	require.NoError(t, err)
	full.Store(true)
	_, err = b.SetManifest(t.Context(), space, version, []byte("2"))
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	full.Store(false)
	// What is in memory only must not be taken for what is on disk.
	require.ErrorIs(t, b.Put(t.Context(), space, archive.Object{Key: "b", Data: large}), streamhub.ErrUnavailable)
	_, _, err = b.Manifest(t.Context(), space)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	_, err = b.List(t.Context(), space, "", "", 10)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	_ = b.Close()

	b, err = pebble.Open("cold", &pebble.Options{FS: mem})
	require.NoError(t, err)
	data, _, err := b.Manifest(t.Context(), space)
	require.NoError(t, err)
	require.Equal(t, "1", string(data))
	got, err := b.Get(t.Context(), space, "a")
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got))
	require.NoError(t, b.Close())
}

// A smallDisk says how much room there is.
type smallDisk struct {
	vfs.FS
	left atomic.Uint64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.left.Load()}, nil
}

// TestReserve stops before the disk is full, and goes on when there is room.
func TestReserve(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("cold", 0o700))
	disk := &smallDisk{FS: mem}
	disk.left.Store(1 << 30)
	b, err := pebble.Open("cold", &pebble.Options{FS: disk, Reserve: 1 << 20})
	require.NoError(t, err)
	space := archive.SpaceID{Store: uuid.New(), Space: "s"}
	require.NoError(t, b.Put(t.Context(), space, archive.Object{Key: "a", Data: large}))
	disk.left.Store(1<<20 + 99_999)
	require.ErrorIs(t, b.Put(t.Context(), space, archive.Object{Key: "b", Data: large}), streamhub.ErrUnavailable)
	_, err = b.Get(t.Context(), space, "a")
	require.NoError(t, err, "reads go on")
	disk.left.Store(1 << 30)
	require.NoError(t, b.Put(t.Context(), space, archive.Object{Key: "b", Data: large}))
	require.NoError(t, b.Close())
}

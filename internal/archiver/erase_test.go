package archiver_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// TestErase removes a space from Redis and the archive while another instance archives it, and begins it again.
func TestErase(t *testing.T) {
	t.Parallel()
	o := everything(0)
	w := newUserWorld(t, o)
	w.history(1, 30)
	id := archive.SpaceID{Store: w.ID(), Space: space}
	other := w.another(o)
	require.NoError(t, other.runner.Space(w.ctx, other.Store, space), "it has the lease now")
	require.Error(t, w.runner.Erase(w.ctx, w.Store, space), "it has segments")
	w.whole()
	names, err := w.Segments(w.ctx, space, "", 100)
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.NoError(t, w.Delete(w.ctx, space, name, ""))
	}
	require.NoError(t, w.runner.Erase(w.ctx, w.Store, space))
	nothing := func() {
		t.Helper()
		items, err := w.backend.List(w.ctx, id, "", "", 10)
		require.NoError(t, err)
		require.Empty(t, items)
		_, err = w.tier.Archive().Manifest(w.ctx, id)
		require.ErrorIs(t, err, streamhub.ErrNotFound)
		spaces, err := w.Spaces(w.ctx, "", 10)
		require.NoError(t, err)
		require.Empty(t, spaces)
		exists, err := w.conn.Exists(w.ctx, hotlog.Key(w.ID(), space, "v"), hotlog.Key(w.ID(), space, "t")).Result()
		require.NoError(t, err)
		require.Zero(t, exists)
	}
	nothing()
	require.NoError(t, w.runner.Erase(w.ctx, w.Store, space), "a repeat")
	nothing()
	// A turn that had begun before finds nothing, and leaves nothing.
	_ = other.runner.Space(w.ctx, other.Store, space)
	require.NoError(t, other.runner.Space(w.ctx, other.Store, space))
	nothing()

	w.runner.Release(w.ctx)
	other.runner.Release(w.ctx)
	again := w.another(o)
	again.history(2, 20)
	require.Eventually(t, func() bool {
		spaces, err := w.Spaces(w.ctx, "", 10)
		return err == nil && len(spaces) == 1
	}, 10*time.Second, time.Millisecond)
	want := prints(again.readSpace(nil))
	again.move()
	again.whole()
	again.same(want, prints(again.readSpace(nil)))
}

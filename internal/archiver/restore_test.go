package archiver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// TestRestoreProducers brings back segments that know more producers than Lua can return at once.
func TestRestoreProducers(t *testing.T) {
	t.Parallel()
	w, _ := newRealWorld(t, everything(0))
	first := &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}}
	meta := hotlog.Key(w.ID(), space, "m:")
	for _, n := range []int{1, 4_100, 20_000} {
		segment := fmt.Sprint("s", n)
		_, err := w.Append(w.ctx, space, segment, []streamhub.Record{{Payload: []byte("x")}}, first)
		require.NoError(t, err)
		row, err := w.conn.HGet(w.ctx, meta+segment, "p:p").Result()
		require.NoError(t, err)
		for i := 1; i < n; i++ {
			pipe := w.conn.Pipeline()
			for ; i < n && pipe.Len() < 1000; i++ {
				pipe.HSet(w.ctx, meta+segment, fmt.Sprint("p:other ", i), row)
			}
			i--
			_, err := pipe.Exec(w.ctx)
			require.NoError(t, err)
		}
	}
	w.move()
	v, _ := newRealWorld(t, everything(0))
	v.backend = w.backend
	v = v.with(w.ID(), everything(0))
	id := archive.SpaceID{Store: w.ID(), Space: space}
	// One that cannot be brought back is named, and does not keep the others away.
	bad := v.conn.HSet(v.ctx, hotlog.Key(w.ID(), space, "m:")+"s4100", "h", "1"+strings.Repeat("0", 42)+"0 0 0 0")
	require.NoError(t, bad.Err())
	r, err := v.tier.Restore(v.ctx, v.log, id)
	require.ErrorIs(t, err, streamhub.ErrConflict)
	require.ErrorContains(t, err, "s4100")
	require.Equal(t, 2, r.Segments)
	require.NoError(t, v.conn.Del(v.ctx, meta+"s4100").Err())
	r, err = v.tier.Restore(v.ctx, v.log, id)
	require.NoError(t, err)
	require.Equal(t, 3, r.Segments)
	for _, n := range []int{1, 4_100, 20_000} {
		segment := fmt.Sprint("s", n)
		rows, err := v.conn.HKeys(v.ctx, meta+segment).Result()
		require.NoError(t, err)
		named := 0
		for _, name := range rows {
			if strings.HasPrefix(name, "p:") {
				named++
			}
		}
		require.Equal(t, n, named)
		got, err := v.Append(v.ctx, space, segment, []streamhub.Record{{Payload: []byte("x")}}, first)
		require.NoError(t, err)
		require.True(t, got.Repeated)
	}
	require.Len(t, v.readSpace(nil), 3)
}

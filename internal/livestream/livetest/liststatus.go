package livetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/live"
)

var listCases = []namedCase{{"ListStatus", listStatus}}

// listed returns what List gives, by id.
func (f *fixture) listed(i *instance, ended bool) map[string]live.Listed {
	f.Helper()
	all := map[string]live.Listed{}
	for l, err := range i.manager.Streams(f.store, space).ListStatus(f.ctx, ended) {
		require.NoError(f, err)
		require.NotContains(f, all, l.ID)
		all[l.ID] = l
	}
	return all
}

func listStatus(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	require.Empty(f, f.listed(a, true))
	ids := []string{"chat", "chat~7", "ü/ %20", "done"}
	for _, id := range ids {
		p := f.register(a, id, &live.RegisterOptions{By: "model"})
		f.publish(p, "one", "two")
		if id == "done" {
			require.NoError(f, p.Done(f.ctx, nil))
		}
	}
	again := f.register(a, "again", nil)
	require.NoError(f, again.Done(f.ctx, nil))
	second := f.register(a, "again", nil)

	now := f.listed(b, false)
	require.Len(f, now, 4)
	for _, id := range []string{"chat", "chat~7", "ü/ %20"} {
		require.Equal(f, uint64(2), now[id].Chunks, id)
		require.Equal(f, "model", now[id].By)
		require.Nil(f, now[id].Verdict)
		require.WithinDuration(f, time.Now(), now[id].SilentAt, time.Hour)
	}
	require.Equal(f, second.Generation(), now["again"].Generation)

	all := f.listed(b, true)
	require.Len(f, all, 5)
	require.NotNil(f, all["done"].Verdict)
	require.Zero(f, all["done"].SilentAt)
}

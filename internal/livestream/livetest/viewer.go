package livetest

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var viewerCases = []namedCase{
	{"Viewers", viewers},
	{"ViewersOfTheDead", viewersOfTheDead},
	{"CancelUnwatched", cancelUnwatched},
}

func redisZ(score float64, member string) redis.Z { return redis.Z{Score: score, Member: member} }

// watched waits until so many are seen to read.
func (f *fixture) watched(i *instance, id string, n int) {
	f.Helper()
	last := -1
	f.eventually("the right number of viewers", func() bool {
		status, err := f.get(i, id).Status(f.ctx)
		require.NoError(f, err)
		if status.Viewers != last {
			last = status.Viewers
			f.Logf("%d viewers, %d expected", last, n)
		}
		return last == n
	})
}

func viewers(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	other := f.register(a, "other", nil)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	for range 3 {
		f.get(a, "chat").Channel(ctx, nil)
		f.get(b, "chat").Channel(f.ctx, nil)
	}
	other.Channel(f.ctx, nil)
	f.watched(b, "chat", 6)
	f.watched(b, "other", 1)
	cancel()
	f.watched(a, "chat", 3)
	require.NoError(f, b.close())
	f.watched(a, "chat", 0)
	require.NoError(f, p.Done(f.ctx, nil))
	status, err := f.get(a, "chat").Status(f.ctx)
	require.NoError(f, err)
	require.Zero(f, status.Viewers)
}

// viewersOfTheDead are not counted for long.
func viewersOfTheDead(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	f.register(a, "chat", nil)
	f.get(b, "chat").Channel(f.ctx, nil)
	f.watched(a, "chat", 1)
	b.fate.dead.Store(true)
	f.watched(a, "chat", 0)
	b.fate.dead.Store(false)
	f.watched(a, "chat", 1)
}

func cancelUnwatched(f *fixture) {
	a, b := f.open(&live.Options{CancelGrace: 100 * time.Millisecond}), f.open(nil)
	told, onCancel := onCancel()
	const limit = 500 * time.Millisecond
	p := f.register(a, "chat", &live.RegisterOptions{CancelUnwatched: limit, OnCancel: onCancel})
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	f.get(b, "chat").Channel(ctx, nil)
	f.pass(3 * limit)
	require.Empty(f, told, "somebody was watching")
	cancel()
	require.ErrorAs(f, f.called(told), new(*live.CancelError))
	v := f.verdict(p)
	require.Equal(f, streamhub.VerdictCancelled, v.Kind)
	require.Equal(f, "nobody was watching", v.Reason)
}

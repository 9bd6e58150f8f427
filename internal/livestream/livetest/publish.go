package livetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var publishCases = []namedCase{
	{"Publish", publish},
	{"PublishTogether", publishTogether},
	{"PublishFull", publishFull},
	{"PublishWaits", publishWaits},
	{"PublishOverOutage", publishOverOutage},
	{"PublishLimits", publishLimits},
	{"PublishConcurrently", publishConcurrently},
}

// publish keeps every chunk at a place of its own, whatever travelled together.
func publish(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", &live.RegisterOptions{ContentType: "text/plain"})
	data := []byte("first")
	require.NoError(f, p.Publish(f.ctx, data))
	copy(data, "XXXXX") // it is the caller's again
	for n := 2; n <= 100; n++ {
		require.NoError(f, p.Publish(f.ctx, fmt.Append(nil, n)))
	}
	require.NoError(f, p.Publish(f.ctx, nil))
	require.NoError(f, p.Done(f.ctx, map[string]int{"tokens": 101})) // flushes
	var last live.Chunk
	for c, err := range p.Subscribe(f.ctx, nil) {
		if err != nil {
			f.closed(err, streamhub.VerdictDone)
			break
		}
		require.Equal(f, last.Sequence+1, c.Sequence)
		require.Equal(f, p.Generation(), c.Generation)
		require.EqualValues(f, 1, c.Replayed)
		require.GreaterOrEqual(f, c.Timestamp, last.Timestamp)
		require.NotEqual(f, last.Cursor(), c.Cursor())
		want := fmt.Sprint(c.Sequence)
		switch c.Sequence {
		case 1:
			want = "first"
		case 101:
			want = ""
		}
		require.Equal(f, want, string(c.Data))
		last = c
	}
	require.EqualValues(f, 101, last.Sequence)
	require.EqualValues(f, 101, i.manager.Chunks())
	status, err := p.Status(f.ctx)
	require.NoError(f, err)
	require.EqualValues(f, 101, status.Chunks)
	require.Equal(f, last.Cursor(), status.Cursor)
	require.JSONEq(f, `{"tokens":101}`, string(status.Verdict.Output))
}

// publishTogether sends what many streams publish within MaxDelay in few calls.
func publishTogether(f *fixture) {
	const streams, chunks = 50, 20
	i := f.open(&live.Options{MaxDelay: 200 * time.Millisecond})
	var producers []live.Producer
	for n := range streams {
		producers = append(producers, f.register(i, fmt.Sprint(n), nil))
	}
	before := i.log.Calls()
	for range chunks {
		for _, p := range producers {
			require.NoError(f, p.Publish(f.ctx, []byte("x")))
		}
	}
	for _, p := range producers {
		require.NoError(f, p.Flush(f.ctx))
	}
	calls := i.log.Calls() - before
	require.Less(f, calls, int64(streams*chunks/5), "calls for %d chunks", streams*chunks)
	require.Positive(f, calls)
}

// publishFull does not wait for MaxDelay when there is enough to send.
func publishFull(f *fixture) {
	i := f.open(&live.Options{MaxDelay: time.Hour, MaxChunks: 3})
	p := f.register(i, "chat", nil)
	r := f.reader(p)
	for _, text := range []string{"1", "2", "3"} {
		require.NoError(f, p.Publish(f.ctx, []byte(text)))
	}
	r.gets("1", "2", "3")
	require.NoError(f, p.Publish(f.ctx, []byte("4")))
	require.NoError(f, p.Flush(f.ctx))
	r.gets("1", "2", "3", "4")
	i = f.open(&live.Options{MaxDelay: -1})
	p = f.register(i, "at once", nil)
	r = f.reader(p)
	require.NoError(f, p.Publish(f.ctx, []byte("1")))
	r.gets("1")
}

// publishWaits delays a producer whose buffer is full, until its context ends.
func publishWaits(f *fixture) {
	i := f.open(&live.Options{BufferBytes: 1000})
	p := f.register(i, "chat", nil)
	i.fate.dead.Store(true)
	ctx, cancel := context.WithTimeout(f.ctx, 300*time.Millisecond)
	defer cancel()
	sent := 0
	var err error
	for err == nil {
		if err = p.Publish(ctx, make([]byte, 100)); err == nil {
			sent++
		}
		require.Less(f, sent, 100, "nothing holds it back")
	}
	require.ErrorIs(f, err, context.DeadlineExceeded)
	err = p.Flush(ctx)
	require.ErrorIs(f, err, context.DeadlineExceeded)
	i.fate.dead.Store(false)
	require.NoError(f, p.Done(f.ctx, nil))
	texts, _ := f.read(p, nil)
	require.Len(f, texts, sent)
}

// publishOverOutage loses and doubles nothing while Redis can not be reached.
func publishOverOutage(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	r := f.reader(p)
	var want []string
	for n := range 30 {
		i.fate.dead.Store(n%10 > 6)
		want = append(want, fmt.Sprint(n))
		require.NoError(f, p.Publish(f.ctx, []byte(want[n])))
		f.pass(5 * time.Millisecond)
	}
	i.fate.dead.Store(false)
	require.NoError(f, p.Done(f.ctx, nil))
	require.Equal(f, want, r.ends(streamhub.VerdictDone))
}

func publishLimits(f *fixture) {
	i := f.open(&live.Options{MaxChunkBytes: 10})
	p := f.register(i, "chat", nil)
	require.ErrorIs(f, p.Publish(f.ctx, make([]byte, 11)), streamhub.ErrTooLarge)
	f.publish(p, "just so ok")
	ended, cancel := context.WithCancel(f.ctx)
	cancel()
	require.ErrorIs(f, p.Publish(ended, []byte("x")), context.Canceled)
	require.NoError(f, p.Done(f.ctx, nil))
	f.closed(p.Publish(f.ctx, []byte("x")), streamhub.VerdictDone)
	texts, _ := f.read(p, nil)
	require.Equal(f, []string{"just so ok"}, texts)

	// Large chunks go in several frames.
	p = f.register(f.open(nil), "large", nil)
	large := strings.Repeat("x", streamhub.MaxRecordBytes)
	f.publish(p, large, large, large)
	require.NoError(f, p.Done(f.ctx, nil))
	texts, _ = f.read(p, nil)
	require.Len(f, texts, 3)
	for _, text := range texts {
		require.Len(f, text, len(large))
	}
}

// publishConcurrently keeps the order of each goroutine, and stores all that was accepted before
// the end and nothing that was not.
func publishConcurrently(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	var all sync.WaitGroup
	accepted := make([]int, 8)
	for g := range accepted {
		all.Go(func() {
			for n := 0; ; n++ {
				err := p.Publish(f.ctx, fmt.Appendf(nil, "%d %d", g, n))
				if errors.Is(err, streamhub.ErrClosed) {
					return
				}
				if err != nil {
					f.Error(err)
					return
				}
				accepted[g] = n + 1
			}
		})
	}
	f.eventually("something is published", func() bool { return i.manager.Chunks() > 200 })
	require.NoError(f, p.Done(f.ctx, nil))
	all.Wait()
	texts, _ := f.read(p, nil)
	next := make([]int, len(accepted))
	for _, text := range texts {
		var g, n int
		_, err := fmt.Sscan(text, &g, &n)
		require.NoError(f, err)
		require.Equal(f, next[g], n, "of goroutine %d", g)
		next[g]++
	}
	require.Equal(f, accepted, next)
}

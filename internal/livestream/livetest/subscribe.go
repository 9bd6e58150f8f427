package livetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var subscribeCases = []namedCase{
	{"SubscribeReplayThenLive", replayThenLive},
	{"SubscribeResume", resume},
	{"SubscribeBatch", batch},
	{"SubscribeSlow", slow},
	{"SubscribeOtherGeneration", otherGeneration},
	{"SubscribeEarly", early},
	{"SubscribeContext", subscribeContext},
	{"SubscribeWrong", subscribeWrong},
	{"Wait", wait},
}

func replayThenLive(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "1", "2")
	readers := []*reading{f.reader(f.get(b, "chat")), f.reader(f.get(a, "chat")), f.reader(p)}
	for _, r := range readers {
		r.gets("1", "2")
	}
	f.publish(p, "3")
	for _, r := range readers {
		r.gets("1", "2", "3")
	}
	require.NoError(f, p.Done(f.ctx, nil))
	for _, r := range append(readers, f.reader(f.get(b, "chat"))) {
		require.Equal(f, []string{"1", "2", "3"}, r.ends(streamhub.VerdictDone))
	}
}

// resume checks that seen[:k] and what resumes at k are all chunks, for each k, on another instance.
func resume(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	const n = 40
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	f.publish(p, all...)
	var cursors []live.Cursor
	for c, err := range p.Subscribe(f.ctx, nil) {
		require.NoError(f, err)
		cursors = append(cursors, c.Cursor())
		g, err := c.Cursor().Generation()
		require.NoError(f, err)
		require.Equal(f, p.Generation(), g)
		if len(cursors) == n {
			break
		}
	}
	require.NoError(f, p.Done(f.ctx, nil))
	s := f.get(b, "chat")
	for k, cursor := range cursors {
		for _, batch := range []bool{false, true} {
			texts, v := f.read(s, &live.SubscribeOptions{Cursor: cursor, BatchReplay: batch})
			require.Equal(f, strings.Join(all[k+1:], ""), strings.Join(texts, ""))
			require.Equal(f, streamhub.VerdictDone, v.Kind)
			if batch {
				require.LessOrEqual(f, len(texts), 1)
			} else {
				require.Len(f, texts, n-k-1)
			}
		}
	}
}

func batch(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	events := p.Channel(f.ctx, &live.SubscribeOptions{BatchReplay: true, Buffer: 7})
	require.Equal(f, 7, cap(events))
	for i := range 500 {
		require.NoError(f, p.Publish(f.ctx, fmt.Appendf(nil, "%03d", i)))
	}
	require.NoError(f, p.Flush(f.ctx))
	next := f.get(b, "chat").Channel(f.ctx, &live.SubscribeOptions{BatchReplay: true})
	e := <-next
	require.NoError(f, e.Err)
	require.EqualValues(f, 500, e.Sequence)
	require.EqualValues(f, 500, e.Replayed)
	require.Len(f, e.Data, 1500)
	f.publish(p, "then one by one")
	e = <-next
	require.NoError(f, e.Err)
	require.EqualValues(f, 501, e.Sequence)
	require.EqualValues(f, 1, e.Replayed)
	require.Equal(f, "then one by one", string(e.Data))
	require.NoError(f, p.Done(f.ctx, nil))
	f.closed((<-next).Err, streamhub.VerdictDone)
	_, open := <-next
	require.False(f, open)
	var size int
	for e := range events {
		size += len(e.Data)
	}
	require.Equal(f, 1500+len("then one by one"), size)
}

// slow readers lose nothing, the end included, and delay no other.
func slow(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	events := f.get(b, "chat").Channel(f.ctx, nil)
	for i := range 2000 {
		require.NoError(f, p.Publish(f.ctx, fmt.Append(nil, i)))
	}
	require.NoError(f, p.Done(f.ctx, nil)) // while no reader has read anything
	for i := range 2000 {
		e := <-events
		require.NoError(f, e.Err)
		require.Equal(f, fmt.Sprint(i), string(e.Data))
	}
	f.closed((<-events).Err, streamhub.VerdictDone)
}

// otherGeneration gives the reader of an earlier generation the rest of that one, and its verdict.
func otherGeneration(f *fixture) {
	i := f.open(nil)
	first := f.register(i, "chat", nil)
	f.publish(first, "1", "2", "3")
	var cursor live.Cursor
	for c, err := range first.Subscribe(f.ctx, nil) {
		require.NoError(f, err)
		cursor = c.Cursor()
		break
	}
	second := f.register(i, "chat", &live.RegisterOptions{Takeover: true})
	f.publish(second, "x")
	texts, v := f.read(f.get(i, "chat"), &live.SubscribeOptions{Cursor: cursor})
	require.Equal(f, []string{"2", "3"}, texts)
	require.Equal(f, streamhub.VerdictSuperseded, v.Kind)
	old, err := i.Generation("chat", first.Generation())
	require.NoError(f, err)
	texts, _ = f.read(old, nil)
	require.Equal(f, []string{"1", "2", "3"}, texts)
	status, err := old.Status(f.ctx)
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictSuperseded, status.Verdict.Kind)
	require.Zero(f, status.StartedAt)
	none, err := i.Generation("chat", 1)
	require.NoError(f, err)
	_, err = none.Status(f.ctx)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	for _, err := range none.Subscribe(f.ctx, nil) {
		require.ErrorIs(f, err, streamhub.ErrNotFound)
	}
	_, err = none.Wait(f.ctx)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// early readers wait for the first chunk.
func early(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	r := f.reader(f.get(b, "chat"))
	f.eventually("it is seen to read", func() bool {
		status, err := f.get(b, "chat").Status(f.ctx)
		return err == nil && status.Viewers == 1 && status.Chunks == 0 && status.Cursor == ""
	})
	f.publish(p, "1")
	r.gets("1")
	require.NoError(f, p.Done(f.ctx, nil))
	r.ends(streamhub.VerdictDone)
}

func subscribeContext(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	f.publish(p, "1")
	ctx, cancel := context.WithCancel(f.ctx)
	seen := 0
	for _, err := range p.Subscribe(ctx, nil) {
		if seen++; seen == 1 {
			require.NoError(f, err)
			cancel()
			continue
		}
		require.ErrorIs(f, err, context.Canceled)
	}
	require.Equal(f, 2, seen)
	ctx, cancel = context.WithCancel(f.ctx)
	events := p.Channel(ctx, nil)
	cancel()
	for range events { // is closed, whether or not it has the first chunk
	}
	ctx, cancel = context.WithTimeout(f.ctx, 20*time.Millisecond)
	defer cancel()
	_, err := p.Wait(ctx)
	require.ErrorIs(f, err, context.DeadlineExceeded)
}

func subscribeWrong(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	for _, cursor := range []live.Cursor{"x", ".", "1.", "1.x", "!.c0", live.Cursor(strings.Repeat("z", 5000))} {
		for _, err := range p.Subscribe(f.ctx, &live.SubscribeOptions{Cursor: cursor}) {
			require.ErrorIs(f, err, streamhub.ErrInvalidCursor, "%q", cursor)
		}
		_, err := cursor.Generation()
		require.ErrorIs(f, err, streamhub.ErrInvalidCursor, "%q", cursor)
	}
}

func wait(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "1", "2")
	s := f.get(b, "chat")
	verdicts := make(chan streamhub.Verdict, 1)
	go func() {
		v, err := s.Wait(f.ctx)
		if err != nil {
			f.Error(err)
		}
		verdicts <- v
	}()
	f.publish(p, "3")
	require.NoError(f, p.Done(f.ctx, 42))
	v := <-verdicts
	require.Equal(f, streamhub.VerdictDone, v.Kind)
	require.JSONEq(f, "42", string(v.Output))
	require.Equal(f, v, f.verdict(s))
}

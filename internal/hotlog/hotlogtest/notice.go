package hotlogtest

import (
	"bytes"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var noticeCases = []namedCase{
	{"NoticesOfSegment", noticesOfSegment},
	{"NoticesAfterSilence", noticesAfterSilence},
	{"NoticesOfEverything", noticesOfEverything},
	{"NoticesOfSpace", noticesOfSpace},
	{"NoticesOfRefused", noticesOfRefused},
}

// listen subscribes to channels.
func (f *fixture) listen(channels ...string) *redis.PubSub {
	f.Helper()
	sub := f.conn.Subscribe(f.ctx, channels...)
	f.Cleanup(func() { _ = sub.Close() })
	for range channels {
		_, err := sub.Receive(f.ctx)
		require.NoError(f, err)
	}
	return sub
}

func (f *fixture) segmentNotice(sub *redis.PubSub) hotlog.SegmentNotice {
	f.Helper()
	m, err := sub.ReceiveMessage(f.ctx)
	require.NoError(f, err)
	n, err := hotlog.ParseSegmentNotice(m.Payload)
	require.NoError(f, err)
	return n
}

func noticesOfSegment(f *fixture) {
	sub := f.listen(hotlog.SegmentChannel(f.id, space, "seg}\x00"))
	payloads := [][]string{{"1"}, {"2", "3"}, {string(bytes.Repeat([]byte("x"), 4000))}, {string(bytes.Repeat([]byte("x"), 4100))}, {"\n", ""}, {"last"}}
	at := streamhub.Position{}
	for i, p := range payloads {
		r, err := f.Append(f.ctx, space, "seg}\x00", records(p...), nil)
		require.NoError(f, err)
		n := f.segmentNotice(sub)
		require.Equal(f, r.Position, n.Position)
		require.Equal(f, r.First-1, n.Previous)
		require.Equal(f, r.Timestamp.UnixMilli(), n.Timestamp)
		require.True(f, n.Open)
		if i > 0 {
			require.True(f, n.Continues(at), "the chain holds")
			other := at
			other.Proof++
			require.False(f, n.Continues(other))
			other = at
			other.Lineage++
			require.False(f, n.Continues(other))
			other = at
			other.Incarnation++
			require.False(f, n.Continues(other))
			other = at
			other.Sequence--
			require.False(f, n.Continues(other))
		}
		at = r.Position
		entries, err := n.Entries(space, "seg}\x00")
		require.NoError(f, err)
		if f.conn.Cluster != nil || len(p[0]) > 4096 {
			require.Empty(f, entries, "it only wakes")
			continue
		}
		want, err := f.tryRead("seg}\x00", &streamhub.ReadOptions{FromSequence: r.First})
		require.NoError(f, err)
		require.Equal(f, want, entries)
	}
}

// noticesAfterSilence begins to listen when others have appended for a while: what it hears first
// may say only that there is something, and then it hears all of it.
func noticesAfterSilence(f *fixture) {
	f.append("seg", "1")
	f.append("seg", "2")
	f.append("seg", "3")
	sub := f.listen(hotlog.SegmentChannel(f.id, space, "seg"))
	f.append("seg", "4")
	m, err := sub.ReceiveMessage(f.ctx)
	require.NoError(f, err)
	if m.Payload != "" {
		n, err := hotlog.ParseSegmentNotice(m.Payload)
		require.NoError(f, err)
		require.EqualValues(f, 4, n.Position.Sequence)
	}
	for range 3 {
		r := f.append("seg", "more")
		require.Equal(f, r.Position, f.segmentNotice(sub).Position)
	}
}

func noticesOfEverything(f *fixture) {
	sub := f.listen(hotlog.SegmentChannel(f.id, space, "seg"))
	next := func(open bool, last uint64) hotlog.SegmentNotice {
		f.Helper()
		n := f.segmentNotice(sub)
		require.Equal(f, open, n.Open)
		require.Equal(f, last, n.Position.Sequence)
		if n.Previous == last {
			entries, err := n.Entries(space, "seg")
			require.NoError(f, err)
			require.Empty(f, entries)
		}
		return n
	}
	s := f.create("seg", nil)
	next(true, 0)
	r := f.append("seg", "1")
	n := next(true, 1)
	require.True(f, n.Continues(s.Position))
	f.trim("seg", 1)
	n = next(true, 1)
	require.True(f, n.Continues(r.Position))
	r = f.append("seg", "2")
	require.Equal(f, r.Position, next(true, 2).Position)
	_, err := f.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(f, err)
	n = next(false, 2)
	require.True(f, n.Continues(r.Position))
	f.delete("seg")
	require.Equal(f, r.Position, next(false, 2).Position)
	_, err = f.another().Append(f.ctx, space, "seg", records("new"), &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	require.NoError(f, err)
	n = next(false, 1)
	require.False(f, n.Continues(r.Position))
	require.NotEqual(f, r.Position.Incarnation, n.Position.Incarnation)
}

func noticesOfSpace(f *fixture) {
	sub := f.listen(hotlog.SpaceChannel(f.id, space))
	next := func() hotlog.SpaceNotice {
		f.Helper()
		m, err := sub.ReceiveMessage(f.ctx)
		require.NoError(f, err)
		n, err := hotlog.ParseSpaceNotice(m.Payload)
		require.NoError(f, err)
		_, last, _, err := f.Changes(f.ctx, space, hotlog.Mark{})
		require.NoError(f, err)
		require.Equal(f, last.ID, n.Timeline)
		return n
	}
	f.append("a b", "1", "2")
	require.Equal(f, []hotlog.SegmentChange{{Segment: "a b", LastSequence: 2}}, next().Changes)
	f.trim("a b", 2)
	require.Equal(f, []hotlog.SegmentChange{{Segment: "a b", LastSequence: 3}}, next().Changes)
	f.closed("a b")
	require.Equal(f, []hotlog.SegmentChange{{Segment: "a b", LastSequence: 2}}, next().Changes)
	f.delete("a b")
	require.Equal(f, []hotlog.SegmentChange{{Segment: "a b", LastSequence: 2}}, next().Changes)
	_, errs := f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "x", Records: records("1")},
		{Space: space, Segment: "y", Records: records("1")},
	})
	require.Equal(f, make([]error, 2), errs)
	require.ElementsMatch(f, []hotlog.SegmentChange{{Segment: "x", LastSequence: 1}, {Segment: "y", LastSequence: 1}}, next().Changes)
}

func noticesOfRefused(f *fixture) {
	f.append("good", "1")
	f.append("bad", "1")
	log := f.logKey("bad")
	require.NoError(f, f.conn.Del(f.ctx, log).Err())
	sub := f.listen(hotlog.SpaceChannel(f.id, space), hotlog.SegmentChannel(f.id, space, "bad"))
	_, errs := f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "bad", Records: records("2")},
		{Space: space, Segment: "good", Records: records("2")},
	})
	require.ErrorIs(f, errs[0], streamhub.ErrCorrupt)
	require.NoError(f, errs[1])
	m, err := sub.ReceiveMessage(f.ctx)
	require.NoError(f, err)
	n, err := hotlog.ParseSpaceNotice(m.Payload)
	require.NoError(f, err, "the first notice is that of the space")
	require.Equal(f, []hotlog.SegmentChange{{Segment: "good", LastSequence: 2}}, n.Changes)
	_, last, _, err := f.Changes(f.ctx, space, hotlog.Mark{})
	require.NoError(f, err)
	require.Equal(f, n.Timeline, last.ID)
}

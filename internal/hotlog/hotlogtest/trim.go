package hotlogtest

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var trimCases = []namedCase{
	{"TrimFrames", trimFrames},
	{"TrimErrors", trimErrors},
	{"TrimEverything", trimEverything},
	{"TrimProof", trimProof},
	{"TrimWhileResuming", trimWhileResuming},
	{"TrimClosed", trimClosed},
	{"TrimMany", trimMany},
	{"TrimAndSpace", trimAndSpace},
	{"TrimAndSweep", trimAndSweep},
}

func trimFrames(f *fixture) {
	_, err := f.Trim(f.ctx, space, "seg", 1)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	f.append("seg", "1", "2", "3")
	f.append("seg", "4")
	r := f.append("seg", "5", "6")
	for _, step := range []struct{ upTo, kept uint64 }{{0, 1}, {1, 1}, {2, 1}, {3, 4}, {1, 4}, {4, 5}, {5, 5}} {
		require.Equal(f, step.kept, f.trim("seg", step.upTo), "up to %d", step.upTo)
		require.Equal(f, step.kept, f.status("seg").FirstSequence)
		require.Equal(f, step.kept, f.read("seg", nil)[0].Sequence)
	}
	s := f.status("seg")
	require.Equal(f, r.Timestamp, s.FirstTimestamp)
	require.EqualValues(f, 6, s.LastSequence)
	f.holds("seg", "5", "6")
	require.EqualValues(f, 7, f.append("seg", "7").First)
}

func trimErrors(f *fixture) {
	f.append("seg", "1", "2")
	cursors := f.read("seg", nil)
	f.append("seg", "3")
	f.trim("seg", 2)
	for _, from := range []uint64{1, 2} {
		_, err := f.tryRead("seg", &streamhub.ReadOptions{FromSequence: from})
		f.trimmed(err, 3)
	}
	_, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: cursors[0].Cursor()})
	f.trimmed(err, 3)
	var trimmed *streamhub.TrimmedError
	require.ErrorAs(f, err, &trimmed)
	require.Equal(f, []string{"seg3"}, names(f.read("seg", &streamhub.ReadOptions{Cursor: trimmed.Cursor})))
	require.Len(f, f.read("seg", &streamhub.ReadOptions{Cursor: cursors[1].Cursor()}), 1, "nothing after this one was trimmed")
	require.Len(f, f.read("seg", &streamhub.ReadOptions{FromSequence: 3}), 1)
	_, err = f.ReadPage(f.ctx, space, "seg", cursors[0].Position, true)
	f.trimmed(err, 3)
}

func trimEverything(f *fixture) {
	tip := f.append("seg", "1", "2")
	require.EqualValues(f, 3, f.trim("seg", 100))
	s := f.status("seg")
	require.EqualValues(f, 3, s.FirstSequence)
	require.EqualValues(f, 2, s.LastSequence)
	require.True(f, s.Empty())
	require.Empty(f, f.read("seg", nil))
	require.Empty(f, f.read("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()}))
	_, err := f.Peek(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	page, err := f.ReadPage(f.ctx, space, "seg", streamhub.Position{}, true)
	require.NoError(f, err)
	require.Empty(f, page.Entries)
	require.False(f, page.More)
	require.EqualValues(f, 3, f.trim("seg", 100))

	require.EqualValues(f, 3, f.append("seg", "3").First)
	require.EqualValues(f, 4, f.appendTo(f.another(), "seg", "4").First)
	f.holds("seg", "3", "4")
	require.Len(f, f.read("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()}), 2)
	require.EqualValues(f, 3, f.status("seg").FirstSequence)
	require.EqualValues(f, 4, f.trim("seg", 3))
	f.holds("seg", "4")
}

func trimProof(f *fixture) {
	tip := f.append("seg", "1")
	f.append("seg", "2")
	f.trim("seg", 1)
	require.Len(f, f.read("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()}), 1)
	// The entry is gone, but it is known what it was.
	forged := tip.Position
	forged.Proof++
	_, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: forged.Cursor()})
	f.lost(err, 1)
	f.trim("seg", 2)
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: forged.Cursor()})
	f.trimmed(err, 3)
	forged.Sequence = 2
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: forged.Cursor()})
	f.lost(err, 2)
	f.append("seg", "3")
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: forged.Cursor()})
	f.lost(err, 2)
}

func trimClosed(f *fixture) {
	f.append("seg", "1")
	f.append("seg", "2")
	f.closed("seg")
	require.EqualValues(f, 2, f.trim("seg", 1))
	f.holds("seg", "2")
	require.EqualValues(f, 3, f.trim("seg", 2))
	require.Empty(f, f.read("seg", nil))
	_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
	f.isClosed(err, streamhub.VerdictDone, 2)
	_, err = f.another().Append(f.ctx, space, "seg", records("x"), nil)
	f.isClosed(err, streamhub.VerdictDone, 2)
}

func trimMany(f *fixture) {
	// More than one step of the script.
	batch := make([]streamhub.Record, 5000)
	for range 5 {
		_, err := f.Append(f.ctx, space, "seg", batch, nil)
		require.NoError(f, err)
	}
	require.EqualValues(f, 20_001, f.trim("seg", 24_999))
	require.Len(f, f.read("seg", nil), 5000)
	require.EqualValues(f, 25_001, f.trim("seg", 25_000))
}

func trimAndSpace(f *fixture) {
	for i := range 6 {
		f.append([]string{"a", "b"}[i%2], fmt.Sprint(i))
	}
	all := f.readSpace(nil)
	require.Equal(f, []string{"a1", "b1", "a2", "b2", "a3", "b3"}, names(all))
	f.trim("a", 2)
	require.Equal(f, []string{"b1", "b2", "a3", "b3"}, names(f.readSpace(nil)), "at the start they are left out")
	for i, e := range all {
		entries, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		if i < 2 { // a2 lies after it
			f.goesOn(err, []string{"b1", "b2", "a3", "b3"}[i:])
			continue
		}
		require.NoError(f, err)
		require.Equal(f, names(all[i+1:]), names(entries))
	}
	f.append("a", "more")
	require.Equal(f, []string{"b1", "b2", "a3", "b3", "a4"}, names(f.readSpace(nil)))
}

func trimAndSweep(f *fixture) {
	for i := range 6 {
		f.append([]string{"a", "b"}[i%2], fmt.Sprint(i))
	}
	f.append("gone", "x")
	all := f.readSpace(nil)
	length := func() int64 {
		n, err := f.conn.XLen(f.ctx, f.timelineKey()).Result()
		require.NoError(f, err)
		return n
	}
	before := length()
	require.NoError(f, f.Sweep(f.ctx))
	require.Equal(f, before, length(), "nothing to shorten")
	f.trim("a", 2)
	f.trim("b", 2)
	require.NoError(f, f.Sweep(f.ctx))
	require.Equal(f, before-4+1, length(), "what named nothing any more is gone; the end stays")
	require.Equal(f, []string{"a3", "b3", "gone1"}, names(f.readSpace(nil)))
	_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: all[1].Cursor()})
	f.trimmed(err, 0)
	require.Len(f, f.readSpace(&streamhub.ReadOptions{Cursor: all[4].Cursor()}), 2)

	// The last entry always stays, so that the order goes on, and the trim that names a segment without entries.
	f.trim("a", 3)
	f.trim("b", 3)
	f.delete("gone")
	require.NoError(f, f.Sweep(f.ctx))
	require.EqualValues(f, 3, length())
	require.Empty(f, f.readSpace(nil))
	f.append("a", "new")
	require.Equal(f, []string{"a4"}, names(f.readSpace(nil)))
	require.NoError(f, f.Sweep(f.ctx))
	require.Equal(f, []string{"a4"}, names(f.readSpace(nil)))
}

// beforeRange is a hook of a client that calls do before the first read of a log.
type beforeRange struct{ do func() }

func (beforeRange) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (b beforeRange) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "xrange" {
			b.do()
		}
		return next(ctx, cmd)
	}
}

func (beforeRange) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// trimWhileResuming trims the entry of a cursor after the reader has read the meta. Nothing that it has not
// read is missing.
func trimWhileResuming(f *fixture) {
	for _, more := range []int{0, 1} { // entries that are left
		seg := fmt.Sprint("seg", more)
		f.append(seg, "1")
		last := f.append(seg, "2")
		for range more {
			f.append(seg, "3")
		}
		resume := func(cursor streamhub.Cursor, upTo uint64) (entries []streamhub.Entry, err error) {
			var once sync.Once
			s := f.open(f.env.Connect(f.T, beforeRange{func() { once.Do(func() { f.trim(seg, upTo) }) }}))
			for e, err := range s.ConsumeSegment(f.ctx, space, seg, &streamhub.ReadOptions{Cursor: cursor}) {
				if err != nil {
					return entries, err
				}
				entries = append(entries, e)
			}
			return entries, nil
		}
		entries, err := resume(last.Cursor(), 2)
		require.NoError(f, err)
		require.Len(f, entries, more)

		forged := f.append(seg, "4").Position
		forged.Proof ^= 1
		_, err = resume(forged.Cursor(), 9)
		f.lost(err, forged.Sequence)
		early := f.append(seg, "5").Position
		f.append(seg, "6")
		_, err = resume(early.Cursor(), 9)
		f.trimmed(err, early.Sequence+2)
	}
}

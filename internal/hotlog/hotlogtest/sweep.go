package hotlogtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var sweepCases = []namedCase{
	{"SweepBehindCursors", sweepBehindCursors},
	{"SweepWhileReading", sweepWhileReading},
	{"SweepTrimmed", sweepTrimmed},
	{"SweepLostBefore", sweepLostBefore},
	{"SweepForgedCursor", sweepForgedCursor},
	{"SweepShrinks", sweepShrinks},
	{"SweepBounded", sweepBounded},
	{"SweepChanges", sweepChanges},
	{"SweepWithinTime", sweepWithinTime},
	{"SweepPastBroken", sweepPastBroken},
}

func (f *fixture) sweep() {
	f.Helper()
	require.NoError(f, f.Sweep(f.ctx))
}

func (f *fixture) timelineLength() int {
	f.Helper()
	n, err := f.conn.XLen(f.ctx, f.timelineKey()).Result()
	require.NoError(f, err)
	return int(n)
}

// without are the names of entries of all segments but these.
func without(entries []streamhub.Entry, segments ...string) []string {
	return names(slices.DeleteFunc(slices.Clone(entries), func(e streamhub.Entry) bool { return slices.Contains(segments, e.Segment) }))
}

// resumes requires that every cursor of entries gives what lies after it, of the segments that are left, in
// every way to read.
func (f *fixture) resumes(entries []streamhub.Entry, deleted ...string) {
	f.Helper()
	for i, e := range entries {
		want := without(entries[i+1:], deleted...)
		at := fmt.Sprintf("after %s%d", e.Segment, e.Sequence)
		require.Equal(f, want, names(f.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})), at)
		paged, _ := f.walk(e.Position)
		require.Equal(f, want, names(paged), at)
		var merged []streamhub.Entry
		for e, err := range f.Consume(f.ctx, map[string]streamhub.Cursor{space: e.Cursor(), "other": ""}, nil) {
			require.NoError(f, err)
			merged = append(merged, e)
		}
		require.Equal(f, want, names(merged), at)
	}
}

func sweepBehindCursors(f *fixture) {
	for i := range 4 {
		f.append([]string{"stays", "goes"}[i%2], "x")
		_, errs := f.AppendAll(f.ctx, []streamhub.Append{
			{Space: space, Segment: "goes too", Records: records("x", "y")},
			{Space: space, Segment: []string{"goes", "late"}[i%2], Records: records("x", "y")},
		})
		require.Equal(f, make([]error, 2), errs)
	}
	f.append("goes", "last")
	all := f.readSpace(nil)
	end, err := f.SpaceEnd(f.ctx, space)
	require.NoError(f, err)
	f.delete("goes")
	f.delete("goes too")
	f.sweep()
	f.resumes(all, "goes", "goes too")
	// Now the entry at the end of the timeline is another one.
	f.append("late", "z")
	rest, last := f.walk(end)
	require.Equal(f, []string{"late5"}, names(rest))
	all = append(all, rest...)
	f.sweep()
	f.resumes(all, "goes", "goes too")
	f.delete("stays")
	f.sweep()
	f.resumes(all, "goes", "goes too", "stays")
	// What a read gives to go on from is as good as an entry.
	f.delete("late")
	_, last = f.walk(last)
	for range 3 {
		f.append("new", "x")
		f.sweep()
	}
	rest, _ = f.walk(last)
	require.Equal(f, []string{"new1", "new2", "new3"}, names(rest))
	f.resumes(append(all, rest...), "goes", "goes too", "stays", "late")
}

// sweepWhileReading sweeps between the pages of one read.
func sweepWhileReading(f *fixture) {
	const n = 400
	for i := range n {
		f.append([]string{"stays", "goes"}[i%2], "x")
	}
	all := f.readSpace(nil)
	var got []streamhub.Entry
	for e, err := range f.ConsumeSpace(f.ctx, space, &streamhub.ReadOptions{Cursor: all[0].Cursor()}) {
		require.NoError(f, err)
		if got = append(got, e); len(got) == 5 {
			f.delete("goes")
			f.sweep()
		}
	}
	require.Less(f, len(got), n-1, "the sweep came in time")
	require.Equal(f, without(all[1:], "goes"), without(got, "goes"))

	// What is trimmed and swept in the middle of a read was not read.
	err := error(nil)
	got = nil
	for i := range n {
		f.append([]string{"stays", "cut"}[i%2], "x")
	}
	var e streamhub.Entry
	for e, err = range f.ConsumeSpace(f.ctx, space, &streamhub.ReadOptions{Cursor: all[0].Cursor()}) {
		if err != nil {
			break
		}
		if got = append(got, e); len(got) == 5 {
			f.trim("cut", n)
			f.sweep()
		}
	}
	f.trimmed(err, 0)
	var cut *streamhub.TrimmedError
	require.ErrorAs(f, err, &cut)
	rest := f.readSpace(&streamhub.ReadOptions{Cursor: cut.Cursor})
	require.Equal(f, without(f.readSpace(nil), "goes")[1:], without(append(got, rest...), "cut"), "each once")
}

func sweepTrimmed(f *fixture) {
	for i := range 12 {
		f.append([]string{"a", "b", "c"}[i%3], fmt.Sprint(i))
	}
	all := f.readSpace(nil)
	f.trim("b", 2)
	f.delete("a")
	f.sweep()
	for i, e := range all {
		got, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		_, _, _, errPage := f.ReadSpacePage(f.ctx, space, e.Position, nil)
		if i < 4 { // b2 lies after it
			want := without(all[i+1:], "a")
			want = slices.DeleteFunc(want, func(name string) bool { return name == "b1" || name == "b2" })
			f.goesOn(err, want)
			f.goesOn(errPage, want)
			continue
		}
		require.NoError(f, err)
		require.NoError(f, errPage)
		require.Equal(f, without(all[i+1:], "a"), names(got))
	}
	require.Equal(f, []string{"c1", "c2", "b3", "c3", "b4", "c4"}, names(f.readSpace(nil)), "at the start they are left out")
	// A place is compared with what was trimmed, not with what was swept last.
	f.append("d", "x")
	f.delete("c")
	f.append("b", "x")
	f.sweep()
	got, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: all[4].Cursor()})
	require.NoError(f, err)
	require.Equal(f, []string{"b3", "b4", "d1", "b5"}, names(got))
}

// sweepLostBefore loses the end of a space and then sweeps what replaced it: the places that were lost lie
// before those that were swept.
func sweepLostBefore(f *fixture) {
	for _, begin := range []string{"append", "create", "delete", "trim"} {
		f.id = uuid.New()
		f.Store = f.open(f.conn)
		f.append("seg", "1", "2")
		f.append("old", "1")
		f.append("old", "2")
		var along []streamhub.Entry
		f.rollBack(func() {
			f.append("seg", "3")
			f.append("seg", "4")
			along = f.readSpace(nil)
		})
		next := f.reign()
		switch begin {
		case "append":
			next.append("seg", "new 3")
		case "create":
			next.create("new", nil)
		case "delete":
			next.delete("old")
		case "trim":
			next.trim("old", 1)
		}
		next.append("goes", "x")
		next.delete("goes")
		next.append("seg", "new")
		next.sweep()
		for i, e := range along {
			_, err := next.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
			if i >= 4 {
				f.lost(err, 0)
				_, _, _, err = next.ReadSpacePage(f.ctx, space, e.Position, nil)
				f.lost(err, 0)
			} else if begin != "trim" || i == 3 {
				require.NoError(f, err, "%s, %d", begin, i)
			}
		}
	}
}

func sweepForgedCursor(f *fixture) {
	f.append("a", "1")
	tip := f.append("a", "2")
	f.append("b", "1")
	all := f.readSpace(nil)
	f.delete("b")
	f.append("a", "3")
	f.sweep()
	all = append(all, f.readSpace(&streamhub.ReadOptions{Cursor: all[2].Cursor()})...)
	f.resumes(all, "b")
	for _, forge := range []func(p *streamhub.Position){
		func(p *streamhub.Position) { p.Timeline.MS -= 1_000_000 },
		func(p *streamhub.Position) { p.Timeline.MS += 1_000_000 },
	} {
		p := all[2].Position
		forge(&p)
		_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: p.Cursor()})
		f.lost(err, 0)
	}
	p := all[1].Position
	require.Equal(f, tip.Position.Sequence, p.Sequence)
	p.Index++
	_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: p.Cursor()})
	f.lost(err, 0)
}

func sweepShrinks(f *fixture) {
	f.append("first", "x")
	for i := range 150 {
		job := fmt.Sprint("job", i)
		f.append(job, "x")
		if i == 70 {
			f.append("middle", "x")
		}
		f.delete(job)
	}
	before := f.readSpace(nil)
	require.Equal(f, []string{"first1", "middle1"}, names(before))
	require.Greater(f, f.timelineLength(), 300)
	f.sweep()
	require.Equal(f, 3, f.timelineLength(), "what is alive, and the end")
	f.resumes(before)
	f.append("first", "y")
	f.sweep()
	require.Equal(f, 3, f.timelineLength())
	require.Equal(f, []string{"first1", "middle1", "first2"}, names(f.readSpace(nil)))

	// The archiver finds what is left.
	w, err := f.ReadWindow(f.ctx, space, streamhub.TimelineID{}, time.Now().Add(time.Hour).UnixMilli(), 1<<20)
	require.NoError(f, err)
	require.Len(f, w.Changes, 3)
	_, err = f.ClaimArchive(f.ctx, space, hotlog.ArchiveOwner{Token: 1, Holder: "archiver"}, false)
	require.NoError(f, err)
	f.delete("middle")
	f.sweep()
	require.Equal(f, 4, f.timelineLength(), "from then on it is the archiver who removes")
}

// sweepBounded has more that stays than one sweep reads.
func sweepBounded(f *fixture) {
	const batch = 100
	several := make([]streamhub.Append, batch)
	for range 60 {
		for i := range several {
			several[i] = streamhub.Append{Space: space, Segment: fmt.Sprint("stays", i), Records: records("x")}
		}
		_, errs := f.AppendAll(f.ctx, several)
		require.Equal(f, make([]error, batch), errs)
	}
	stays := f.timelineLength()
	for i := range 20 {
		f.append(fmt.Sprint("job", i), "x")
	}
	for i := range 20 {
		f.delete(fmt.Sprint("job", i))
	}
	sweeps := 0
	for ; f.timelineLength() > stays+1 && sweeps < 10; sweeps++ {
		f.sweep()
	}
	require.Equal(f, stays+1, f.timelineLength())
	require.LessOrEqual(f, sweeps, 3)
	require.Len(f, f.readSpace(nil), 60*batch)
}

// sweepChanges asks what changed where something of that was swept although the place is still there.
func sweepChanges(f *fixture) {
	f.append("a", "1")
	_, start, _, err := f.Changes(f.ctx, space, hotlog.Mark{})
	require.NoError(f, err)
	f.sweep()
	f.append("b", "1")
	_, _, lost, err := f.Changes(f.ctx, space, start)
	require.NoError(f, err)
	require.False(f, lost)
	f.delete("b")
	f.append("a", "2")
	f.sweep()
	_, last, lost, err := f.Changes(f.ctx, space, start)
	require.NoError(f, err)
	require.True(f, lost, "b is not named any more")
	f.append("a", "3")
	list, _, lost, err := f.Changes(f.ctx, space, last)
	require.NoError(f, err)
	require.False(f, lost)
	require.Equal(f, []hotlog.SegmentChange{{Segment: "a", LastSequence: 3}}, list)
}

// sweepWithinTime removes what was trimmed within and after the time that a reader asks for.
func sweepWithinTime(f *fixture) {
	f.append("stays", "1")
	from := f.readSpace(nil)[0].Cursor()
	until := f.append("goes", "1").Timestamp
	last := f.append("goes", "2")
	for last.Timestamp.Equal(until) {
		last = f.append("goes", "more")
	}
	f.trim("goes", last.Last)
	f.append("stays", "2")
	_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: from, Until: until})
	f.trimmed(err, 0)
	f.sweep()
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: from, Until: until})
	f.trimmed(err, 0)
}

// sweepPastBroken sweeps what comes after segments, and after a space, that cannot be read.
func sweepPastBroken(f *fixture) {
	const broken, page = "!", 256 // the space comes first in byte order; a page is how many deadlines one command lists
	ends := time.Now().Add(-time.Hour)
	f.append("goes", "1")
	f.delete("goes")
	f.append("stays", "1")
	_, err := f.Append(f.ctx, broken, "due", records("1"), nil)
	require.NoError(f, err)
	_, err = f.Expire(f.ctx, broken, "due", time.Millisecond)
	require.NoError(f, err)
	prefix := strings.TrimSuffix(hotlog.SpaceChannel(f.id, broken), "t")
	pipe := f.conn.Pipeline()
	for i := range page {
		name := fmt.Sprint("broken", i)
		pipe.Set(f.ctx, prefix+"m:"+name, "not ours", 0)
		pipe.ZAdd(f.ctx, prefix+"d", redis.Z{Score: float64(ends.UnixMilli()), Member: "t" + name})
	}
	_, err = pipe.Exec(f.ctx)
	require.NoError(f, err)
	require.Eventually(f, func() bool {
		require.ErrorIs(f, f.Sweep(f.ctx), streamhub.ErrCorrupt)
		left, err := f.conn.ZRange(f.ctx, prefix+"d", 0, -1).Result()
		require.NoError(f, err)
		return len(left) == page
	}, 10*time.Second, time.Millisecond, "a segment after the broken ones expires")
	require.Equal(f, 1, f.timelineLength(), "the next space is swept")
}

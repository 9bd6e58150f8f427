package hotlogtest

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var liveCases = []namedCase{
	{"ReadPage", readPage},
	{"ReadPageProof", readPageProof},
	{"ReadPageEnds", readPageEnds},
	{"ReadSpacePage", readSpacePage},
	{"ReadSpacePageOfNothing", readSpacePageOfNothing},
	{"ReadSpacePageSinceStart", readSpacePageSinceStart},
	{"Changes", changes},
	{"ChangesLost", changesLost},
}

func readPage(f *fixture) {
	_, err := f.ReadPage(f.ctx, space, "seg", streamhub.Position{}, true)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	const n = 40
	for i := range n {
		_, err := f.Append(f.ctx, space, "seg", []streamhub.Record{{Payload: make([]byte, 100_000)}, {Payload: []byte(fmt.Sprint(i))}}, nil)
		require.NoError(f, err)
	}
	all := f.read("seg", nil)
	for _, start := range []int{0, 1, 2, 33, 2*n - 1, 2 * n} {
		var at streamhub.Position
		if start > 0 {
			at = all[start-1].Position
		}
		got, pages := start, 0
		for more := true; more; pages++ {
			page, err := f.ReadPage(f.ctx, space, "seg", at, true)
			require.NoError(f, err)
			require.EqualValues(f, 2*n, page.Status.LastSequence)
			size := 0
			for _, e := range page.Entries {
				require.Equal(f, all[got], e)
				got++
				size += len(e.Payload)
			}
			require.Less(f, size, 1<<21, "a page is about a megabyte")
			at, more = page.Next(at), page.More
		}
		require.Equal(f, 2*n, got)
		require.LessOrEqual(f, pages, 6)
	}
}

func readPageProof(f *fixture) {
	f.append("seg", "1", "2")
	forged := f.append("seg", "3").Position
	forged.Proof++
	f.append("seg", "4")
	_, err := f.ReadPage(f.ctx, space, "seg", forged, true)
	f.lost(err, 3)
	page, err := f.ReadPage(f.ctx, space, "seg", forged, false)
	require.NoError(f, err)
	require.Equal(f, []string{"4"}, f.payloads(page.Entries))
}

func readPageEnds(f *fixture) {
	f.append("seg", "1")
	f.closed("seg")
	page, err := f.ReadPage(f.ctx, space, "seg", streamhub.Position{}, true)
	require.NoError(f, err)
	require.False(f, page.More)
	require.Equal(f, streamhub.StateClosed, page.Status.State)
	page, err = f.ReadPage(f.ctx, space, "seg", page.Next(streamhub.Position{}), true)
	require.NoError(f, err)
	require.Empty(f, page.Entries)
	require.False(f, page.More)
	require.Equal(f, streamhub.VerdictDone, page.Status.Verdict.Kind)
}

// walk reads along the space by pages, until there is no more.
func (f *fixture) walk(at streamhub.Position) ([]streamhub.Entry, streamhub.Position) {
	f.Helper()
	var all []streamhub.Entry
	for steps := 0; ; steps++ {
		require.Less(f, steps, 1000, "it does not come to an end")
		entries, next, more, err := f.ReadSpacePage(f.ctx, space, at, nil)
		require.NoError(f, err)
		all = append(all, entries...)
		require.False(f, more && next == at, "it stands still")
		if at = next; !more {
			return all, at
		}
	}
}

func readSpacePage(f *fixture) {
	entries, next, more, err := f.ReadSpacePage(f.ctx, space, streamhub.Position{}, nil)
	require.NoError(f, err)
	require.Empty(f, entries)
	require.False(f, more)
	require.True(f, next.IsZero())
	f.history(16)
	all := f.readSpace(nil)
	got, end := f.walk(streamhub.Position{})
	require.Equal(f, all, got)
	for i, e := range all {
		rest, _ := f.walk(e.Position)
		require.Equal(f, names(all[i+1:]), names(rest))
	}
	rest, _ := f.walk(end)
	require.Empty(f, rest)
	f.append("s0", "more")
	rest, _ = f.walk(end)
	require.Len(f, rest, 1)
}

// readSpacePageOfNothing walks over a long part of the timeline in which nothing is left to read.
func readSpacePageOfNothing(f *fixture) {
	f.append("a", "1")
	for range 200 {
		f.append("gone", "x")
	}
	f.delete("gone")
	end := f.append("a", "2")
	all, at := f.walk(streamhub.Position{})
	require.Equal(f, []string{"a1", "a2"}, names(all))
	require.Equal(f, end.Position.Sequence, at.Sequence)
	f.delete("a")
	all, at = f.walk(streamhub.Position{})
	require.Empty(f, all)
	f.append("b", "1")
	all, _ = f.walk(at)
	require.Equal(f, []string{"b1"}, names(all), "a place after nothing is a place")
}

// readSpacePageSinceStart trims before a reader without a cursor begins, and after its first page.
func readSpacePageSinceStart(f *fixture) {
	trimStays := func(upTo uint64) func() { return func() { f.trim("stays", upTo) } }
	for name, c := range map[string]struct {
		swept bool // before the reader begins
		then  func()
		told  bool
	}{
		"no more":                  {false, func() {}, false},
		"swept":                    {true, func() {}, false},
		"swept later":              {false, f.sweep, false},
		"what was read":            {false, trimStays(4), false},
		"what was read, and swept": {true, trimStays(4), true}, // which segment the sweep met is not known
		"what was not read":        {false, trimStays(30), true},
		"all that was not":         {true, trimStays(40), true},
		"what was not read is swept": {false, func() {
			f.trim("stays", 30)
			f.append("stays", "x") // the last place of a timeline is never swept
			f.sweep()
		}, true},
		"more of what was trimmed": {false, func() { f.trim("goes", 38) }, true},
		"what came later": {false, func() {
			f.append("late", "1", "2")
			f.append("late", "3")
			f.trim("late", 2)
		}, true},
	} {
		f.id = uuid.New()
		f.Store = f.open(f.conn)
		for range 40 {
			f.append("stays", "x")
			f.append("goes", "x")
		}
		f.trim("goes", 36)
		if c.swept {
			f.sweep()
		}
		start := &hotlog.SpaceStart{}
		got, at, more, err := f.ReadSpacePage(f.ctx, space, streamhub.Position{}, start)
		require.NoError(f, err, name)
		require.True(f, more, name)
		c.then()
		for more && err == nil {
			var page []streamhub.Entry
			page, at, more, err = f.ReadSpacePage(f.ctx, space, at, start)
			got = append(got, page...)
		}
		if !c.told {
			require.NoError(f, err, name)
			rest := f.readSpace(nil)
			require.Equal(f, names(rest), names(got)[len(got)-len(rest):], name)
			continue
		}
		f.trimmed(err, 0)
		var cut *streamhub.TrimmedError
		require.ErrorAs(f, err, &cut)
		f.readSpace(&streamhub.ReadOptions{Cursor: cut.Cursor})
	}
}

func changes(f *fixture) {
	list, last, lost, err := f.Changes(f.ctx, space, hotlog.Mark{})
	require.NoError(f, err)
	require.Empty(f, list)
	require.False(f, lost)
	require.True(f, last.IsZero())

	f.append("a", "1")
	_, start, lost, err := f.Changes(f.ctx, space, hotlog.Mark{})
	require.NoError(f, err)
	require.False(f, lost)
	require.False(f, start.IsZero())
	list, last, lost, err = f.Changes(f.ctx, space, start)
	require.NoError(f, err)
	require.False(f, lost)
	require.Empty(f, list)
	require.Equal(f, start, last)

	f.append("a", "2", "3")
	f.create("b}", nil)
	f.append("c", "1")
	f.closed("a")
	f.trim("a", 1)
	f.delete("c")
	_, errs := f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "d", Records: records("1")},
		{Space: space, Segment: "e", Records: records("1", "2")},
	})
	require.Equal(f, make([]error, 2), errs)
	list, last, lost, err = f.Changes(f.ctx, space, start)
	require.NoError(f, err)
	require.False(f, lost)
	require.ElementsMatch(f, []hotlog.SegmentChange{
		{Segment: "a", LastSequence: 3}, {Segment: "b}", LastSequence: 0}, {Segment: "c", LastSequence: 1}, {Segment: "a", LastSequence: 3},
		{Segment: "a", LastSequence: 2}, {Segment: "c", LastSequence: 1}, {Segment: "d", LastSequence: 1}, {Segment: "e", LastSequence: 2},
	}, list)
	list, again, lost, err := f.Changes(f.ctx, space, last)
	require.NoError(f, err)
	require.False(f, lost)
	require.Empty(f, list)
	require.Equal(f, last, again)
}

func changesLost(f *fixture) {
	f.append("a", "1")
	_, start, _, err := f.Changes(f.ctx, space, hotlog.Mark{})
	require.NoError(f, err)
	f.append("a", "2")
	f.trim("a", 2)
	require.NoError(f, f.Sweep(f.ctx))
	list, last, lost, err := f.Changes(f.ctx, space, start)
	require.NoError(f, err)
	require.True(f, lost)
	require.Empty(f, list)
	_, _, err = f.ChangedSince(f.ctx, space, start)
	f.lost(err, 0)
	_, end, _, err := f.Changes(f.ctx, space, hotlog.Mark{})
	require.NoError(f, err)
	require.Equal(f, end, last)
	// Another primary, whose clock is slower, gives the same place to another segment.
	f.del(f.timelineKey())
	id := fmt.Sprintf("%d-%d", end.ID.MS, end.ID.N)
	require.NoError(f, f.conn.XAdd(f.ctx, &redis.XAddArgs{Stream: f.timelineKey(), ID: id, Values: []string{"b", "2"}}).Err())
	_, last, lost, err = f.Changes(f.ctx, space, end)
	require.NoError(f, err)
	require.True(f, lost)
	require.Equal(f, end.ID, last.ID)
	require.NotEqual(f, end, last)
	_, _, err = f.ChangedSince(f.ctx, space, end)
	f.lost(err, 0)
	f.wipe()
	_, last, lost, err = f.Changes(f.ctx, space, end)
	require.NoError(f, err)
	require.True(f, lost)
	require.True(f, last.IsZero())
}

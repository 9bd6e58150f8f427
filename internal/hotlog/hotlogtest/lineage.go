package hotlogtest

import (
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var lineageCases = []namedCase{
	{"LineageKeepsCursors", lineageKeepsCursors},
	{"LineageTellsLost", lineageTellsLost},
	{"LineageManyReigns", lineageManyReigns},
	{"LineageOfForks", lineageOfForks},
	{"LineageWithoutRecords", lineageWithoutRecords},
}

// reign begins another lineage, and returns the store as a process sees it that comes then.
func (f *fixture) reign() *fixture {
	f.Helper()
	f.env.Reign(f.T)
	next := *f
	next.connect()
	next.Store = next.open(next.conn)
	return &next
}

func lineageKeepsCursors(f *fixture) {
	f.append("seg", "1", "2")
	f.append("other", "1")
	cursors := f.read("seg", nil)
	along := f.readSpace(nil)
	next := f.reign()
	for range 2 {
		for i, e := range cursors {
			require.Len(f, next.read("seg", &streamhub.ReadOptions{Cursor: e.Cursor()}), len(cursors)-i-1)
		}
		for i, e := range along {
			require.Len(f, next.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()}), len(along)-i-1)
		}
		r := next.append("seg", "more")
		require.NotEqual(f, cursors[0].Position.Lineage, r.Position.Lineage)
		cursors, along = append(cursors, next.read("seg", &streamhub.ReadOptions{FromSequence: r.First})...), next.readSpace(nil)
	}
	require.Equal(f, cursors[0].Position.Lineage, cursors[1].Position.Lineage)
	require.NotEqual(f, cursors[1].Position.Lineage, cursors[2].Position.Lineage)
	require.Equal(f, cursors[2].Position.Lineage, cursors[3].Position.Lineage)
	again := next.read("seg", nil)
	require.Equal(f, cursors, again, "an entry keeps its lineage")
	p, err := f.ReadPage(f.ctx, space, "seg", cursors[1].Position, true)
	require.NoError(f, err)
	require.Len(f, p.Entries, 2)
}

func lineageTellsLost(f *fixture) {
	f.append("seg", "1", "2")
	f.append("seg", "3")
	var lost, along []streamhub.Entry
	f.rollBack(func() {
		f.append("seg", "4", "5")
		f.append("seg", "6")
		lost, along = f.read("seg", nil), f.readSpace(nil)
	})
	next := f.reign()
	next.append("seg", "new 4")
	next.append("seg", "new 5", "new 6", "new 7")
	for _, reader := range []*fixture{f, next} {
		for i, e := range lost {
			rest, err := reader.tryRead("seg", &streamhub.ReadOptions{Cursor: e.Cursor()})
			_, errAlong := reader.tryReadSpace(&streamhub.ReadOptions{Cursor: along[i].Cursor()})
			if e.Sequence <= 3 {
				require.NoError(f, err)
				require.NoError(f, errAlong)
				require.Len(f, rest, 7-int(e.Sequence))
				continue
			}
			f.lost(err, 4)
			f.lost(errAlong, 0)
			_, err = reader.ReadPage(f.ctx, space, "seg", e.Position, false)
			f.lost(err, 4)
		}
	}
	// Who appended is told as exactly, once.
	_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
	f.lost(err, 4)
	require.EqualValues(f, 8, f.append("seg", "8").First)
}

func lineageManyReigns(f *fixture) {
	// More than the list of reigns holds.
	const reigns = 130
	next := f
	for i := range reigns {
		if i > 0 {
			next = next.reign()
		}
		next.append("seg", "x")
	}
	for i, e := range next.read("seg", nil) {
		if i%9 > 0 {
			continue
		}
		require.Len(f, next.read("seg", &streamhub.ReadOptions{Cursor: e.Cursor()}), reigns-i-1, "no false alarm")
	}
	first := f.read("seg", nil)[0].Position
	first.Proof++
	_, err := next.tryRead("seg", &streamhub.ReadOptions{Cursor: first.Cursor()})
	f.lost(err, 1)
	n, err := f.conn.HStrLen(f.ctx, f.metaKey("seg"), "l").Result()
	require.NoError(f, err)
	require.LessOrEqual(f, n, int64(2048))
}

func lineageOfForks(f *fixture) {
	f.append("p", "1", "2")
	next := f.reign()
	s := next.fork("f", "p", 2)
	for _, reader := range []*fixture{f, next} {
		for i, e := range reader.read("f", nil) {
			require.Len(f, reader.read("f", &streamhub.ReadOptions{Cursor: e.Cursor()}), 1-i)
		}
		require.Empty(f, reader.read("f", &streamhub.ReadOptions{Cursor: s.Cursor()}))
	}
	next = next.reign()
	next.append("f", "3")
	next.append("p", "own 3")
	for i, e := range next.read("f", nil) {
		require.Len(f, next.read("f", &streamhub.ReadOptions{Cursor: e.Cursor()}), 2-i)
	}
	require.Len(f, next.read("f", &streamhub.ReadOptions{Cursor: s.Cursor()}), 1)
}

func lineageWithoutRecords(f *fixture) {
	r := f.append("seg", "1")
	next := f.reign()
	closed, err := next.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(f, err)
	s := next.status("seg")
	for _, cursor := range []streamhub.Cursor{r.Cursor(), closed.Cursor(), s.Cursor()} {
		require.Empty(f, next.read("seg", &streamhub.ReadOptions{Cursor: cursor}))
	}
	next = next.reign()
	require.Empty(f, next.read("seg", &streamhub.ReadOptions{Cursor: s.Cursor()}))
}

package hotlogtest

import (
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var removeCases = []namedCase{
	{"DropSpace", dropSpace},
	{"Delete", remove},
	{"DeleteTwice", deleteTwice},
	{"DeleteAndGoOn", deleteAndGoOn},
	{"DeleteAndRecreate", deleteAndRecreate},
	{"DeleteByAnother", deleteByAnother},
	{"DeleteKeepsNeighbours", deleteKeepsNeighbours},
}

func remove(f *fixture) {
	f.append("seg", "1", "2")
	log := f.logKey("seg")
	f.delete("seg")
	_, err := f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.tryRead("seg", nil)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.ErrorContains(f, err, string(streamhub.VerdictDeleted))
	_, err = f.Peek(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Trim(f.ctx, space, "seg", 1)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.Empty(f, f.readSpace(nil))
	segments, err := f.Segments(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Empty(f, segments)
	n, err := f.conn.Exists(f.ctx, log).Result()
	require.NoError(f, err)
	require.Zero(f, n)
	ttl, err := f.conn.PTTL(f.ctx, f.metaKey("seg")).Result()
	require.NoError(f, err)
	require.Greater(f, ttl.Hours(), 23.0, "a tombstone stays")
	require.LessOrEqual(f, ttl.Hours(), 24.0)
}

func deleteTwice(f *fixture) {
	require.ErrorIs(f, f.Delete(f.ctx, space, "seg", ""), streamhub.ErrNotFound)
	f.append("seg", "1")
	f.delete("seg")
	f.delete("seg")
	require.NoError(f, f.another().Delete(f.ctx, space, "seg", "other reason"))
	_, err := f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

func deleteAndGoOn(f *fixture) {
	// Who appended to the old life is told once; the next append begins a new life.
	old := f.append("seg", "1", "2")
	f.delete("seg")
	_, err := f.with(streamhub.AppendOptions{}, "seg", "3")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	r := f.append("seg", "new")
	require.EqualValues(f, 1, r.First)
	require.True(f, r.Created)
	require.NotEqual(f, old.Position.Incarnation, r.Position.Incarnation)
	f.holds("seg", "new")
	require.Equal(f, []string{"seg1"}, names(f.readSpace(nil)), "the old entries are skipped")
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: old.Cursor()})
	f.lost(err, 1)
	ttl, err := f.conn.PTTL(f.ctx, f.metaKey("seg")).Result()
	require.NoError(f, err)
	require.Negative(f, ttl, "the new life does not end with the tombstone")
}

func deleteAndRecreate(f *fixture) {
	old := f.append("seg", "1", "2")
	_, err := f.with(streamhub.AppendOptions{Generation: 7, StreamSeq: "x"}, "seg", "3")
	require.NoError(f, err)
	for range 2 {
		f.delete("seg")
		// A Create goes for whatever is there.
		s := f.create("seg", &streamhub.CreateOptions{ContentType: "text/plain"})
		require.Zero(f, s.Generation)
		require.NotEqual(f, old.Position.Incarnation, s.Position.Incarnation)
		require.EqualValues(f, 1, f.append("seg", "new").First)
	}
	f.delete("seg")
	// Another process never saw a life of it.
	other := f.another()
	require.EqualValues(f, 1, f.appendTo(other, "seg", "newest").First)
	_, err = f.with(by("named", 0, 0), "seg", "x")
	f.lost(err, 1)
	f.append("seg", "second")
	f.holds("seg", "newest", "second")
}

func deleteByAnother(f *fixture) {
	f.append("seg", "1")
	require.NoError(f, f.another().Delete(f.ctx, space, "seg", ""))
	_, err := f.with(streamhub.AppendOptions{ExpectedSequence: 2}, "seg", "2")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.with(streamhub.AppendOptions{ExpectedSequence: 2}, "seg", "2")
	f.mismatch(err, 1, 2)
}

func deleteKeepsNeighbours(f *fixture) {
	results, errs := f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "a", Records: records("1")},
		{Space: space, Segment: "b", Records: records("1")},
		{Space: space, Segment: "c", Records: records("1")},
	})
	require.Equal(f, make([]error, 3), errs)
	require.Len(f, results, 3)
	f.delete("b")
	require.Equal(f, []string{"a1", "c1"}, names(f.readSpace(nil)))
	// Its appender alone is told.
	_, errs = f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "a", Records: records("2")},
		{Space: space, Segment: "b", Records: records("2")},
		{Space: space, Segment: "c", Records: records("2")},
	})
	require.NoError(f, errs[0])
	require.ErrorIs(f, errs[1], streamhub.ErrNotFound)
	require.NoError(f, errs[2])
}

// dropSpace removes what a space has left, and begins it again under a process that knew it.
func dropSpace(f *fixture) {
	drop := func(owner *hotlog.ArchiveOwner) error { return f.DropSpace(f.ctx, space, owner) }
	require.NoError(f, drop(nil), "there is none")
	f.append("a", "1")
	f.append("b", "1")
	_, _, err := f.Create(f.ctx, space, "fork", &streamhub.CreateOptions{ForkOf: "b"})
	require.NoError(f, err)
	cursor := f.readSpace(nil)[1].Cursor()
	require.ErrorIs(f, drop(nil), streamhub.ErrConflict)
	f.delete("b")
	f.delete("a")
	require.ErrorIs(f, drop(nil), streamhub.ErrConflict, "a fork is there")
	f.delete("fork")
	names, err := f.Spaces(f.ctx, "", 10)
	require.NoError(f, err)
	require.Equal(f, []string{space}, names)
	require.NoError(f, drop(nil))
	require.NoError(f, drop(nil), "a repeat")
	names, err = f.Spaces(f.ctx, "", 10)
	require.NoError(f, err)
	require.Empty(f, names)
	require.Zero(f, f.timelineLength())
	require.NoError(f, f.Unlist(f.ctx))
	stores, err := f.conn.SMembers(f.ctx, "sh:stores").Result()
	require.NoError(f, err)
	require.NotContains(f, stores, f.id.String())
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: cursor})
	f.lost(err, 0)
	require.Empty(f, f.readSpace(nil))

	_, err = f.with(streamhub.AppendOptions{}, "a", "2") // this process knows its first life
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	f.append("a", "2")
	f.append("new", "1")
	require.Eventually(f, func() bool {
		names, err := f.Spaces(f.ctx, "", 10)
		stores, failed := f.conn.SMembers(f.ctx, "sh:stores").Result()
		return err == nil && failed == nil && slices.Contains(names, space) && slices.Contains(stores, f.id.String())
	}, 10*time.Second, time.Millisecond, "the space is listed again")
	require.NoError(f, f.Unlist(f.ctx), "it has a space")
	require.Len(f, f.readSpace(nil), 2)

	// One that is archived belongs to its archiver.
	first, second := hotlog.ArchiveOwner{Token: 1, Holder: "one"}, hotlog.ArchiveOwner{Token: 2, Holder: "two"}
	_, err = f.ClaimArchive(f.ctx, "never", first, false)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	state, err := f.ClaimArchive(f.ctx, space, first, false)
	require.NoError(f, err)
	require.NoError(f, f.CommitArchive(f.ctx, space, first, state.First, nil))
	f.delete("a")
	f.delete("new")
	require.ErrorIs(f, drop(nil), streamhub.ErrUnavailable)
	_, err = f.ClaimArchive(f.ctx, space, second, false)
	require.NoError(f, err)
	require.ErrorIs(f, drop(&first), streamhub.ErrFenced)
	require.NoError(f, drop(&second))
	require.NoError(f, drop(&second), "a repeat")
	require.ErrorIs(f, f.CommitArchive(f.ctx, space, second, state.First, nil), streamhub.ErrFenced)
	require.ErrorIs(f, f.DropSpace(f.ctx, "", nil), streamhub.ErrInvalidName)
}

package hotlogtest

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var forkCases = []namedCase{
	{"Fork", fork},
	{"ForkInsideFrame", forkInsideFrame},
	{"ForkOfFork", forkOfFork},
	{"ForkOfClosed", forkOfClosed},
	{"ForkCursors", forkCursors},
	{"ForkOfDeleted", forkOfDeleted},
	{"ForkReleased", forkReleased},
	{"ForkReleasedBySweep", forkReleasedBySweep},
	{"ForkAndTrim", forkAndTrim},
	{"ForkTrimmed", forkTrimmed},
	{"ForkAtBounds", forkAtBounds},
	{"ForkStatus", forkStatus},
	{"ForkAlongSpace", forkAlongSpace},
}

func (f *fixture) fork(name, parent string, at uint64) streamhub.Status {
	f.Helper()
	return f.create(name, &streamhub.CreateOptions{ForkOf: parent, ForkAt: &at})
}

func fork(f *fixture) {
	f.append("p", "1", "2")
	f.append("p", "3")
	s := f.create("f", &streamhub.CreateOptions{ForkOf: "p"})
	require.Equal(f, "p", s.Parent)
	require.EqualValues(f, 3, s.ForkedAt)
	f.holds("f", "1", "2", "3")
	for _, e := range f.read("f", nil) {
		require.Equal(f, "f", e.Segment)
	}
	f.append("p", "parent")
	r := f.append("f", "fork")
	require.EqualValues(f, 4, r.First)
	require.EqualValues(f, 3, r.TRX.Number, "numbers go on as well")
	f.append("f", "fork too")
	f.holds("p", "1", "2", "3", "parent")
	f.holds("f", "1", "2", "3", "fork", "fork too")
	e, err := f.Peek(f.ctx, space, "f")
	require.NoError(f, err)
	require.Equal(f, "fork too", string(e.Payload))
}

func forkInsideFrame(f *fixture) {
	f.append("p", "1", "2", "3", "4")
	for at := uint64(0); at <= 4; at++ {
		name := fmt.Sprint("f", at)
		f.fork(name, "p", at)
		e, err := f.Peek(f.ctx, space, name)
		if at == 0 {
			require.ErrorIs(f, err, streamhub.ErrNotFound)
		} else {
			require.NoError(f, err)
			require.Equal(f, fmt.Sprint(at), string(e.Payload))
		}
		require.Equal(f, at+1, f.append(name, "own", "own too").First)
		want := append([]string{"1", "2", "3", "4"}[:at:at], "own", "own too")
		f.holds(name, want...)
		require.Equal(f, want[1:2], f.payloads(f.read(name, &streamhub.ReadOptions{FromSequence: 2, Limit: 1})))
	}
}

func forkOfFork(f *fixture) {
	f.append("a", "1", "2", "3", "4")
	f.fork("b", "a", 3)
	f.append("b", "b4", "b5")
	f.fork("c", "b", 4)
	f.append("c", "c5")
	f.fork("d", "b", 2) // lies wholly in a
	f.append("d", "d3")
	f.fork("e", "d", 2)
	f.append("e", "e3")
	f.holds("b", "1", "2", "3", "b4", "b5")
	f.holds("c", "1", "2", "3", "b4", "c5")
	f.holds("d", "1", "2", "d3")
	f.holds("e", "1", "2", "e3")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		s := f.status(name)
		require.EqualValues(f, 1, s.FirstSequence)
		require.NotZero(f, s.FirstTimestamp)
		entries := f.read(name, nil)
		for i, e := range entries {
			require.Len(f, f.read(name, &streamhub.ReadOptions{Cursor: e.Cursor()}), len(entries)-i-1)
			require.Len(f, f.read(name, &streamhub.ReadOptions{FromSequence: e.Sequence}), len(entries)-i)
		}
	}
}

func forkOfClosed(f *fixture) {
	f.append("p", "1")
	f.closed("p")
	require.Equal(f, streamhub.StateOpen, f.create("f", &streamhub.CreateOptions{ForkOf: "p"}).State)
	f.append("f", "2")
	f.holds("f", "1", "2")
	f.closed("f")
	f.holds("f", "1", "2")
}

func forkCursors(f *fixture) {
	f.append("p", "1", "2", "3")
	parent := f.read("p", nil)
	f.fork("f", "p", 2)
	s := f.status("f")
	tip := s.Cursor()
	require.Empty(f, f.read("f", &streamhub.ReadOptions{Cursor: tip}))
	f.append("f", "own 3", "own 4")
	require.Equal(f, []string{"own 3", "own 4"}, f.payloads(f.read("f", &streamhub.ReadOptions{Cursor: tip})))
	want := []string{"1", "2", "own 3", "own 4"}
	for i, e := range f.read("f", nil) {
		rest := f.payloads(f.read("f", &streamhub.ReadOptions{Cursor: e.Cursor()}))
		require.Equal(f, len(want)-i-1, len(rest))
		for j, p := range rest {
			require.Equal(f, want[i+1+j], p)
		}
	}
	// A cursor of the parent is not one of the fork.
	_, err := f.tryRead("f", &streamhub.ReadOptions{Cursor: parent[0].Cursor()})
	f.lost(err, 1)
}

func forkOfDeleted(f *fixture) {
	f.append("p", "1", "2")
	f.fork("f", "p", 1)
	f.append("f", "own")
	f.delete("p")
	for _, err := range []error{
		func() error { _, err := f.Status(f.ctx, space, "p"); return err }(),
		func() error { _, err := f.tryRead("p", nil); return err }(),
		func() error { _, err := f.with(streamhub.AppendOptions{}, "p", "x"); return err }(),
		func() error { _, err := f.another().Append(f.ctx, space, "p", records("x"), nil); return err }(),
		func() error { _, err := f.Trim(f.ctx, space, "p", 1); return err }(),
		func() error { _, err := f.Touch(f.ctx, space, "p"); return err }(),
		func() error {
			_, _, err := f.Create(f.ctx, space, "f2", &streamhub.CreateOptions{ForkOf: "p"})
			return err
		}(),
	} {
		require.ErrorIs(f, err, streamhub.ErrNotFound)
	}
	// The name stays taken while the entries are needed.
	_, _, err := f.Create(f.ctx, space, "p", nil)
	require.ErrorIs(f, err, streamhub.ErrConflict)
	f.holds("f", "1", "own")
	segments, err := f.Segments(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Equal(f, []string{"f"}, segments)
	f.delete("p")
	// The fork is found as it was created.
	at := uint64(1)
	_, created, err := f.Create(f.ctx, space, "f", &streamhub.CreateOptions{ForkOf: "p", ForkAt: &at})
	require.NoError(f, err)
	require.False(f, created)
}

// gone requires that nothing but tombstones is left of the segments.
func (f *fixture) gone(logs []string, segments ...string) {
	f.Helper()
	for i, segment := range segments {
		n, err := f.conn.Exists(f.ctx, logs[i]).Result()
		require.NoError(f, err)
		require.Zero(f, n, "the entries of %q are released", segment)
		head, err := f.conn.HGet(f.ctx, f.metaKey(segment), "h").Result()
		require.NoError(f, err)
		require.Equal(f, "x", head[41:42])
	}
}

func forkReleased(f *fixture) {
	f.append("a", "1", "2")
	f.fork("b", "a", 1)
	f.append("b", "b2")
	f.fork("b2", "a", 2)
	f.fork("c", "b", 2)
	logs := []string{f.logKey("a"), f.logKey("b")}
	f.delete("a")
	f.delete("b")
	f.holds("c", "1", "b2")
	f.holds("b2", "1", "2")
	f.delete("b2")
	f.holds("c", "1", "b2")
	f.delete("c")
	f.gone(logs, "a", "b")
	require.EqualValues(f, 1, f.appendTo(f.another(), "a", "new").First)
}

// forkReleasedBySweep is for a process that dies after the deletion of the last fork.
func forkReleasedBySweep(f *fixture) {
	f.append("a", "1")
	f.fork("b", "a", 1)
	logs := []string{f.logKey("a")}
	f.delete("a")
	wire := &Link{}
	s := f.open(f.env.Connect(f.T, wire))
	cancelled, cancel := context.WithCancel(f.ctx)
	wire.Around(nil, cancel)
	require.Error(f, s.Delete(cancelled, space, "b", ""))
	require.NoError(f, f.Sweep(f.ctx))
	f.gone(logs, "a")
	require.NoError(f, f.Sweep(f.ctx))
}

func forkAndTrim(f *fixture) {
	f.append("p", "1", "2")
	f.append("p", "3")
	f.append("p", "4")
	f.fork("f", "p", 2)
	_, err := f.Trim(f.ctx, space, "p", 2)
	require.ErrorIs(f, err, streamhub.ErrConflict)
	_, err = f.Trim(f.ctx, space, "p", 4)
	require.ErrorIs(f, err, streamhub.ErrConflict)
	f.holds("f", "1", "2")
	f.delete("f")
	require.EqualValues(f, 3, f.trim("p", 2))
	// A fork of what is left does not keep what is after it.
	f.fork("g", "p", 3)
	_, err = f.Trim(f.ctx, space, "p", 3)
	require.ErrorIs(f, err, streamhub.ErrConflict)
	f.holds("g", "3")
	_, _, err = f.Create(f.ctx, space, "h", &streamhub.CreateOptions{ForkOf: "p", ForkAt: ptr(uint64(1))})
	require.ErrorIs(f, err, streamhub.ErrTrimmed)
}

func forkTrimmed(f *fixture) {
	f.append("p", "1", "2")
	f.fork("f", "p", 2)
	f.append("f", "3")
	f.append("f", "4")
	all := f.read("f", nil)
	require.EqualValues(f, 1, f.trim("f", 1), "what the fork shares is not its own to trim")
	require.EqualValues(f, 4, f.trim("f", 3), "but from there on it is")
	f.holds("f", "4")
	require.EqualValues(f, 4, f.status("f").FirstSequence)
	_, err := f.tryRead("f", &streamhub.ReadOptions{FromSequence: 1})
	f.trimmed(err, 4)
	for _, e := range all[:2] {
		_, err := f.tryRead("f", &streamhub.ReadOptions{Cursor: e.Cursor()})
		f.trimmed(err, 4)
	}
	require.Len(f, f.read("f", &streamhub.ReadOptions{Cursor: all[2].Cursor()}), 1)
	f.holds("p", "1", "2")

	// A fork of a segment that holds nothing any more.
	tip := f.append("q", "1", "2")
	f.trim("q", 2)
	f.create("g", &streamhub.CreateOptions{ForkOf: "q"})
	require.Empty(f, f.read("g", nil))
	g := f.status("g")
	cursor := g.Cursor()
	require.Equal(f, tip.Position.Sequence, f.status("g").LastSequence)
	f.append("g", "3")
	f.append("q", "own 3", "own 4")
	f.trim("q", 4)
	f.holds("g", "3")
	require.Len(f, f.read("g", &streamhub.ReadOptions{Cursor: cursor}), 1)
}

func forkAtBounds(f *fixture) {
	f.append("p", "1")
	_, _, err := f.Create(f.ctx, space, "f", &streamhub.CreateOptions{ForkOf: "p", ForkAt: ptr(uint64(2))})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	f.fork("zero", "p", 0)
	require.EqualValues(f, 1, f.append("zero", "own").First)
	f.holds("zero", "own")
	f.create("empty", nil)
	f.create("of empty", &streamhub.CreateOptions{ForkOf: "empty"})
	f.append("of empty", "own")
	f.holds("of empty", "own")
	s := f.create("with", &streamhub.CreateOptions{ForkOf: "p", Records: records("own"), Closed: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	require.Equal(f, streamhub.StateClosed, s.State)
	f.holds("with", "1", "own")
}

func forkStatus(f *fixture) {
	first := f.append("p", "1")
	f.append("p", "2", "3")
	s := f.fork("f", "p", 2)
	require.EqualValues(f, 1, s.FirstSequence)
	require.Equal(f, first.Timestamp, s.FirstTimestamp)
	require.EqualValues(f, 2, s.LastSequence)
	require.False(f, s.Empty())
	r := f.append("f", "own")
	s = f.status("f")
	require.EqualValues(f, 1, s.FirstSequence)
	require.Equal(f, first.Timestamp, s.FirstTimestamp)
	require.EqualValues(f, 3, s.LastSequence)
	require.Equal(f, r.Timestamp, s.LastTimestamp)
	all, err := f.Statuses(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Equal(f, s, all[0])
}

func forkAlongSpace(f *fixture) {
	f.append("p", "1", "2")
	f.fork("f", "p", 2)
	f.append("f", "3")
	f.append("p", "4")
	// What a fork shares came once.
	require.Equal(f, []string{"p1", "p2", "f3", "p3"}, names(f.readSpace(nil)))
}

func ptr[T any](v T) *T { return &v }

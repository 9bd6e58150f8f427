package hotlogtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var spaceCases = []namedCase{
	{"SpaceOrder", spaceOrder},
	{"SpaceEveryCursor", spaceEveryCursor},
	{"SpacePages", spacePages},
	{"SpaceConcurrent", spaceConcurrent},
	{"SpaceSkipsDeleted", spaceSkipsDeleted},
	{"SpaceTrimmedBehindCursor", spaceTrimmedBehindCursor},
	{"SpaceForgedCursor", spaceForgedCursor},
	{"CursorOfAnotherSpace", cursorOfAnotherSpace},
	{"SpaceBoundsAndCursor", spaceBoundsAndCursor},
	{"Consume", consume},
	{"ConsumeErrors", consumeErrors},
}

// history fills the space by calls that name several segments, so that one timeline entry names
// several of them, and returns how many entries it holds.
func (f *fixture) history(calls int) int {
	f.Helper()
	random := rand.New(rand.NewPCG(1, uint64(calls)))
	n := 0
	for call := range calls {
		var batch []streamhub.Append
		for _, segment := range random.Perm(6)[:1+random.IntN(6)] {
			a := streamhub.Append{Space: space, Segment: fmt.Sprint("s", segment)}
			for range 1 + random.IntN(4) {
				n++
				a.Records = append(a.Records, streamhub.Record{Payload: []byte(fmt.Sprint(call, "/", n))})
			}
			batch = append(batch, a)
		}
		_, errs := f.AppendAll(f.ctx, batch)
		require.Equal(f, make([]error, len(batch)), errs)
	}
	return n
}

func spaceOrder(f *fixture) {
	var want []string
	for i := range 30 {
		segment := string(rune('a' + i%4))
		r := f.append(segment, "x", "y")
		want = append(want, segment+itoa(r.First), segment+itoa(r.Last))
	}
	all := f.readSpace(nil)
	require.Equal(f, want, names(all))
	require.True(f, slices.IsSortedFunc(all, func(a, b streamhub.Entry) int { return a.Timestamp.Compare(b.Timestamp) }))
	require.Equal(f, want[:7], names(f.readSpace(&streamhub.ReadOptions{Limit: 7})))
	own := f.read("a", nil)
	for _, e := range all {
		require.Equal(f, space, e.Space)
		if e.Segment == "a" {
			same := own[e.Sequence-1]
			same.Position = e.Position
			require.Equal(f, same, e, "it is the same entry, at another position")
		}
	}
}

func spaceEveryCursor(f *fixture) {
	n := f.history(25)
	all := f.readSpace(nil)
	require.Len(f, all, n)
	several := 0
	for i, e := range all {
		if e.Position.Index > 0 {
			several++
		}
		require.False(f, slices.ContainsFunc(all[:i], func(o streamhub.Entry) bool { return o.Cursor() == e.Cursor() }))
		rest := f.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		require.Equal(f, all[i+1:], append([]streamhub.Entry{}, rest...), "after entry %d", i)
	}
	require.Greater(f, several, n/4, "timeline entries name several segments")
}

func spacePages(f *fixture) {
	// Longer than a first page, from every place.
	for i := range 300 {
		f.append(fmt.Sprint("s", i%7), "x")
	}
	all := f.readSpace(nil)
	require.Len(f, all, 300)
	for i := 0; i < 300; i += 31 {
		rest := f.readSpace(&streamhub.ReadOptions{Cursor: all[i].Cursor()})
		require.Equal(f, names(all[i+1:]), names(rest))
	}
}

func spaceConcurrent(f *fixture) {
	const writers, each = 12, 15
	logs := []*hotlog.Store{f.Store, f.another(), f.another()}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := logs[w%3].Append(f.ctx, space, fmt.Sprint("s", (w+i)%5), records(fmt.Sprint(w, "/", i)), nil); err != nil {
					f.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := f.readSpace(nil)
	require.Len(f, all, writers*each)
	last := map[string]uint64{}
	seen := map[string]bool{}
	for i, e := range all {
		require.Equal(f, last[e.Segment]+1, e.Sequence, "the order of each segment is kept")
		last[e.Segment] = e.Sequence
		require.False(f, seen[string(e.Payload)])
		seen[string(e.Payload)] = true
		if i > 0 {
			require.LessOrEqual(f, all[i-1].Timestamp, e.Timestamp)
		}
	}
	for i := 0; i < len(all); i += 7 {
		require.Equal(f, names(all[i+1:]), names(f.readSpace(&streamhub.ReadOptions{Cursor: all[i].Cursor()})))
	}
}

func spaceSkipsDeleted(f *fixture) {
	for i := range 9 {
		f.append([]string{"a", "b", "c"}[i%3], "x")
	}
	all := f.readSpace(nil)
	f.delete("b")
	require.Equal(f, []string{"a1", "c1", "a2", "c2", "a3", "c3"}, names(f.readSpace(nil)))
	for i, e := range all {
		var want []string
		for _, rest := range all[i+1:] {
			if rest.Segment != "b" {
				want = append(want, rest.Segment+itoa(rest.Sequence))
			}
		}
		require.Equal(f, want, names(f.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})))
	}
	f.create("b", nil)
	f.append("b", "new")
	require.Equal(f, []string{"a1", "c1", "a2", "c2", "a3", "c3", "b1"}, names(f.readSpace(nil)))
}

// spaceTrimmedBehindCursor trims a segment that shares its timeline entry with that of the cursor.
func spaceTrimmedBehindCursor(f *fixture) {
	f.append("a", "0")
	f.append("b", "0")
	for range 3 {
		_, errs := f.AppendAll(f.ctx, []streamhub.Append{
			{Space: space, Segment: "a", Records: records("x", "y")},
			{Space: space, Segment: "b", Records: records("x", "y")},
		})
		require.Equal(f, make([]error, 2), errs)
	}
	all := f.readSpace(nil)
	second := all[2].Position.Timeline
	require.Equal(f, second.N, all[4].Position.Timeline.N)
	require.Equal(f, second.MS, all[4].Position.Timeline.MS, "both came with one call")
	f.trim(all[4].Segment, 3)
	for _, i := range []int{1, 2, 3} {
		_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: all[i].Cursor()})
		f.trimmed(err, 0)
	}
	// Nothing after these was trimmed.
	require.Equal(f, names(all[6:]), names(f.readSpace(&streamhub.ReadOptions{Cursor: all[5].Cursor()})))
	f.trim(all[2].Segment, 3)
	require.Equal(f, names(all[6:]), names(f.readSpace(&streamhub.ReadOptions{Cursor: all[5].Cursor()})))
}

func spaceForgedCursor(f *fixture) {
	f.history(5)
	for _, e := range f.readSpace(nil) {
		for _, forge := range []func(p *streamhub.Position){
			func(p *streamhub.Position) { p.Proof ^= 1 },
			func(p *streamhub.Position) { p.Sequence += 1000 },
			func(p *streamhub.Position) { p.Timeline.N += 1000 },
			func(p *streamhub.Position) { p.Timeline.MS -= 1_000_000 },
			func(p *streamhub.Position) { p.Timeline.MS += 1_000_000 },
			func(p *streamhub.Position) { p.Index += 1000 },
		} {
			p := e.Position
			forge(&p)
			_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: p.Cursor()})
			f.lost(err, 0)
		}
	}
}

// cursorOfAnotherSpace gives a space the cursors of another one, and of another store. Places of two
// timelines have the same ids, and a sweep may have removed what could be compared.
func cursorOfAnotherSpace(f *fixture) {
	f.history(5)
	f.append("gone", "x")
	f.delete("gone")
	f.sweep()
	end, err := f.SpaceEnd(f.ctx, space)
	require.NoError(f, err)
	for _, at := range append(f.readSpace(nil), streamhub.Entry{Position: end}) {
		own := f.tryReadSpaceEnd(&streamhub.ReadOptions{Cursor: at.Position.Cursor()})
		require.NoError(f, own)
		for _, mark := range []uint32{at.Position.Mark + 1, 0} {
			p := at.Position
			p.Mark = mark
			require.ErrorIs(f, f.tryReadSpaceEnd(&streamhub.ReadOptions{Cursor: p.Cursor()}), streamhub.ErrInvalidCursor)
			_, _, _, err := f.ReadSpacePage(f.ctx, space, p, nil)
			require.ErrorIs(f, err, streamhub.ErrInvalidCursor)
		}
	}
	there := "another"
	_, err = f.Append(f.ctx, there, "segment", records("a"), nil)
	require.NoError(f, err)
	end, err = f.SpaceEnd(f.ctx, there)
	require.NoError(f, err)
	require.ErrorIs(f, f.tryReadSpaceEnd(&streamhub.ReadOptions{Cursor: end.Cursor()}), streamhub.ErrInvalidCursor)
}

// tryReadSpaceEnd reads the space and returns the error alone.
func (f *fixture) tryReadSpaceEnd(options *streamhub.ReadOptions) error {
	_, err := f.tryReadSpace(options)
	return err
}

// spaceBoundsAndCursor reads after a cursor that lies outside of the time that is asked for.
func spaceBoundsAndCursor(f *fixture) {
	early := f.append("a", "1").Timestamp
	f.env.Advance(f.T, 20*time.Millisecond)
	f.append("a", "2")
	f.env.Advance(f.T, 20*time.Millisecond)
	late := f.append("a", "3").Timestamp
	all := f.readSpace(nil)
	require.Empty(f, f.readSpace(&streamhub.ReadOptions{Cursor: all[1].Cursor(), Until: early}))
	require.Equal(f, []string{"a3"}, names(f.readSpace(&streamhub.ReadOptions{Cursor: all[0].Cursor(), After: late.Add(-time.Millisecond)})))
	require.Empty(f, f.readSpace(&streamhub.ReadOptions{Cursor: all[0].Cursor(), After: late}))
	for _, o := range []streamhub.ReadOptions{{After: late.Add(-time.Millisecond)}, {Until: early}, {After: late, Until: early}} {
		forged := all[1].Position
		forged.Proof ^= 1
		o.Cursor = forged.Cursor()
		_, err := f.tryReadSpace(&o)
		f.lost(err, 0)
	}
	// What was trimmed after the cursor counts within the bounds only.
	f.trim("a", 2)
	_, err := f.tryReadSpace(&streamhub.ReadOptions{Cursor: all[0].Cursor()})
	require.ErrorIs(f, err, streamhub.ErrTrimmed)
	require.Equal(f, []string{"a3"}, names(f.readSpace(&streamhub.ReadOptions{Cursor: all[0].Cursor(), After: late.Add(-time.Millisecond)})))
}

func consume(f *fixture) {
	spaces := []string{"x", "y", "z", "none"}
	for i := range 40 {
		_, err := f.Append(f.ctx, spaces[(i*i)%3], fmt.Sprint("s", i%4), records(fmt.Sprint(i)), nil)
		require.NoError(f, err)
	}
	read := func(cursors map[string]streamhub.Cursor, o *streamhub.ReadOptions) []streamhub.Entry {
		var all []streamhub.Entry
		for e, err := range f.Consume(f.ctx, cursors, o) {
			require.NoError(f, err)
			all = append(all, e)
		}
		return all
	}
	start := map[string]streamhub.Cursor{}
	for _, s := range spaces {
		start[s] = ""
	}
	all := read(start, nil)
	require.Len(f, all, 40)
	for i := 1; i < len(all); i++ {
		require.LessOrEqual(f, all[i-1].Timestamp, all[i].Timestamp)
	}
	for _, s := range spaces {
		var got, want []string
		for e, err := range f.ConsumeSpace(f.ctx, s, nil) {
			require.NoError(f, err)
			want = append(want, e.Segment+itoa(e.Sequence))
		}
		for _, e := range all {
			if e.Space == s {
				got = append(got, e.Segment+itoa(e.Sequence))
			}
		}
		require.Equal(f, want, got, "a space keeps its order")
	}
	require.Len(f, read(start, &streamhub.ReadOptions{Limit: 11}), 11)
	// One cursor a space resumes exactly.
	for stop := range all {
		cursors := map[string]streamhub.Cursor{"x": "", "y": "", "z": ""}
		for _, e := range all[:stop] {
			cursors[e.Space] = e.Cursor()
		}
		require.Equal(f, len(all)-stop, len(read(cursors, nil)))
	}
	require.Empty(f, read(nil, nil))
}

func consumeErrors(f *fixture) {
	f.append("seg", "1")
	own := f.read("seg", nil)[0].Cursor()
	for _, c := range []struct {
		cursors map[string]streamhub.Cursor
		options *streamhub.ReadOptions
		want    error
	}{
		{map[string]streamhub.Cursor{space: own}, nil, streamhub.ErrInvalidCursor},
		{map[string]streamhub.Cursor{space: "", "": ""}, nil, streamhub.ErrInvalidName},
		{map[string]streamhub.Cursor{space: ""}, &streamhub.ReadOptions{Cursor: own}, streamhub.ErrInvalidArgument},
		{map[string]streamhub.Cursor{space: ""}, &streamhub.ReadOptions{FromSequence: 1}, streamhub.ErrInvalidArgument},
	} {
		var last error
		for _, err := range f.Consume(f.ctx, c.cursors, c.options) {
			last = err
		}
		require.ErrorIs(f, last, c.want)
	}
}

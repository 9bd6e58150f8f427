package hotlogtest

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var readCases = []namedCase{
	{"ReadMissing", readMissing},
	{"ReadSequences", readSequences},
	{"ReadTimes", readTimes},
	{"ReadEveryCursor", readEveryCursor},
	{"ReadWrongCursors", readWrongCursors},
	{"ReadTwice", readTwice},
	{"ReadStops", readStops},
	{"ReadSnapshot", readSnapshot},
}

func readMissing(f *fixture) {
	_, err := f.tryRead("seg", nil)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	var e *streamhub.Error
	require.ErrorAs(f, err, &e)
	require.Equal(f, streamhub.Error{Op: "consume", Store: f.id, Space: space, Segment: "seg", Err: e.Err}, *e)
	_, err = f.Peek(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.Empty(f, f.readSpace(nil))
}

// mixed is a segment with frames of different sizes; the payload of each entry is its sequence.
func (f *fixture) mixed(segment string) int {
	f.Helper()
	n := 0
	for _, size := range []int{1, 3, 1, 1, 7, 2, 40, 1, 5, 1, 1, 1} {
		batch := make([]string, size)
		for i := range batch {
			n++
			batch[i] = fmt.Sprint(n)
		}
		f.append(segment, batch...)
	}
	return n
}

// between are the sequences from first to last, as text.
func between(first, last int) []string {
	var texts []string
	for n := first; n <= last; n++ {
		texts = append(texts, fmt.Sprint(n))
	}
	return texts
}

func readSequences(f *fixture) {
	n := f.mixed("seg")
	for from := 0; from <= n+2; from++ {
		for _, to := range []int{0, from - 1, from, from + 1, from + 10, n, n + 5} {
			last := n
			if to > 0 {
				last = min(n, to)
			}
			got := f.payloads(f.read("seg", &streamhub.ReadOptions{FromSequence: uint64(from), ToSequence: uint64(max(to, 0))}))
			require.Equal(f, between(max(1, from), last), got, "from %d to %d", from, to)
		}
		for _, limit := range []int{1, 2, 9, n} {
			first := max(1, from)
			got := f.payloads(f.read("seg", &streamhub.ReadOptions{FromSequence: uint64(from), Limit: uint64(limit)}))
			require.Equal(f, between(first, min(n, first+limit-1)), got, "from %d limit %d", from, limit)
		}
	}
}

func readTimes(f *fixture) {
	for i := range 3 {
		f.append("seg", fmt.Sprint(2*i), fmt.Sprint(2*i+1))
		f.append("other", "x")
		f.env.Advance(f.T, 3*time.Millisecond)
	}
	all, along := f.read("seg", nil), f.readSpace(nil)
	none := time.Time{}
	// Bounds before 1970 and beyond what milliseconds can say are bounds too.
	times := []time.Time{none, time.Unix(0, 0), time.Unix(-1<<60, 0), time.Unix(1<<60, 0)}
	for _, e := range along {
		// What lies within a millisecond is cut to it.
		times = append(times, e.Timestamp.Add(-1), e.Timestamp.Add(time.Millisecond-1).Local(), e.Timestamp.Add(time.Millisecond))
	}
	want := func(all []streamhub.Entry, after, until time.Time) []string {
		var w []string
		for _, e := range all {
			if e.Timestamp.After(after.Truncate(time.Millisecond)) && (until.IsZero() || !e.Timestamp.After(until)) {
				w = append(w, e.Segment+itoa(e.Sequence))
			}
		}
		return w
	}
	for _, after := range times {
		for _, until := range times {
			o := &streamhub.ReadOptions{After: after, Until: until}
			require.Equal(f, want(all, after, until), names(f.read("seg", o)))
			require.Equal(f, want(along, after, until), names(f.readSpace(o)))
		}
		for i, e := range all {
			o := &streamhub.ReadOptions{After: after, Cursor: e.Cursor()}
			require.Equal(f, want(all[i+1:], after, none), names(f.read("seg", o)))
		}
		for i, e := range along {
			o := &streamhub.ReadOptions{After: after, Cursor: e.Cursor()}
			require.Equal(f, want(along[i+1:], after, none), names(f.readSpace(o)))
		}
	}
	require.Len(f, f.read("seg", &streamhub.ReadOptions{After: all[0].Timestamp, Limit: 3}), 3)
}

func readEveryCursor(f *fixture) {
	n := f.mixed("seg")
	all := f.read("seg", nil)
	require.Len(f, all, n)
	for i, e := range all {
		p, err := e.Cursor().Position()
		require.NoError(f, err)
		require.Equal(f, e.Position, p)
		require.Equal(f, all[i+1:], append([]streamhub.Entry{}, f.read("seg", &streamhub.ReadOptions{Cursor: e.Cursor()})...))
		require.Equal(f, between(i+2, min(n, i+4)), f.payloads(f.read("seg", &streamhub.ReadOptions{Cursor: e.Cursor(), Limit: 3})))
		require.Equal(f, between(i+2, min(n, 20)), f.payloads(f.read("seg", &streamhub.ReadOptions{Cursor: e.Cursor(), ToSequence: 20})))
		forged := e.Position
		forged.Proof ^= 1
		_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: forged.Cursor()})
		f.lost(err, e.Sequence)
	}
	beyond := all[n-1].Position
	beyond.Sequence++
	_, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: beyond.Cursor()})
	f.lost(err, uint64(n)+1)
	other := all[n-1].Position
	other.Incarnation++
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: other.Cursor()})
	f.lost(err, 1)
}

func readWrongCursors(f *fixture) {
	r := f.append("seg", "1")
	own := r.Cursor()
	first := f.readSpace(nil)[0]
	along := first.Cursor()
	_, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: along})
	require.ErrorIs(f, err, streamhub.ErrInvalidCursor)
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: own})
	require.ErrorIs(f, err, streamhub.ErrInvalidCursor)
	_, _, _, err = f.ReadSpacePage(f.ctx, space, f.append("seg", "2").Position, nil)
	require.ErrorIs(f, err, streamhub.ErrInvalidCursor)
	_, err = f.ReadPage(f.ctx, space, "seg", f.readSpace(nil)[0].Position, true)
	require.ErrorIs(f, err, streamhub.ErrInvalidCursor)
	for _, bad := range []streamhub.Cursor{"1", "c", "cAAAA", own + "A", own[:len(own)-1], "x" + own[1:]} {
		_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: bad})
		require.ErrorIs(f, err, streamhub.ErrInvalidCursor, "%q", bad)
		_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: bad})
		require.ErrorIs(f, err, streamhub.ErrInvalidCursor, "%q", bad)
	}
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: own, FromSequence: 1})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.tryReadSpace(&streamhub.ReadOptions{FromSequence: 1})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.tryReadSpace(&streamhub.ReadOptions{ToSequence: 1})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
}

func readTwice(f *fixture) {
	f.append("seg", "1")
	sequence, along := f.ConsumeSegment(f.ctx, space, "seg", nil), f.ConsumeSpace(f.ctx, space, nil)
	for n := range 2 {
		count := 0
		for _, err := range sequence {
			require.NoError(f, err)
			count++
		}
		for _, err := range along {
			require.NoError(f, err)
			count++
		}
		require.Equal(f, 2*(n+1), count, "each time what there is then")
		f.append("seg", "2")
	}
}

func readStops(f *fixture) {
	f.mixed("seg")
	for stop := 1; stop < 20; stop++ {
		n := 0
		for _, err := range f.ConsumeSegment(f.ctx, space, "seg", nil) {
			require.NoError(f, err)
			if n++; n == stop {
				break
			}
		}
		n = 0
		for _, err := range f.ConsumeSpace(f.ctx, space, nil) {
			require.NoError(f, err)
			if n++; n == stop {
				break
			}
		}
	}
	ctx, cancel := context.WithCancel(f.ctx)
	for e, err := range f.ConsumeSegment(ctx, space, "seg", nil) {
		if err != nil {
			require.ErrorIs(f, err, context.Canceled)
			require.Greater(f, e.Sequence+1, uint64(0))
			break
		}
		cancel()
	}
	cancel()
}

func readSnapshot(f *fixture) {
	f.mixed("seg")
	// Entries that come while the read goes on are not part of it.
	n := 0
	for _, err := range f.ConsumeSegment(f.ctx, space, "seg", nil) {
		require.NoError(f, err)
		f.append("seg", "later")
		n++
	}
	require.Equal(f, 64, n)
}

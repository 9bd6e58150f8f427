package offset

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A fake has the entries of one space and one segment.
type fake struct {
	entries []streamhub.Entry
	status  streamhub.Status
	err     error // of Status
}

func (f *fake) Between(_ string, after, until time.Time, visit func(*streamhub.Entry) bool) error {
	for i := range f.entries {
		if e := &f.entries[i]; e.Timestamp.After(after) && !e.Timestamp.After(until) {
			visit(e) // also after it was false
		}
	}
	return nil
}

func (f *fake) Status(string, string) (streamhub.Status, error) { return f.status, f.err }

func entry(sequence uint64, ms int64) streamhub.Entry {
	e := streamhub.Entry{Space: "sp", Segment: "sg", Sequence: sequence, Timestamp: millis.Time(ms)}
	e.Position = streamhub.Position{Incarnation: 7, Sequence: sequence, Proof: sequence, Timeline: streamhub.TimelineID{MS: uint64(ms)}}
	return e
}

func TestResolve(t *testing.T) {
	f := &fake{
		entries: []streamhub.Entry{entry(3, 30), entry(4, 40), entry(5, 50)},
		status:  streamhub.Status{FirstSequence: 3, FirstTimestamp: millis.Time(30), LastSequence: 5},
	}
	for _, e := range f.entries {
		p, err := Resolve(f, "sp", e.GetSpaceOffset())
		require.NoError(t, err)
		require.Equal(t, e.Cursor(), p.Cursor)
		require.False(t, p.Filters())
	}
	key := func(sequence uint64, ms int64) streamhub.LexKey {
		e := entry(sequence, ms)
		return e.GetSpaceOffset()
	}
	// What is not what the offset says was lost.
	for _, lost := range []struct {
		key   streamhub.LexKey
		first uint64
	}{{key(4, 41), 4}, {key(6, 60), 6}, {key(9, 60), 6}, {key(3, 50), 3}} {
		_, err := Resolve(f, "sp", lost.key)
		var history *streamhub.HistoryLostError
		require.ErrorAs(t, err, &history)
		require.Equal(t, lost.first, history.FirstLost)
	}
	filtered := func(key streamhub.LexKey, after int64, passes ...int) {
		t.Helper()
		p, err := Resolve(f, "sp", key)
		require.NoError(t, err)
		require.True(t, p.Filters())
		require.Equal(t, after, millis.Of(p.After))
		for i := range f.entries {
			want := false
			for _, n := range passes {
				want = want || n == i
			}
			require.Equal(t, want, p.Passes(&f.entries[i]), "entry %d", i)
		}
	}
	filtered(key(2, 20), 19, 0, 1, 2) // trimmed
	filtered(key(7, 20), 19, 0, 1, 2) // of a segment before this one
	filtered(streamhub.Encode("DAT", "SPACES", "sp", int64(40)), 39, 1, 2)
	filtered(streamhub.LexKey("zzz"), 0)
	filtered(streamhub.LexKey("A"), 0, 0, 1, 2)
	f.err = streamhub.ErrNotFound
	filtered(key(4, 41), 40, 2)
	f.err = errors.New("the network")
	_, err := Resolve(f, "sp", key(4, 41))
	require.ErrorIs(t, err, f.err)
	p, err := Resolve(f, "sp", nil)
	require.NoError(t, err)
	require.False(t, p.Filters())
	require.True(t, p.Passes(&f.entries[0]))
}

// FuzzOffset compares what any offset passes with where reading begins.
func FuzzOffset(f *testing.F) {
	e := entry(7, 1700000000000)
	f.Add([]byte(e.GetSpaceOffset()), int64(1700000000000), uint64(8))
	f.Add([]byte(e.GetSpaceOffset())[:20], int64(1700000000000), uint64(6))
	f.Add([]byte{0xff}, int64(1), uint64(1))
	f.Fuzz(func(t *testing.T, key []byte, ms int64, sequence uint64) {
		_, p, _, _ := parse("sp", key)
		after := entry(sequence, max(ms, 1))
		if p.Filters() && p.Passes(&after) && !after.Timestamp.After(p.After) {
			t.Fatalf("%x passes an entry at %v and begins after %v", key, after.Timestamp, p.After)
		}
	})
}

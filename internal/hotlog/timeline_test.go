package hotlog

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func TestTimelineID(t *testing.T) {
	for _, id := range []streamhub.TimelineID{{}, {MS: 1, N: 2}, {MS: math.MaxUint64, N: math.MaxUint64}} {
		back, err := parseTimelineID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, back)
	}
	for _, bad := range []string{"", "1", "-", "1-", "-1", "1-x", "x-1", "1-2-3", "18446744073709551616-0"} {
		_, err := parseTimelineID(bad)
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "%q", bad)
	}
}

func TestChange(t *testing.T) {
	for ref, want := range map[string]change{
		"5": {kind: changeAppend, last: 5, records: 1}, "7:3": {kind: changeAppend, last: 7, records: 3},
		"n0": {kind: changeCreate}, "n4": {kind: changeCreate, last: 4}, "c9:0": {kind: changeClose, last: 9},
		"c9:2": {kind: changeClose, last: 9, records: 2}, "d3": {kind: changeDelete, last: 3}, "t8": {kind: changeTrim, last: 8},
	} {
		want.segment = "seg"
		got, err := parseChange("seg", ref)
		require.NoError(t, err)
		require.Equal(t, want, got, ref)
	}
	for _, bad := range []string{"", "x", "c", "5:6", "5:", ":1", "5:x", "0", "-1", "5:1:1", "99999999999999999999"} {
		_, err := parseChange("seg", bad)
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "%q", bad)
	}
}

func TestChangesOfOneField(t *testing.T) {
	one, two := change{segment: "a", kind: changeAppend, last: 5, records: 1}, change{segment: "b%20", kind: changeAppend, last: 9, records: 3}
	for field, want := range map[[2]string][]change{
		{"a", "5"}: {one}, {"", "a 5"}: {one}, {"", "a 5 b%20 9:3"}: {one, two}, {"b%20", "9:3"}: {two},
	} {
		got, err := appendChanges([]change{two}, []byte(field[0]), field[1])
		require.NoError(t, err)
		require.Equal(t, append([]change{two}, want...), got, field)
	}
	for _, bad := range [][2]string{{"", ""}, {"", " "}, {"", "a"}, {"", "a 5 "}, {"", "a 5 b"}, {"", "a 5 b "}, {"", " 5"}, {"", "a  5"}, {"", "a 5  6"}, {"a", "5 b 6"}} {
		_, err := appendChanges(nil, []byte(bad[0]), bad[1])
		require.ErrorIs(t, err, streamhub.ErrCorrupt, bad)
	}
}

func FuzzChange(f *testing.F) {
	for _, ref := range []string{"5", "7:3", "c9:0", "d3", "t8", "n0", ""} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		c, err := parseChange("seg", ref)
		if err != nil {
			require.ErrorIs(t, err, streamhub.ErrCorrupt)
			return
		}
		require.LessOrEqual(t, c.records, c.last)
		require.LessOrEqual(t, c.first(), c.last+1)
		all, err := appendChanges([]change{c}, nil, "seg "+ref+" other 1")
		require.NoError(t, err)
		require.Equal(t, []change{c, c, {segment: "other", kind: changeAppend, last: 1, records: 1}}, all)
	})
}

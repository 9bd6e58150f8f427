package hotlog

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func TestSegmentNotice(t *testing.T) {
	id := uuid.New()
	data := string(appendFrame(nil, uuid.Nil, part{id, 2, appendRecord(appendRecord(nil, &streamhub.Record{Payload: []byte("a")}), &streamhub.Record{})}))
	payload := "\n\n\n\n    " + "10 " + headText + "\n" + data
	n, err := ParseSegmentNotice(payload)
	require.NoError(t, err)
	require.EqualValues(t, 10, n.Previous)
	require.EqualValues(t, 0x0a0a0a0a20202020, n.PreviousProof)
	require.EqualValues(t, 12, n.Position.Sequence)
	require.EqualValues(t, 78, n.Timestamp)
	require.True(t, n.Open)
	entries, err := n.Entries("space", "seg")
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.EqualValues(t, 11, entries[0].Sequence)
	require.Equal(t, n.Position.Incarnation, entries[0].Position.Incarnation)
	require.Equal(t, id, entries[1].TRX.ID)

	n, err = ParseSegmentNotice("\n\n\n\n    " + "9 " + headText + "\n" + data)
	require.NoError(t, err)
	_, err = n.Entries("space", "seg")
	require.ErrorIs(t, err, streamhub.ErrCorrupt, "three sequences, two records")
	n, err = ParseSegmentNotice("\n\n\n\n    " + "12 " + headText + "\n")
	require.NoError(t, err)
	entries, err = n.Entries("space", "seg")
	require.NoError(t, err)
	require.Empty(t, entries)
	for i := range len(payload) - len(data) {
		_, err := ParseSegmentNotice(payload[:i])
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "cut to %d bytes", i)
	}
}

func TestSpaceNotice(t *testing.T) {
	n, err := ParseSpaceNotice("12-3 a%20b 5:2 c c7:0 d d9")
	require.NoError(t, err)
	require.Equal(t, SpaceNotice{
		Timeline: streamhub.TimelineID{MS: 12, N: 3},
		Changes:  []SegmentChange{{"a b", 5}, {"c", 7}, {"d", 9}},
	}, n)
	for _, bad := range []string{"", "x", "12 a 5", "12-3 a", "12-3 a x", "12-3 a 5 ", " 12-3"} {
		_, err := ParseSpaceNotice(bad)
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "%q", bad)
	}
}

func FuzzNotices(f *testing.F) {
	f.Add("12345678" + "10 " + headText + "\nframe")
	f.Add("12-3 a%20b 5:2 c c7:0 d d9")
	f.Add("")
	f.Fuzz(func(t *testing.T, payload string) {
		if n, err := ParseSegmentNotice(payload); err == nil {
			_, err = n.Entries("space", "seg")
			if err != nil {
				require.ErrorIs(t, err, streamhub.ErrCorrupt)
			}
			n.Continues(n.Position)
		} else {
			require.ErrorIs(t, err, streamhub.ErrCorrupt)
		}
		if _, err := ParseSpaceNotice(payload); err != nil {
			require.ErrorIs(t, err, streamhub.ErrCorrupt)
		}
	})
}

package hotlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

const headText = "1" + "0123456789abcdef" + "\x00\x01\n \xff\xfe\x07\x08" + "fedcba9876543210" + "ot" + "12 34 56 78"

func TestHead(t *testing.T) {
	h, err := parseHead(headText)
	require.NoError(t, err)
	require.Equal(t, head{
		incarnation: 0x0123456789abcdef, proof: 0x00010a20fffe0708, lineage: 0xfedcba9876543210,
		state: 'o', timed: true, last: 12, number: 34, generation: 56, timestamp: 78,
	}, h)
	for _, bad := range []string{
		"", "1", headText[:42], "2" + headText[1:], headText[:43], headText[:44], headText[:43] + "1 2 3", headText[:43] + "1 2 3 x",
		headText[:43] + "-1 2 3 4", headText[:43] + "1  2 3 4", "1" + strings.Repeat("g", 16) + headText[17:],
		headText[:43] + "99999999999999999999 1 1 1",
	} {
		_, err := parseHead(bad)
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "%q", bad)
	}
}

func metaValues(fields map[string]string) []any {
	values := make([]any, len(metaFields))
	for i, name := range metaFields {
		if v, ok := fields[name.(string)]; ok {
			values[i] = v
		}
	}
	return values
}

func TestMeta(t *testing.T) {
	m, err := parseMeta(metaValues(nil))
	require.NoError(t, err)
	require.False(t, m.exists)
	m, err = parseMeta(metaValues(map[string]string{
		"h": headText, "l": "00000000000000aa:9 00000000000000bb:1 ", "f": "5 77 \x00\x00\x00\x00 \n\x00\x01",
		"s": `{"kind":"done"}`, "d": "100", "w": "50", "c": "text/plain", "b": "7-8", "p": "par%20ent 00000000000000cc 3",
	}))
	require.NoError(t, err)
	require.Equal(t, []reign{{0xaa, 9}, {0xbb, 1}}, m.lineages)
	require.EqualValues(t, 5, m.first)
	require.EqualValues(t, 77, m.firstTimestamp)
	require.EqualValues(t, 0x200a0001, m.trimProof)
	require.Equal(t, streamhub.VerdictDone, m.verdict.Kind)
	require.Equal(t, streamhub.TimelineID{MS: 7, N: 8}, m.birth)
	require.Equal(t, parentRef{"par%20ent", 0xcc, 3}, *m.parent)
	s := m.status("space", "seg")
	require.Equal(t, "par ent", s.Parent)
	for field, bad := range map[string][]string{
		"h": {"2", "x"}, "f": {"x", "1", "5 x proof..."}, "s": {"{", "1"}, "d": {"x"}, "w": {""[:0] + "y"}, "b": {"7", "x-1"},
		"p": {"a b", "a 00 1", "a 00000000000000cc x"},
	} {
		for _, text := range bad {
			fields := map[string]string{"h": headText}
			fields[field] = text
			_, err := parseMeta(metaValues(fields))
			require.ErrorIs(t, err, streamhub.ErrCorrupt, "%s = %q", field, text)
		}
	}
}

func TestMetaLost(t *testing.T) {
	m := meta{head: head{incarnation: 1, last: 30}, lineages: []reign{{0xc, 21}, {0xb, 11}, {0xa, 1}}}
	for _, c := range []struct {
		lineage, sequence, first uint64
	}{
		{0xa, 10, 0}, {0xa, 11, 11}, {0xa, 25, 11}, {0xb, 20, 0}, {0xb, 15, 0}, {0xb, 21, 21}, {0xc, 30, 0}, {0xc, 5, 0}, {0xc, 31, 31},
		{0xd, 5, 1}, {0xd, 25, 1},
	} {
		first, sure := m.lost(streamhub.Position{Incarnation: 1, Lineage: c.lineage, Sequence: c.sequence})
		require.True(t, sure)
		require.Equal(t, c.first, first, "lineage %x at %d", c.lineage, c.sequence)
	}
	first, sure := m.lost(streamhub.Position{Incarnation: 2, Lineage: 0xa, Sequence: 1})
	require.True(t, sure)
	require.EqualValues(t, 1, first)
	// A full list may have forgotten the lineage.
	var list strings.Builder
	for i := range 200 {
		fmt.Fprintf(&list, "%016x:%d ", 1000-i, 2000-10*i)
	}
	full, err := parseMeta(metaValues(map[string]string{"h": headText, "l": list.String()[:2048]}))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(full.lineages), listFull)
	_, sure = full.lost(streamhub.Position{Incarnation: full.incarnation, Lineage: 1, Sequence: 3000})
	require.False(t, sure)
}

func FuzzMeta(f *testing.F) {
	f.Add(headText, "00000000000000aa:9 00000000000000bb:1 ", "5 77 12345678", `{"kind":"done"}`, "100", "7-8", "a 00000000000000cc 3")
	f.Fuzz(func(t *testing.T, h, l, first, s, d, b, p string) {
		m, err := parseMeta(metaValues(map[string]string{"h": h, "l": l, "f": first, "s": s, "d": d, "b": b, "p": p}))
		if err != nil {
			require.ErrorIs(t, err, streamhub.ErrCorrupt)
			return
		}
		m.lost(streamhub.Position{Incarnation: m.incarnation, Lineage: 1, Sequence: 1})
		m.lineageAt(1)
		m.status("space", "seg")
	})
}

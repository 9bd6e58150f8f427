package hotlogtest

import (
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var listCases = []namedCase{
	{"Status", status},
	{"Statuses", statuses},
	{"Spaces", spaces},
	{"Peek", peek},
}

func status(f *fixture) {
	_, err := f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	first := f.append("seg", "1", "2")
	last, err := f.with(streamhub.AppendOptions{Generation: 4}, "seg", "3")
	require.NoError(f, err)
	require.Equal(f, streamhub.Status{
		Space: space, Segment: "seg", FirstSequence: 1, FirstTimestamp: first.Timestamp, LastSequence: 3,
		LastTimestamp: last.Timestamp, State: streamhub.StateOpen, Generation: 4, Position: last.Position,
	}, f.status("seg"))
	s := f.status("seg")
	require.Empty(f, f.read("seg", &streamhub.ReadOptions{Cursor: s.Cursor()}))
}

func statuses(f *fixture) {
	all, err := f.Statuses(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Empty(f, all)
	var want []streamhub.Status
	for i := range 25 {
		name := fmt.Sprintf("s%02d", i)
		f.append(name, "x")
		if i%5 == 4 {
			f.delete(name)
			continue
		}
		want = append(want, f.status(name))
	}
	for _, limit := range []int{1, 3, 7, 100} {
		var got []streamhub.Status
		for after := ""; ; {
			page, err := f.Statuses(f.ctx, space, after, limit)
			require.NoError(f, err)
			if len(page) == 0 {
				break
			}
			require.LessOrEqual(f, len(page), limit)
			got = append(got, page...)
			after = page[len(page)-1].Segment
		}
		require.Equal(f, want, got)
	}
}

func spaces(f *fixture) {
	got, err := f.Spaces(f.ctx, "", 10)
	require.NoError(f, err)
	require.Empty(f, got)
	var want []string
	for i := range 12 {
		name := fmt.Sprintf("%c/space", 'z'-i)
		want = append(want, name)
		if i%2 == 0 {
			_, _, err = f.Create(f.ctx, name, "seg", nil)
		} else {
			_, err = f.Append(f.ctx, name, "seg", records("x"), nil)
		}
		require.NoError(f, err)
	}
	slices.Sort(want)
	var paged []string
	for after := ""; ; {
		page, err := f.Spaces(f.ctx, after, 5)
		require.NoError(f, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		after = page[len(page)-1]
	}
	require.Equal(f, want, paged)
	none, err := f.Segments(f.ctx, "none", "", 5)
	require.NoError(f, err)
	require.Empty(f, none)
	// The name is there before the first append is: nothing is in a space that is not listed.
	s, wire := f.wired()
	wire.Around(func() {
		listed, err := f.Spaces(f.ctx, "zzz", 10)
		if err != nil || !slices.Contains(listed, "zzzz") {
			f.Errorf("%q, %v", listed, err)
		}
	}, nil)
	_, err = s.Append(f.ctx, "zzzz", "seg", records("x"), nil)
	require.NoError(f, err)
}

func peek(f *fixture) {
	f.append("seg", "1", "2", "3")
	r, err := f.Append(f.ctx, space, "seg", []streamhub.Record{{Payload: []byte("4")}, {Payload: []byte("5"), Metadata: map[string]string{"k": "v"}}}, nil)
	require.NoError(f, err)
	e, err := f.Peek(f.ctx, space, "seg")
	require.NoError(f, err)
	all := f.read("seg", nil)
	require.Equal(f, all[4], e)
	require.Equal(f, r.Position, e.Position)
	f.closed("seg")
	e, err = f.Peek(f.ctx, space, "seg")
	require.NoError(f, err)
	require.Equal(f, all[4], e)
}

package hotlogtest

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var appendCases = []namedCase{
	{"AppendOne", appendOne},
	{"AppendBatch", appendBatch},
	{"AppendOfAnotherProcess", appendOfAnotherProcess},
	{"AppendMetadata", appendMetadata},
	{"AppendEmptyPayload", appendEmptyPayload},
	{"AppendNode", appendNode},
	{"AppendNothing", appendNothing},
	{"AppendTimestamps", appendTimestamps},
}

func appendOne(f *fixture) {
	r := f.append("seg", "hello")
	require.EqualValues(f, 1, r.First)
	require.EqualValues(f, 1, r.Last)
	require.EqualValues(f, 1, r.TRX.Number)
	require.NotEqual(f, uuid.Nil, r.TRX.ID)
	require.True(f, r.Created)
	require.False(f, r.Repeated)
	require.False(f, r.Closed)
	require.NotZero(f, r.Timestamp)

	entries := f.read("seg", nil)
	require.Len(f, entries, 1)
	require.Equal(f, streamhub.Entry{
		Space: space, Segment: "seg", Sequence: 1, Timestamp: r.Timestamp, TRX: r.TRX,
		Payload: []byte("hello"), Position: r.Position,
	}, entries[0])
	require.Equal(f, r.Cursor(), entries[0].Cursor())

	r = f.append("seg", "again")
	require.EqualValues(f, 2, r.First)
	require.EqualValues(f, 2, r.TRX.Number)
	require.False(f, r.Created)
}

func appendBatch(f *fixture) {
	r := f.append("seg", "1", "2", "3")
	require.EqualValues(f, 1, r.First)
	require.EqualValues(f, 3, r.Last)
	r = f.append("seg", "4", "5")
	require.EqualValues(f, 4, r.First)
	require.EqualValues(f, 5, r.Last)
	entries := f.read("seg", nil)
	require.Equal(f, []string{"1", "2", "3", "4", "5"}, f.payloads(entries))
	for i, e := range entries {
		number := uint64(1)
		if i >= 3 {
			number = 2
		}
		require.Equal(f, number, e.TRX.Number, "the entries of one append share its TRX")
	}
	require.Equal(f, entries[0].TRX, entries[2].TRX)
	require.Equal(f, r.TRX, entries[4].TRX)
}

// appendOfAnotherProcess appends to a segment that the appending process has not seen before.
func appendOfAnotherProcess(f *fixture) {
	f.append("seg", "1")
	batch, one := f.another(), f.another()
	r := f.appendTo(batch, "seg", "2", "3", "4")
	require.EqualValues(f, 2, r.First)
	require.EqualValues(f, 4, r.Last)
	require.EqualValues(f, 2, r.TRX.Number)
	require.False(f, r.Created)
	last, err := f.conn.XRevRangeN(f.ctx, f.timelineKey(), "+", "-", 1).Result()
	require.NoError(f, err)
	require.Equal(f, map[string]any{"seg": "4:3"}, last[0].Values)
	r = f.appendTo(one, "seg", "5")
	require.EqualValues(f, 5, r.First)
	require.EqualValues(f, 3, r.TRX.Number)
	f.appendTo(batch, "seg", "6")
	require.Equal(f, []string{"1", "2", "3", "4", "5", "6"}, f.payloads(f.read("seg", nil)))
	require.Equal(f, []string{"seg1", "seg2", "seg3", "seg4", "seg5", "seg6"}, names(f.readSpace(nil)))
}

func appendMetadata(f *fixture) {
	metadata := []map[string]string{
		nil,
		{"k": "v"},
		{"": "", "empty value": "", "\x00{}:\xff": "\x00\n\xff", "long": strings.Repeat("x", 10_000)},
	}
	var batch []streamhub.Record
	for i, m := range metadata {
		batch = append(batch, streamhub.Record{Payload: []byte{byte(i), 0, 255}, Metadata: m})
	}
	_, err := f.Append(f.ctx, space, "seg", batch, nil)
	require.NoError(f, err)
	for i, e := range f.read("seg", nil) {
		require.Equal(f, metadata[i], e.Metadata)
		require.Equal(f, []byte{byte(i), 0, 255}, e.Payload)
	}
}

func appendEmptyPayload(f *fixture) {
	_, err := f.Append(f.ctx, space, "seg", []streamhub.Record{{}, {Payload: []byte{}}, {Metadata: map[string]string{"a": "b"}}}, nil)
	require.NoError(f, err)
	entries := f.read("seg", nil)
	require.Len(f, entries, 3)
	for _, e := range entries {
		require.Empty(f, e.Payload)
	}
	require.Equal(f, "b", entries[2].Metadata["a"])
}

func appendNode(f *fixture) {
	node := uuid.New()
	s := f.openWith(f.conn, &hotlog.Options{Node: node})
	r := f.appendTo(s, "seg", "1")
	require.Equal(f, node, r.TRX.Node)
	f.append("seg", "2")
	entries := f.read("seg", nil)
	require.Equal(f, node, entries[0].TRX.Node)
	require.Equal(f, uuid.Nil, entries[1].TRX.Node)
}

func appendNothing(f *fixture) {
	_, err := f.Append(f.ctx, space, "seg", nil, nil)
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

func appendTimestamps(f *fixture) {
	var last time.Time
	for i := range 20 {
		segment := string(rune('a' + i%3))
		r := f.append(segment, "x")
		require.GreaterOrEqual(f, r.Timestamp, last, "timestamps of a space never go back")
		last = r.Timestamp
	}
	now, err := f.conn.Time(f.ctx).Result()
	require.NoError(f, err)
	require.WithinDuration(f, now, last, 10*time.Second)
}

var nameCases = []namedCase{
	{"NamesHostile", namesHostile},
	{"NamesLength", namesLength},
	{"NamesByteOrder", namesByteOrder},
	{"NamesDoNotMeet", namesDoNotMeet},
	{"StoresDoNotMeet", storesDoNotMeet},
}

var hostile = []string{
	"{", "}", "{}", "}{", "{x}", "a}b", ":", "::", "*", "?", "[a-z]", "\\", "%", "%41", "A", "%2A", " ", "\n", "\r\n",
	"\x00", "\x00\x00", "a\x00", "\xff", "\xff\xfe", "é", "日本", "~", "~x", "-", "+", "(", "a:0000000000000000", "..", "/", "a/b",
}

func namesHostile(f *fixture) {
	for i, name := range hostile {
		for _, at := range [][2]string{{name, "plain"}, {"plain", name}, {name, name}} {
			payload := []byte(at[0] + "\x00" + at[1])
			r, err := f.Append(f.ctx, at[0], at[1], []streamhub.Record{{Payload: payload}}, nil)
			require.NoError(f, err, "%q", at)
			require.EqualValues(f, 1, r.First, "%q", at)
			e, err := f.Peek(f.ctx, at[0], at[1])
			require.NoError(f, err, "%q", at)
			require.Equal(f, payload, e.Payload)
			require.Equal(f, at, [2]string{e.Space, e.Segment})
		}
		segments, err := f.Segments(f.ctx, name, "", 100)
		require.NoError(f, err)
		require.ElementsMatch(f, []string{"plain", name}, segments)
		if i%8 == 0 {
			for e, err := range f.ConsumeSpace(f.ctx, name, nil) {
				require.NoError(f, err)
				require.Equal(f, e.Space+"\x00"+e.Segment, string(e.Payload))
			}
		}
	}
	segments, err := f.Segments(f.ctx, "plain", "", 1000)
	require.NoError(f, err)
	require.ElementsMatch(f, hostile, segments)
	spaces, err := f.Spaces(f.ctx, "", 1000)
	require.NoError(f, err)
	require.ElementsMatch(f, append([]string{"plain"}, hostile...), spaces)
	for _, name := range hostile {
		require.NoError(f, f.Delete(f.ctx, "plain", name, ""))
	}
	segments, err = f.Segments(f.ctx, "plain", "", 1000)
	require.NoError(f, err)
	require.Empty(f, segments)
}

func namesLength(f *fixture) {
	long := strings.Repeat("\xff", streamhub.MaxNameLength)
	_, err := f.Append(f.ctx, long, long, records("x"), &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: long}})
	require.NoError(f, err)
	e, err := f.Peek(f.ctx, long, long)
	require.NoError(f, err)
	require.Equal(f, long, e.Segment)
	for _, bad := range []string{"", long + "x"} {
		for _, at := range [][2]string{{bad, "seg"}, {space, bad}} {
			_, err := f.Append(f.ctx, at[0], at[1], records("x"), nil)
			require.ErrorIs(f, err, streamhub.ErrInvalidName)
			_, err = f.Peek(f.ctx, at[0], at[1])
			require.ErrorIs(f, err, streamhub.ErrInvalidName)
			_, err = f.Status(f.ctx, at[0], at[1])
			require.ErrorIs(f, err, streamhub.ErrInvalidName)
			_, _, err = f.Create(f.ctx, at[0], at[1], nil)
			require.ErrorIs(f, err, streamhub.ErrInvalidName)
			_, err = f.Trim(f.ctx, at[0], at[1], 1)
			require.ErrorIs(f, err, streamhub.ErrInvalidName)
			require.ErrorIs(f, f.Delete(f.ctx, at[0], at[1], ""), streamhub.ErrInvalidName)
			for _, err := range f.ConsumeSegment(f.ctx, at[0], at[1], nil) {
				require.ErrorIs(f, err, streamhub.ErrInvalidName)
			}
		}
		_, err := f.with(streamhub.AppendOptions{Producer: &streamhub.Producer{ID: bad}}, "seg", "x")
		require.ErrorIs(f, err, streamhub.ErrInvalidName)
		for _, err := range f.ConsumeSpace(f.ctx, bad, nil) {
			require.ErrorIs(f, err, streamhub.ErrInvalidName)
		}
	}
}

func namesByteOrder(f *fixture) {
	want := []string{"\x00", "\x00\x00", "\x01", " ", "A", "B", "Z", "_", "a", "a\x00", "aa", "b", "z", "~", "\x80", "é", "\xff", "\xff\x00"}
	for i := range want {
		f.append(want[(i*7)%len(want)], "x")
	}
	got, err := f.Segments(f.ctx, space, "", 1000)
	require.NoError(f, err)
	require.Equal(f, want, got)
	var paged []string
	for after := ""; ; {
		page, err := f.Segments(f.ctx, space, after, 4)
		require.NoError(f, err)
		if len(page) == 0 {
			break
		}
		require.LessOrEqual(f, len(page), 4)
		paged = append(paged, page...)
		after = page[len(page)-1]
	}
	require.Equal(f, want, paged)
}

func namesDoNotMeet(f *fixture) {
	f.append("seg", "a")
	f.append("seg1", "b")
	f.append("se", "c")
	require.NoError(f, f.Delete(f.ctx, space, "se", ""))
	f.trim("seg1", 1)
	f.holds("seg", "a")
	_, err := f.Append(f.ctx, space+"1", "seg", records("d"), nil)
	require.NoError(f, err)
	require.Equal(f, []string{"seg1"}, names(f.readSpace(nil)))
}

func storesDoNotMeet(f *fixture) {
	f.append("seg", "a")
	other := *f
	other.id = uuid.New()
	other.Store = other.open(f.conn)
	_, err := other.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	r := other.append("seg", "b")
	require.EqualValues(f, 1, r.First)
	other.delete("seg")
	f.holds("seg", "a")
	spaces, err := other.Spaces(f.ctx, "", 10)
	require.NoError(f, err)
	require.Equal(f, []string{space}, spaces)
}

var limitCases = []namedCase{
	{"TooLargeRecord", tooLargeRecord},
	{"TooLargeFrame", tooLargeFrame},
	{"TooManyRecords", tooManyRecords},
	{"LowerLimits", lowerLimits},
	{"LargeFrames", largeFrames},
}

// refusesToSend requires that err comes before anything is sent.
func (f *fixture) refusesToSend(s *hotlog.Store, batch []streamhub.Record, wire *Link) {
	f.Helper()
	before := wire.Scripts()
	_, err := s.Append(f.ctx, space, "seg", batch, nil)
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	require.Equal(f, before, wire.Scripts())
}

func (f *fixture) wired() (*hotlog.Store, *Link) {
	f.Helper()
	wire := &Link{}
	return f.open(f.env.Connect(f.T, wire)), wire
}

// impatient is wired and gives up soon.
func (f *fixture) impatient() (*hotlog.Store, *Link) {
	f.Helper()
	wire := &Link{}
	return f.openWith(f.env.Connect(f.T, wire), &hotlog.Options{RetryFor: 20 * time.Millisecond}), wire
}

func tooLargeRecord(f *fixture) {
	s, wire := f.wired()
	most := bytes.Repeat([]byte("x"), streamhub.MaxRecordBytes)
	_, err := s.Append(f.ctx, space, "seg", []streamhub.Record{{Payload: most}}, nil)
	require.NoError(f, err)
	f.refusesToSend(s, []streamhub.Record{{Payload: append(most, 'x')}}, wire)
	f.refusesToSend(s, []streamhub.Record{{Payload: most, Metadata: map[string]string{"k": ""}}}, wire)
	f.refusesToSend(s, []streamhub.Record{{}, {Payload: append(most, 'x')}}, wire)
	require.EqualValues(f, 1, f.status("seg").LastSequence)
}

func tooLargeFrame(f *fixture) {
	s, wire := f.wired()
	most := bytes.Repeat([]byte("x"), streamhub.MaxRecordBytes)
	batch := make([]streamhub.Record, 16)
	for i := range batch {
		batch[i].Payload = most
	}
	f.refusesToSend(s, batch, wire)
	batch[15].Payload = most[:len(most)-1000]
	_, err := s.Append(f.ctx, space, "seg", batch, nil)
	require.NoError(f, err)
	entries := f.read("seg", nil)
	require.Len(f, entries, 16)
	require.Equal(f, most, entries[7].Payload)
	// So much would not even fit into memory.
	huge := make([]streamhub.Record, streamhub.MaxFrameRecords)
	for i := range huge {
		huge[i].Payload = most
	}
	f.refusesToSend(s, huge, wire)
}

func tooManyRecords(f *fixture) {
	s, wire := f.wired()
	batch := make([]streamhub.Record, streamhub.MaxFrameRecords+1)
	f.refusesToSend(s, batch, wire)
	r, err := s.Append(f.ctx, space, "seg", batch[1:], nil)
	require.NoError(f, err)
	require.EqualValues(f, streamhub.MaxFrameRecords, r.Last)
	require.Len(f, f.read("seg", nil), streamhub.MaxFrameRecords)
}

func lowerLimits(f *fixture) {
	wire := &Link{}
	s := f.openWith(f.env.Connect(f.T, wire), &hotlog.Options{MaxRecordBytes: 10, MaxFrameBytes: 100, MaxFrameRecords: 3})
	f.refusesToSend(s, records("12345678901"), wire)
	f.refusesToSend(s, records("1", "2", "3", "4"), wire)
	_, err := s.Append(f.ctx, space, "seg", records("1234567890", "2", "3"), nil)
	require.NoError(f, err)
}

func largeFrames(f *fixture) {
	// Pages are about a megabyte: these need many, and the frames are of very different sizes.
	var want []string
	for i := range 12 {
		payload := strings.Repeat(string(rune('a'+i)), 1+(i%3)*300_000)
		f.append("seg", payload, "small")
		want = append(want, payload, "small")
	}
	require.Equal(f, want, f.payloads(f.read("seg", nil)))
	require.Len(f, f.readSpace(nil), len(want))
	for e, err := range f.ConsumeSegment(f.ctx, space, "seg", nil) {
		require.NoError(f, errors.Join(err))
		if e.Sequence == 5 {
			break
		}
	}
}

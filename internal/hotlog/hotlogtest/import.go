package hotlogtest

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

var importCases = []namedCase{
	{"Import", importEntries},
	{"ImportLostReply", importLostReply},
	{"ImportRefused", importRefused},
	{"ImportLost", importLost},
	{"ImportNotifies", importNotifies},
}

// foreign makes entries as another system has them: n appends of some records over a few segments, some at the
// same time.
func foreign(begin time.Time, n int) (entries []streamhub.Entry) {
	heads := map[string]*streamhub.Entry{}
	for i := range n {
		segment := fmt.Sprint("seg", i%3)
		if heads[segment] == nil {
			heads[segment] = &streamhub.Entry{Space: space, Segment: segment}
		}
		e := heads[segment]
		e.TRX = streamhub.TRX{ID: uuid.New(), Number: e.TRX.Number + 1}
		e.Timestamp = begin.Add(time.Duration(i/2) * time.Millisecond)
		for r := range i%4 + 1 {
			e.Sequence++
			e.Payload, e.Metadata = fmt.Appendf(nil, "%d of %d", r, i), nil
			if r == 1 {
				e.Metadata = map[string]string{"n": fmt.Sprint(i)}
			}
			entries = append(entries, *e)
		}
	}
	return entries
}

// longAgo is when another system wrote.
func (f *fixture) longAgo() time.Time {
	now, err := f.conn.Time(f.ctx).Result()
	require.NoError(f, err)
	return millis.Time(now.Add(-24 * time.Hour).UnixMilli())
}

// imported requires that the space holds entries and then nothing but what comes after.
func (f *fixture) imported(want []streamhub.Entry) (after []streamhub.Entry) {
	f.Helper()
	have := f.readSpace(nil)
	require.GreaterOrEqual(f, len(have), len(want))
	for i, w := range want {
		e := have[i]
		w.Position = e.Position
		if w.Payload == nil {
			w.Payload = []byte{}
		}
		require.Equal(f, w, e)
		if i%7 == 0 { // reading goes on there
			require.Len(f, f.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()}), len(have)-i-1)
		}
	}
	return have[len(want):]
}

func importEntries(f *fixture) {
	want := foreign(f.longAgo(), 300)
	for begin := 0; begin < len(want); {
		// Each run goes on where the one before it ended, in another process.
		im, err := f.open(f.env.Connect(f.T)).Import(f.ctx, space)
		require.NoError(f, err)
		end := min(begin+251, len(want))
		require.NoError(f, im.Add(f.ctx, want[begin:end]))
		begin = end
	}
	require.Empty(f, f.imported(want))
	for n := range 3 {
		segment := fmt.Sprint("seg", n)
		status := f.status(segment)
		last := uint64(0)
		for _, e := range want {
			if e.Segment == segment {
				last = e.Sequence
				require.False(f, e.Timestamp.Before(status.FirstTimestamp))
			}
		}
		require.Equal(f, last, status.LastSequence)
		require.EqualValues(f, 1, status.FirstSequence)
		r := f.append(segment, "new")
		require.Equal(f, last+1, r.First)
		require.Less(f, status.LastTimestamp.Add(time.Hour), r.Timestamp)
	}
	require.Len(f, f.imported(want), 3)
	names, err := f.Segments(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Equal(f, []string{"seg0", "seg1", "seg2"}, names)
	// A trim and a deletion find what they look for.
	_, err = f.Trim(f.ctx, space, "seg1", 20)
	require.NoError(f, err)
	require.NoError(f, f.Delete(f.ctx, space, "seg2", "done"))
	f.env.Reign(f.T)
	other := f.open(f.env.Connect(f.T))
	for e, err := range other.ConsumeSpace(f.ctx, space, nil) {
		require.NoError(f, err)
		require.NotEqual(f, "seg2", e.Segment)
	}
}

// importNotifies has followers of the space and of a segment hear of each run of the script.
func importNotifies(f *fixture) {
	of := f.listen(hotlog.SpaceChannel(f.id, space))
	one := f.listen(hotlog.SegmentChannel(f.id, space, "seg1"))
	im, err := f.Import(f.ctx, space)
	require.NoError(f, err)
	want := foreign(f.longAgo(), 300)
	require.NoError(f, im.Add(f.ctx, want))
	heads := map[string]uint64{}
	for end := im.End(); ; {
		m, err := of.ReceiveMessage(f.ctx)
		require.NoError(f, err)
		n, err := hotlog.ParseSpaceNotice(m.Payload)
		require.NoError(f, err)
		for _, c := range n.Changes {
			heads[c.Segment] = c.LastSequence
		}
		if n.Timeline == end {
			break
		}
	}
	for _, segment := range []string{"seg0", "seg1", "seg2"} {
		require.Equal(f, f.status(segment).LastSequence, heads[segment])
	}
	_, err = one.ReceiveMessage(f.ctx)
	require.NoError(f, err)
}

// importLostReply loses the reply of every run of the script once.
func importLostReply(f *fixture) {
	link := &Link{}
	im, err := f.open(f.env.Connect(f.T, link)).Import(f.ctx, space)
	require.NoError(f, err)
	want := foreign(f.longAgo(), 60)
	for begin := 0; begin < len(want); begin += 20 {
		link.Lose(1)
		require.NoError(f, im.Add(f.ctx, want[begin:min(begin+20, len(want))]))
		require.True(f, link.Lost())
	}
	require.Empty(f, f.imported(want))
}

func importRefused(f *fixture) {
	now := f.longAgo()
	want := foreign(now, 10)
	im, err := f.Import(f.ctx, space)
	require.NoError(f, err)
	require.NoError(f, im.Add(f.ctx, want))
	next := want[len(want)-1]
	next.TRX = streamhub.TRX{ID: uuid.New(), Number: next.TRX.Number + 1}
	for what, change := range map[string]func(e *streamhub.Entry){
		"a hole":             func(e *streamhub.Entry) { e.Sequence += 2 },
		"a second time":      func(*streamhub.Entry) {},
		"an earlier time":    func(e *streamhub.Entry) { e.Sequence++; e.Timestamp = now.Add(-time.Millisecond) },
		"no time":            func(e *streamhub.Entry) { e.Sequence++; e.Timestamp = time.Time{} },
		"no number":          func(e *streamhub.Entry) { e.Sequence++; e.TRX.Number = 0 },
		"no sequence":        func(e *streamhub.Entry) { e.Segment, e.Sequence = "another", 0 },
		"a start that is no": func(e *streamhub.Entry) { e.Segment, e.Sequence = "another", 2 },
		"too much": func(e *streamhub.Entry) {
			e.Sequence++
			e.Payload = make([]byte, streamhub.MaxFrameBytes+1)
		},
	} {
		e := next
		change(&e)
		err := im.Add(f.ctx, []streamhub.Entry{e})
		require.Error(f, err, what)
		require.NotErrorIs(f, err, streamhub.ErrUnknownOutcome, what)
		require.Empty(f, f.imported(want))
	}
	// A part that is refused takes the whole step with it.
	good, bad := next, next
	good.Sequence, bad.Sequence = next.Sequence+1, next.Sequence+3
	bad.TRX.ID = uuid.New()
	require.ErrorIs(f, im.Add(f.ctx, []streamhub.Entry{good, bad}), streamhub.ErrConflict)
	require.Empty(f, f.imported(want))

	f.append("theirs", "x")
	require.ErrorIs(f, im.Add(f.ctx, []streamhub.Entry{good}), streamhub.ErrConflict, "another program has written")
	require.NoError(f, f.Delete(f.ctx, space, "seg0", "gone"))
	im, err = f.Import(f.ctx, space)
	require.NoError(f, err)
	good = streamhub.Entry{Space: space, Segment: "seg0", Sequence: 1, TRX: streamhub.TRX{ID: uuid.New(), Number: 1}, Timestamp: now.Add(48 * time.Hour)}
	require.ErrorIs(f, im.Add(f.ctx, []streamhub.Entry{good}), streamhub.ErrConflict, "it was deleted")
}

// importLost has Redis come back without what was stored, which is no other program's doing.
func importLost(f *fixture) {
	im, err := f.Import(f.ctx, space)
	require.NoError(f, err)
	want := foreign(f.longAgo(), 10)
	require.NoError(f, im.Add(f.ctx, want[:12]))
	f.wipe()
	err = im.Add(f.ctx, want[12:])
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	require.NotErrorIs(f, err, streamhub.ErrConflict)
	im, err = f.Import(f.ctx, space)
	require.NoError(f, err)
	require.NoError(f, im.Add(f.ctx, want))
	require.Empty(f, f.imported(want))
}

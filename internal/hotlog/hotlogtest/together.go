package hotlogtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var togetherCases = []namedCase{
	{"AppendAll", appendAll},
	{"AppendAllRefused", appendAllRefused},
	{"AppendAllSameSegment", appendAllSameSegment},
	{"AppendAllAfterOld", appendAllAfterOld},
	{"AppendAllManySegments", appendAllManySegments},
	{"AppendAllManySpaces", appendAllManySpaces},
	{"AppendAllLostReply", appendAllLostReply},
	{"AppendAllInOrder", appendAllInOrder},
	{"AppendAllOvertakesNothing", appendAllOvertakesNothing},
}

func appendAll(f *fixture) {
	results, errs := f.AppendAll(f.ctx, nil)
	require.Empty(f, results)
	require.Empty(f, errs)
	results, errs = f.AppendAll(f.ctx, []streamhub.Append{
		{Space: "x", Segment: "a", Records: records("1", "2")},
		{Space: "y", Segment: "a", Records: records("3")},
		{Space: "x", Segment: "b", Records: records("4")},
	})
	require.Equal(f, make([]error, 3), errs)
	require.EqualValues(f, 2, results[0].Last)
	require.EqualValues(f, 1, results[1].Last)
	require.EqualValues(f, 1, results[2].Last)
	require.Equal(f, results[0].Timestamp, results[2].Timestamp, "they went in one step")
	e, err := f.Peek(f.ctx, "y", "a")
	require.NoError(f, err)
	require.Equal(f, results[1].Position, e.Position)
}

// appendAllRefused mixes appends that every rule refuses with some that go through.
func appendAllRefused(f *fixture) {
	_, err := f.with(streamhub.AppendOptions{Generation: 5, StreamSeq: "m", ContentType: "text/plain"}, "ruled", "1")
	require.NoError(f, err)
	f.append("closed", "1")
	f.closed("closed")
	f.append("other", "1")
	large := []streamhub.Record{{Payload: make([]byte, streamhub.MaxRecordBytes+1)}}
	appends := []streamhub.Append{
		{Space: space, Segment: "good1", Records: records("x")},
		{Space: space, Segment: "closed", Records: records("x")},
		{Space: space, Segment: "other", Records: records("x"), Options: &streamhub.AppendOptions{ExpectedSequence: 9}},
		{Space: space, Segment: "good2", Records: records("x", "y")},
		{Space: space, Segment: "ruled", Records: records("x"), Options: &streamhub.AppendOptions{Generation: 4}},
		{Space: space, Segment: "", Records: records("x")},
		{Space: space, Segment: "large", Records: large},
		{Space: space, Segment: "missing", Records: records("x"), Options: &streamhub.AppendOptions{MustExist: true}},
		{Space: space, Segment: "gap", Records: records("x"), Options: &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: 1}}},
		{Space: space, Segment: "good3", Records: records("x")},
	}
	want := []error{
		nil, streamhub.ErrClosed, streamhub.ErrSequenceMismatch, nil, streamhub.ErrFenced, streamhub.ErrInvalidName,
		streamhub.ErrTooLarge, streamhub.ErrNotFound, streamhub.ErrProducerGap, nil,
	}
	results, errs := f.AppendAll(f.ctx, appends)
	for i, w := range want {
		if w == nil {
			require.NoError(f, errs[i])
			require.EqualValues(f, 1, results[i].First)
			continue
		}
		require.ErrorIs(f, errs[i], w, "%d", i)
		require.Zero(f, results[i])
		var e *streamhub.Error
		require.ErrorAs(f, errs[i], &e)
		require.Equal(f, appends[i].Segment, e.Segment)
	}
	require.ElementsMatch(f, []string{"ruled1", "closed1", "other1", "good11", "good21", "good22", "good31"}, names(f.readSpace(nil)))
}

func appendAllSameSegment(f *fixture) {
	results, errs := f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "seg", Records: records("1", "2")},
		{Space: space, Segment: "seg", Records: records("3")},
		{Space: space, Segment: "seg", Records: records("4"), Options: &streamhub.AppendOptions{ExpectedSequence: 4}},
		{Space: space, Segment: "seg", Records: records("x"), Options: &streamhub.AppendOptions{ExpectedSequence: 4}},
		{Space: space, Segment: "seg", Records: records("5")},
		{Space: space, Segment: "seg", Records: records("6"), Options: &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}}},
		{Space: space, Segment: "seg", Records: records("x")},
	})
	require.Equal(f, []error{nil, nil, nil}, errs[:3])
	f.mismatch(errs[3], 5, 4)
	require.Equal(f, []error{nil, nil}, errs[4:6])
	f.isClosed(errs[6], streamhub.VerdictDone, 6)
	for i, r := range results {
		require.Equal(f, i == 0, r.Created, "one append creates the segment")
	}
	require.EqualValues(f, 1, results[0].First)
	require.EqualValues(f, 3, results[1].First)
	f.holds("seg", "1", "2", "3", "4", "5", "6")
	all := f.read("seg", nil)
	numbers := map[uint64]bool{}
	for i, at := range []int{0, 2, 3, 4, 5} {
		require.Equal(f, results[[]int{0, 1, 2, 4, 5}[i]].TRX, all[at].TRX)
		numbers[all[at].TRX.Number] = true
	}
	require.Len(f, numbers, 5)
}

// appendAllAfterOld makes an append after one that can no longer be stored.
func appendAllAfterOld(f *fixture) {
	for seq := range uint64(2) {
		_, err := f.with(by("p", 0, seq), "seg", fmt.Sprint(seq))
		require.NoError(f, err)
	}
	old := by("p", 0, 0)
	results, errs := f.AppendAll(f.ctx, []streamhub.Append{
		{Space: space, Segment: "seg", Records: records("0"), Options: &old},
		{Space: space, Segment: "seg", Records: records("2")},
	})
	f.producer(errs[0], streamhub.ErrUnknownOutcome, 0, 2)
	require.NoError(f, errs[1])
	require.EqualValues(f, 3, results[1].First)
}

// appendAllManySpaces appends to several segments of several spaces again and again, so that they go
// together, while others append to some, and one is not what it should be.
func appendAllManySpaces(f *fixture) {
	const spaces, segments, rounds = 5, 3, 6
	at := func(i int) (space, segment string) {
		return fmt.Sprint("sp", i/segments), fmt.Sprint("seg", i%segments)
	}
	other := f.another()
	last := map[int]uint64{}
	for round := range rounds {
		var appends []streamhub.Append
		for i := range spaces * segments {
			sp, seg := at(i)
			appends = append(appends, streamhub.Append{Space: sp, Segment: seg, Records: records(fmt.Sprint(i, " ", round))})
			if round > 2 && i < 9 && i%4 == round%4 {
				r, err := other.Append(f.ctx, sp, seg, records("other", "one"), nil)
				require.NoError(f, err)
				require.Equal(f, last[i]+1, r.First)
				last[i] = r.Last
			}
		}
		results, errs := f.AppendAll(f.ctx, appends)
		for i, r := range results {
			require.NoError(f, errs[i])
			require.Equal(f, last[i]+1, r.First)
			last[i] = r.Last
		}
	}
	for sp := range spaces {
		total, along := 0, map[string]uint64{}
		before := time.Time{}
		for e, err := range f.ConsumeSpace(f.ctx, fmt.Sprint("sp", sp), nil) {
			require.NoError(f, err)
			along[e.Segment]++
			require.Equal(f, along[e.Segment], e.Sequence)
			require.GreaterOrEqual(f, e.Timestamp, before)
			before = e.Timestamp
			total++
		}
		want := 0
		for seg := range segments {
			want += int(last[sp*segments+seg])
		}
		require.Equal(f, want, total)
	}
	// A log that is gone refuses its own append and no other, and leaves no trace in the timeline.
	const broken = 10
	sp, seg := at(broken)
	s, err := f.Status(f.ctx, sp, seg)
	require.NoError(f, err)
	prefix := strings.TrimSuffix(hotlog.SpaceChannel(f.id, sp), "t")
	f.del(fmt.Sprintf("%se:%s:%016x", prefix, seg, s.Position.Incarnation))
	var appends []streamhub.Append
	for i := range spaces * segments {
		sp, seg := at(i)
		appends = append(appends, streamhub.Append{Space: sp, Segment: seg, Records: records("x")})
	}
	results, errs := f.AppendAll(f.ctx, appends)
	for i, r := range results {
		if i == broken {
			require.ErrorIs(f, errs[i], streamhub.ErrCorrupt)
			continue
		}
		require.NoError(f, errs[i])
		require.Equal(f, last[i]+1, r.Last)
	}
	entries, err := f.conn.XRevRangeN(f.ctx, prefix+"t", "+", "-", 1).Result()
	require.NoError(f, err)
	require.Len(f, entries[0].Values, segments-1)
	require.NotContains(f, entries[0].Values, seg)
}

func appendAllManySegments(f *fixture) {
	// More frames than one call of the script takes, and than one batch takes.
	var appends []streamhub.Append
	for i := range 700 {
		appends = append(appends, streamhub.Append{Space: space, Segment: fmt.Sprint("s", i), Records: records(fmt.Sprint(i))})
	}
	for round := range 2 {
		results, errs := f.AppendAll(f.ctx, appends)
		for i, err := range errs {
			require.NoError(f, err)
			require.EqualValues(f, round+1, results[i].Last)
		}
	}
	require.Len(f, f.readSpace(nil), 1400)
	// And more bytes.
	for i := range appends[:20] {
		appends[i].Records = []streamhub.Record{{Payload: make([]byte, 200_000)}}
	}
	_, errs := f.AppendAll(f.ctx, appends[:20])
	require.Equal(f, make([]error, 20), errs)
}

func appendAllLostReply(f *fixture) {
	s, wire := f.wired()
	var appends []streamhub.Append
	for i := range 20 {
		appends = append(appends, streamhub.Append{Space: space, Segment: fmt.Sprint("s", i%10), Records: records(fmt.Sprint(i))})
	}
	for round := range 3 {
		wire.Lose(1 + round)
		results, errs := s.AppendAll(f.ctx, appends)
		require.Equal(f, make([]error, 20), errs)
		for i, r := range results {
			require.EqualValues(f, 2*round+1+i/10, r.Last)
		}
	}
	require.Len(f, f.readSpace(nil), 60)
}

// appendAllInOrder mixes appends of every sort to one segment: plain ones, those of a producer, those
// that name their sequence.
func appendAllInOrder(f *fixture) {
	for round := range 3 {
		var appends []streamhub.Append
		var want []string
		for i := range 60 {
			text := fmt.Sprint(i)
			o := &streamhub.AppendOptions{Generation: uint64(i / 4)}
			switch i % 4 {
			case 1:
				o.Producer = &streamhub.Producer{ID: "p", Seq: uint64(i / 4)}
			case 2:
				o.ExpectedSequence = uint64(i + 1)
			}
			appends = append(appends, streamhub.Append{Space: space, Segment: fmt.Sprint("seg", round), Records: records(text), Options: o})
			want = append(want, text)
		}
		results, errs := f.AppendAll(f.ctx, appends)
		require.Equal(f, make([]error, len(appends)), errs)
		for i, r := range results {
			require.EqualValues(f, i+1, r.First)
		}
		f.holds(fmt.Sprint("seg", round), want...)
	}
}

// appendAllOvertakesNothing: an append that may be made yet stops those after it, of its segment.
func appendAllOvertakesNothing(f *fixture) {
	s, wire := f.impatient()
	chains := map[string]func(i int) *streamhub.AppendOptions{
		"generations": func(i int) *streamhub.AppendOptions { return &streamhub.AppendOptions{Generation: uint64(i + 1)} },
		"producer": func(i int) *streamhub.AppendOptions {
			return &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: uint64(i)}}
		},
		"sequences": func(i int) *streamhub.AppendOptions {
			return &streamhub.AppendOptions{ExpectedSequence: uint64(i + 1)}
		},
	}
	for segment, options := range chains {
		appends := make([]streamhub.Append, 4)
		for i := range appends {
			appends[i] = streamhub.Append{Space: space, Segment: segment, Records: records(fmt.Sprint(i)), Options: options(i)}
			appends[i].Options.TRX = uuid.New()
		}
		wire.Drop(1000)
		_, errs := s.AppendAll(f.ctx, appends)
		wire.Lose(0)
		require.ErrorIs(f, errs[0], streamhub.ErrUnknownOutcome, segment)
		for _, err := range errs[1:] {
			require.ErrorIs(f, err, streamhub.ErrUnavailable, segment)
			require.NotErrorIs(f, err, streamhub.ErrUnknownOutcome, segment)
		}
		_, errs = s.AppendAll(f.ctx, appends)
		require.Equal(f, make([]error, len(appends)), errs, segment)
		f.holds(segment, "0", "1", "2", "3")
	}
}

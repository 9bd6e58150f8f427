package hotlogtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var repeatCases = []namedCase{
	{"RepeatByTRX", repeatByTRX},
	{"RepeatOtherPayload", repeatOtherPayload},
	{"RepeatAtOnce", repeatAtOnce},
	{"RepeatByTRXOnManySegments", repeatByTRXOnManySegments},
	{"RepeatAfterLostReply", repeatAfterLostReply},
	{"RepeatAfterLostReplies", repeatAfterLostReplies},
	{"RepeatWhileAway", repeatWhileAway},
	{"RepeatOfMerged", repeatOfMerged},
	{"RepeatWhenClosed", repeatWhenClosed},
	{"RepeatOfClose", repeatOfClose},
}

// same requires that again is the answer to a repeat of what r is the answer to.
func (f *fixture) same(r, again streamhub.AppendResult) {
	f.Helper()
	require.True(f, again.Repeated)
	again.Repeated, again.Created, again.Closed, again.Generation = r.Repeated, r.Created, r.Closed, r.Generation
	require.Equal(f, r, again)
}

func repeatByTRX(f *fixture) {
	id := uuid.New()
	r, err := f.with(streamhub.AppendOptions{TRX: id}, "seg", "1", "2")
	require.NoError(f, err)
	require.Equal(f, id, r.TRX.ID)
	f.append("seg", "3")
	again, err := f.with(streamhub.AppendOptions{TRX: id}, "seg", "1", "2")
	require.NoError(f, err)
	f.same(r, again)
	f.holds("seg", "1", "2", "3")
}

func repeatOtherPayload(f *fixture) {
	id := uuid.New()
	_, err := f.with(streamhub.AppendOptions{TRX: id}, "seg", "1")
	require.NoError(f, err)
	_, err = f.with(streamhub.AppendOptions{TRX: id}, "seg", "2")
	require.ErrorIs(f, err, streamhub.ErrBatchMismatch)
	f.holds("seg", "1")
}

func repeatAtOnce(f *fixture) {
	for i := range 10 {
		id := uuid.New()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				r, err := f.with(streamhub.AppendOptions{TRX: id}, "seg", fmt.Sprint(i))
				if err != nil || r.First != uint64(i)+1 {
					f.Errorf("%+v, %v", r, err)
				}
			})
		}
		wg.Wait()
	}
	require.Len(f, f.read("seg", nil), 10)
}

func repeatByTRXOnManySegments(f *fixture) {
	// One id may stand for appends to several segments.
	id := uuid.New()
	for range 2 {
		for _, segment := range []string{"a", "b"} {
			r, err := f.with(streamhub.AppendOptions{TRX: id}, segment, segment)
			require.NoError(f, err)
			require.EqualValues(f, 1, r.First)
		}
	}
}

func repeatAfterLostReply(f *fixture) {
	s, wire := f.wired()
	f.appendTo(s, "seg", "1")
	for _, o := range []streamhub.AppendOptions{
		{}, {ExpectedSequence: 3}, {Generation: 1}, {Generation: 1, TRX: uuid.New()},
		{Generation: 1, Producer: &streamhub.Producer{ID: "p"}}, {Generation: 1, ContentType: ""},
	} {
		last := f.status("seg").LastSequence
		wire.Lose(2)
		r, err := s.Append(f.ctx, space, "seg", records("x"), &o)
		require.NoError(f, err)
		require.True(f, wire.Lost())
		require.True(f, r.Repeated)
		require.Equal(f, last+1, r.First)
		require.Equal(f, last+1, f.status("seg").LastSequence)
		e, err := f.Peek(f.ctx, space, "seg")
		require.NoError(f, err)
		require.Equal(f, e.Position, r.Position)
	}
	// The first append of all: the segment that it created is its own.
	wire.Lose(1)
	r, err := s.Append(f.ctx, space, "fresh", records("x"), nil)
	require.NoError(f, err)
	require.EqualValues(f, 1, r.First)
	f.holds("fresh", "x")
}

// repeatAfterLostReplies repeats appends whose callers were told that nothing is known.
func repeatAfterLostReplies(f *fixture) {
	for _, stored := range []bool{true, false} {
		for _, between := range []int{0, 1, 3} {
			s, wire := f.impatient()
			segment := fmt.Sprint(stored, between)
			f.appendTo(s, segment, "first")
			if stored {
				wire.Lose(1000)
			} else {
				wire.Drop(1000)
			}
			_, err := s.Append(f.ctx, space, segment, records("x"), nil)
			var unknown *streamhub.UnknownOutcomeError
			require.ErrorAs(f, err, &unknown)
			require.ErrorIs(f, err, streamhub.ErrUnknownOutcome)
			wire.Lose(0)
			for range between {
				f.appendTo(s, segment, "between")
			}
			r, err := s.Append(f.ctx, space, segment, records("x"), &streamhub.AppendOptions{TRX: unknown.TRX})
			require.NoError(f, err)
			require.Equal(f, stored, r.Repeated)
			entries := f.read(segment, nil)
			require.Len(f, entries, 2+between)
			require.Equal(f, unknown.TRX, entries[r.First-1].TRX.ID)
			again, err := s.Append(f.ctx, space, segment, records("x"), &streamhub.AppendOptions{TRX: unknown.TRX})
			require.NoError(f, err)
			f.same(r, again)
			require.Equal(f, uint64(2+between), f.status(segment).LastSequence)
		}
	}
}

// repeatOfMerged loses the reply to a frame that carried several appends.
// repeatWhileAway: the outcome of appends is unknown, and Redis is away when they are repeated. That they were not stored
// by the repeat does not say that nothing was stored.
func repeatWhileAway(f *fixture) {
	s, wire := f.impatient()
	f.appendTo(s, "seg", "first")
	wire.Lose(1000)
	appends := make([]streamhub.Append, 3)
	for i := range appends {
		appends[i] = streamhub.Append{Space: space, Segment: "seg", Records: records(fmt.Sprint(i)), Options: &streamhub.AppendOptions{TRX: uuid.New()}}
	}
	_, errs := s.AppendAll(f.ctx, appends)
	require.ErrorIs(f, errs[0], streamhub.ErrUnknownOutcome)
	doubted := 0
	for doubted < len(errs) && errors.Is(errs[doubted], streamhub.ErrUnknownOutcome) {
		doubted++
	}
	wire.Lose(0)

	wire.Away(0, false)
	_, errs = s.AppendAll(f.ctx, appends)
	_, checked := s.Append(f.ctx, space, "seg", records("0"), &streamhub.AppendOptions{TRX: appends[0].Options.TRX, CheckOnly: true})
	wire.Back()
	for i := range doubted {
		var unknown *streamhub.UnknownOutcomeError
		require.ErrorAs(f, errs[i], &unknown)
		require.Equal(f, appends[i].Options.TRX, unknown.TRX)
		require.NotErrorIs(f, errs[i], streamhub.ErrUnavailable)
	}
	require.ErrorIs(f, checked, streamhub.ErrUnavailable)
	require.NotErrorIs(f, checked, streamhub.ErrUnknownOutcome)

	results, errs := s.AppendAll(f.ctx, appends)
	require.NoError(f, errors.Join(errs...))
	require.True(f, results[0].Repeated)
	f.holds("seg", "first", "0", "1", "2")
}

func repeatOfMerged(f *fixture) {
	s, wire := f.impatient()
	f.appendTo(s, "seg", "first")
	const callers = 200
	ids := make([]uuid.UUID, callers)
	errs := make([]error, callers)
	// While one frame is held, the others gather after it.
	release := make(chan struct{})
	held := make(chan struct{})
	var once sync.Once
	wire.Around(func() { once.Do(func() { close(held); <-release }) }, nil)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = s.Append(f.ctx, space, "seg", records("held"), nil) })
	<-held
	for i := range callers {
		ids[i] = uuid.New()
	}
	started := make(chan struct{}, callers)
	for i := range callers {
		wg.Go(func() {
			started <- struct{}{}
			_, errs[i] = s.Append(f.ctx, space, "seg", records(fmt.Sprint(i)), &streamhub.AppendOptions{TRX: ids[i]})
		})
	}
	for range callers {
		<-started
	}
	wire.Lose(1000)
	close(release)
	wg.Wait()
	wire.Lose(0)
	unknown := 0
	for i, err := range errs {
		if errors.Is(err, streamhub.ErrUnknownOutcome) {
			unknown++
		} else {
			require.NoError(f, err, "%d", i)
		}
	}
	require.Greater(f, unknown, callers/2)
	// A caller whose context can end learns nothing after 200 ms without an answer.
	patient := context.WithoutCancel(f.ctx)
	_, err := s.Append(patient, space, "seg", records("between"), nil)
	require.NoError(f, err)
	for i := range callers {
		_, err := s.Append(patient, space, "seg", records(fmt.Sprint(i)), &streamhub.AppendOptions{TRX: ids[i]})
		require.NoError(f, err)
	}
	seen := map[string]int{}
	for _, e := range f.read("seg", nil) {
		seen[string(e.Payload)]++
	}
	for i := range callers {
		require.Equal(f, 1, seen[fmt.Sprint(i)], "append %d", i)
	}
}

func repeatWhenClosed(f *fixture) {
	id := uuid.New()
	r, err := f.with(streamhub.AppendOptions{TRX: id}, "seg", "1")
	require.NoError(f, err)
	p := &streamhub.Producer{ID: "p"}
	named, err := f.with(streamhub.AppendOptions{Producer: p}, "seg", "2")
	require.NoError(f, err)
	_, err = f.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, &streamhub.AppendOptions{Generation: 9})
	require.NoError(f, err)
	again, err := f.with(streamhub.AppendOptions{TRX: id}, "seg", "1")
	require.NoError(f, err)
	f.same(r, again)
	other, err := f.another().Append(f.ctx, space, "seg", records("2"), &streamhub.AppendOptions{Producer: p})
	require.NoError(f, err)
	f.same(named, other)
	require.True(f, other.Closed)
	require.EqualValues(f, 9, other.Generation)
	require.EqualValues(f, 2, f.status("seg").LastSequence)
}

func repeatOfClose(f *fixture) {
	s, wire := f.wired()
	f.appendTo(s, "seg", "1")
	wire.Lose(1)
	r, err := s.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(f, err)
	require.True(f, r.Closed)
	require.True(f, r.Repeated)
	require.Equal(f, f.status("seg").Position, r.Position)
	require.Empty(f, f.read("seg", &streamhub.ReadOptions{Cursor: r.Cursor()}))
}

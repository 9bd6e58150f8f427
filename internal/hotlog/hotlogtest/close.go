package hotlogtest

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var closeCases = []namedCase{
	{"Close", closeOnly},
	{"AppendAndClose", appendAndClose},
	{"CloseOnce", closeOnce},
	{"CloseMissing", closeMissing},
	{"CloseEmpty", closeEmpty},
	{"CloseBadVerdict", closeBadVerdict},
}

// isClosed requires that err tells the verdict and the last sequence.
func (f *fixture) isClosed(err error, kind streamhub.VerdictKind, last uint64) {
	f.Helper()
	var closed *streamhub.ClosedError
	require.ErrorAs(f, err, &closed)
	require.ErrorIs(f, err, streamhub.ErrClosed)
	require.Equal(f, kind, closed.Verdict.Kind)
	require.Equal(f, last, closed.LastSequence)
}

func closeOnly(f *fixture) {
	tail := f.append("seg", "1", "2")
	verdict := streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "<out of \"luck\" & time> é\x00", Output: json.RawMessage(`{"a":[1,2.5,null]}`)}
	r, err := f.CloseSegment(f.ctx, space, "seg", verdict, nil)
	require.NoError(f, err)
	require.True(f, r.Closed)
	require.EqualValues(f, 3, r.First)
	require.EqualValues(f, 2, r.Last)
	require.Equal(f, tail.Cursor(), r.Cursor(), "nothing lies after the last record")
	s := f.status("seg")
	require.Equal(f, streamhub.StateClosed, s.State)
	require.Equal(f, verdict, *s.Verdict)
	require.EqualValues(f, 2, s.LastSequence)
	_, err = f.with(streamhub.AppendOptions{}, "seg", "3")
	f.isClosed(err, streamhub.VerdictFailed, 2)
	_, err = f.another().Append(f.ctx, space, "seg", records("3"), nil)
	f.isClosed(err, streamhub.VerdictFailed, 2)
	_, err = f.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	f.isClosed(err, streamhub.VerdictFailed, 2)
	f.holds("seg", "1", "2")
	require.Empty(f, f.read("seg", &streamhub.ReadOptions{Cursor: s.Cursor()}))
	require.Len(f, f.readSpace(nil), 2)
}

func appendAndClose(f *fixture) {
	f.append("seg", "1")
	done := &streamhub.Verdict{Kind: streamhub.VerdictDone}
	_, err := f.with(streamhub.AppendOptions{Close: done, ExpectedSequence: 1}, "seg", "x", "y")
	f.mismatch(err, 2, 1)
	require.Equal(f, streamhub.StateOpen, f.status("seg").State, "all or nothing")
	r, err := f.with(streamhub.AppendOptions{Close: done, ExpectedSequence: 2}, "seg", "2", "3")
	require.NoError(f, err)
	require.True(f, r.Closed)
	require.EqualValues(f, 3, r.Last)
	_, err = f.with(streamhub.AppendOptions{}, "seg", "x")
	f.isClosed(err, streamhub.VerdictDone, 3)
	f.holds("seg", "1", "2", "3")
	require.Len(f, f.readSpace(nil), 3)

	// It may create the segment as well.
	r, err = f.with(streamhub.AppendOptions{Close: done}, "short", "only")
	require.NoError(f, err)
	require.True(f, r.Closed && r.Created)
	_, err = f.with(streamhub.AppendOptions{}, "short", "x")
	f.isClosed(err, streamhub.VerdictDone, 1)
}

func closeOnce(f *fixture) {
	f.append("seg", "1")
	kinds := []streamhub.VerdictKind{streamhub.VerdictDone, streamhub.VerdictFailed, streamhub.VerdictCancelled, streamhub.VerdictLost}
	var mu sync.Mutex
	var won []streamhub.VerdictKind
	var told []*streamhub.ClosedError
	var wg sync.WaitGroup
	for _, kind := range kinds {
		s := f.another()
		wg.Go(func() {
			_, err := s.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: kind}, nil)
			mu.Lock()
			defer mu.Unlock()
			var closed *streamhub.ClosedError
			switch {
			case err == nil:
				won = append(won, kind)
			case errors.As(err, &closed):
				told = append(told, closed)
			default:
				f.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(f, won, 1)
	for _, closed := range told {
		require.Equal(f, won[0], closed.Verdict.Kind)
	}
	require.Equal(f, won[0], f.status("seg").Verdict.Kind)
}

func closeMissing(f *fixture) {
	_, err := f.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

func closeEmpty(f *fixture) {
	f.create("seg", nil)
	r, err := f.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(f, err)
	require.EqualValues(f, 0, r.Last)
	require.Empty(f, f.read("seg", nil))
	require.Empty(f, f.read("seg", &streamhub.ReadOptions{Cursor: r.Cursor()}))
	_, err = f.with(streamhub.AppendOptions{}, "seg", "x")
	f.isClosed(err, streamhub.VerdictDone, 0)
}

func closeBadVerdict(f *fixture) {
	f.append("seg", "1")
	for _, bad := range []streamhub.Verdict{
		{}, {Kind: streamhub.VerdictDone, Output: json.RawMessage("{")}, {Kind: streamhub.VerdictDone, Output: json.RawMessage("\"\xff\"")},
		{Kind: streamhub.VerdictFailed, Reason: "no\xff"},
	} {
		_, err := f.CloseSegment(f.ctx, space, "seg", bad, nil)
		require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	}
	require.ErrorIs(f, f.Delete(f.ctx, space, "seg", "no\xff"), streamhub.ErrInvalidArgument)
	large := streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: string(make([]byte, streamhub.MaxRecordBytes))}
	_, err := f.CloseSegment(f.ctx, space, "seg", large, nil)
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	require.ErrorIs(f, f.Delete(f.ctx, space, "seg", strings.Repeat("x", 4<<10+1)), streamhub.ErrTooLarge)
	require.Equal(f, streamhub.StateOpen, f.status("seg").State)
	require.NoError(f, f.Delete(f.ctx, space, "seg", strings.Repeat("x", 4<<10)))
}

package hotlogtest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var sequenceCases = []namedCase{
	{"ExpectedSequence", expectedSequence},
	{"RecordSequences", recordSequences},
	{"OneWinner", oneWinner},
	{"ManyWriters", manyWriters},
	{"OrderOfOneWriter", orderOfOneWriter},
}

// mismatch requires that err names the sequence to expect.
func (f *fixture) mismatch(err error, expected, got uint64) {
	f.Helper()
	var mismatch *streamhub.SequenceError
	require.ErrorAs(f, err, &mismatch)
	require.ErrorIs(f, err, streamhub.ErrSequenceMismatch)
	require.Equal(f, streamhub.SequenceError{Expected: expected, Got: got}, *mismatch)
}

func expectedSequence(f *fixture) {
	_, err := f.with(streamhub.AppendOptions{ExpectedSequence: 2}, "seg", "x")
	f.mismatch(err, 1, 2)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound, "a refused append creates nothing")
	r, err := f.with(streamhub.AppendOptions{ExpectedSequence: 1}, "seg", "1", "2")
	require.NoError(f, err)
	require.EqualValues(f, 2, r.Last)
	for _, got := range []uint64{1, 2, 4, 1 << 40} {
		_, err = f.with(streamhub.AppendOptions{ExpectedSequence: got}, "seg", "x")
		f.mismatch(err, 3, got)
	}
	_, err = f.with(streamhub.AppendOptions{ExpectedSequence: 3}, "seg", "3")
	require.NoError(f, err)
	f.holds("seg", "1", "2", "3")
	_, err = f.with(streamhub.AppendOptions{ExpectedSequence: streamhub.MaxInteger + 1}, "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
}

func recordSequences(f *fixture) {
	at := func(sequences ...uint64) error {
		batch := make([]streamhub.Record, len(sequences))
		for i, s := range sequences {
			batch[i].Sequence = s
		}
		_, err := f.Append(f.ctx, space, "seg", batch, nil)
		return err
	}
	for _, bad := range [][]uint64{{1, 3}, {2, 1}, {1, 1}, {1, 0}, {0, 1}, {0, 2}, {1<<53 - 1 + 1}} {
		require.ErrorIs(f, at(bad...), streamhub.ErrInvalidArgument, "%v", bad)
	}
	f.mismatch(at(2, 3), 1, 2)
	require.NoError(f, at(1, 2, 3))
	require.NoError(f, at(4))
	f.mismatch(at(4, 5), 5, 4)
	_, err := f.Append(f.ctx, space, "seg", []streamhub.Record{{Sequence: 5}}, &streamhub.AppendOptions{ExpectedSequence: 6})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.Append(f.ctx, space, "seg", []streamhub.Record{{Sequence: 5}}, &streamhub.AppendOptions{ExpectedSequence: 5})
	require.NoError(f, err)
}

func oneWinner(f *fixture) {
	logs := []*hotlog.Store{f.Store, f.another(), f.another()}
	for sequence := uint64(1); sequence <= 10; sequence++ {
		var wins []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 9 {
			wg.Go(func() {
				me := fmt.Sprint(sequence, "/", i)
				_, err := logs[i%3].Append(f.ctx, space, "seg", records(me), &streamhub.AppendOptions{ExpectedSequence: sequence})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					wins = append(wins, me)
					return
				}
				var mismatch *streamhub.SequenceError
				if !errors.As(err, &mismatch) || mismatch.Expected != sequence+1 {
					f.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		require.Len(f, wins, 1)
		e, err := f.Peek(f.ctx, space, "seg")
		require.NoError(f, err)
		require.Equal(f, wins[0], string(e.Payload))
	}
}

func manyWriters(f *fixture) {
	const writers, each = 32, 25
	logs := []*hotlog.Store{f.Store, f.another()}
	got := make([][]streamhub.AppendResult, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r, err := logs[w%2].Append(f.ctx, space, "seg", records(fmt.Sprint(w, "/", i)), nil)
				if err != nil {
					f.Errorf("writer %d: %v", w, err)
					return
				}
				got[w] = append(got[w], r)
			}
		})
	}
	wg.Wait()
	entries := f.read("seg", nil)
	require.Len(f, entries, writers*each)
	f.payloads(entries)
	require.EqualValues(f, 1, entries[0].Sequence)
	for w, results := range got {
		for i, r := range results {
			e := entries[r.First-1]
			require.Equal(f, fmt.Sprint(w, "/", i), string(e.Payload))
			require.Equal(f, r.TRX, e.TRX)
			require.Equal(f, r.Timestamp, e.Timestamp)
			require.Equal(f, r.Position, e.Position)
		}
	}
	numbers := map[uint64]bool{}
	for _, e := range entries {
		numbers[e.TRX.Number] = true
	}
	require.Len(f, numbers, writers*each, "each append has a number of its own")
}

func orderOfOneWriter(f *fixture) {
	// Appends of one goroutine keep their order, though others travel with them.
	const writers, each = 8, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var last uint64
			for i := range each {
				r, err := f.Append(f.ctx, space, "seg", records(fmt.Sprint(w, "/", i), "second"), nil)
				if err != nil || r.First <= last || r.Last != r.First+1 {
					f.Errorf("%+v, %v", r, err)
					return
				}
				last = r.Last
			}
		})
	}
	wg.Wait()
}

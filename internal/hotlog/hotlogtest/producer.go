package hotlogtest

import (
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var producerCases = []namedCase{
	{"ProducerRepeat", producerRepeat},
	{"ProducerAtOnce", producerAtOnce},
	{"ProducerMismatch", producerMismatch},
	{"ProducerGap", producerGap},
	{"ProducerEpoch", producerEpoch},
	{"ProducerOld", producerOld},
	{"ProducersApart", producersApart},
	{"ProducerRepeatComesFirst", producerRepeatComesFirst},
	{"ProducerOfTilde", producerOfTilde},
	{"ProducerAfterTrim", producerAfterTrim},
}

func by(id string, epoch, seq uint64) streamhub.AppendOptions {
	return streamhub.AppendOptions{Producer: &streamhub.Producer{ID: id, Epoch: epoch, Seq: seq}}
}

// producer requires that err is of a kind and tells what comes next.
func (f *fixture) producer(err, kind error, epoch, expected uint64) {
	f.Helper()
	var e *streamhub.ProducerError
	require.ErrorAs(f, err, &e)
	require.ErrorIs(f, err, kind)
	require.Equal(f, [2]uint64{epoch, expected}, [2]uint64{e.Epoch, e.ExpectedSeq})
}

func producerRepeat(f *fixture) {
	logs := []*hotlog.Store{f.Store, f.another()}
	for seq := range uint64(3) {
		o := by("p", 0, seq)
		first, err := logs[seq%2].Append(f.ctx, space, "seg", records(fmt.Sprint(seq), "b"), &o)
		require.NoError(f, err)
		require.False(f, first.Repeated)
		for _, log := range logs {
			again, err := log.Append(f.ctx, space, "seg", records(fmt.Sprint(seq), "b"), &o)
			require.NoError(f, err)
			f.same(first, again)
		}
	}
	f.holds("seg", "0", "b", "1", "b", "2", "b")
	// The id of the append is that of the first call, whatever the repeat brings.
	o := by("p", 0, 3)
	o.TRX = uuid.New()
	first, err := f.with(o, "seg", "3")
	require.NoError(f, err)
	o.TRX = uuid.New()
	again, err := logs[1].Append(f.ctx, space, "seg", records("3"), &o)
	require.NoError(f, err)
	f.same(first, again)
	e, err := f.Peek(f.ctx, space, "seg")
	require.NoError(f, err)
	require.Equal(f, again.Position, e.Position)
}

func producerAtOnce(f *fixture) {
	logs := []*hotlog.Store{f.Store, f.another(), f.another()}
	for seq := range uint64(10) {
		var wg sync.WaitGroup
		for i := range 9 {
			wg.Go(func() {
				o := by("p", 0, seq)
				r, err := logs[i%3].Append(f.ctx, space, "seg", records(fmt.Sprint(seq)), &o)
				if err != nil || r.First != seq+1 {
					f.Errorf("%+v, %v", r, err)
				}
			})
		}
		wg.Wait()
	}
	require.EqualValues(f, 10, f.status("seg").LastSequence)
}

func producerMismatch(f *fixture) {
	_, err := f.with(by("p", 0, 0), "seg", "1")
	require.NoError(f, err)
	for _, payloads := range [][]string{{"2"}, {"1", "1"}, {""}} {
		_, err = f.with(by("p", 0, 0), "seg", payloads...)
		f.producer(err, streamhub.ErrBatchMismatch, 0, 1)
	}
	f.holds("seg", "1")
}

func producerGap(f *fixture) {
	_, err := f.with(by("p", 0, 1), "seg", "x")
	f.producer(err, streamhub.ErrProducerGap, 0, 0)
	_, err = f.with(by("p", 0, 0), "seg", "0")
	require.NoError(f, err)
	_, err = f.with(by("p", 0, 2), "seg", "x")
	f.producer(err, streamhub.ErrProducerGap, 0, 1)
	_, err = f.with(by("p", 1, 1), "seg", "x")
	f.producer(err, streamhub.ErrProducerGap, 0, 0)
	f.holds("seg", "0")
}

func producerEpoch(f *fixture) {
	for _, seq := range []uint64{0, 1} {
		_, err := f.with(by("p", 3, seq), "seg", "old")
		require.NoError(f, err)
	}
	_, err := f.with(by("p", 7, 0), "seg", "new")
	require.NoError(f, err)
	for _, seq := range []uint64{0, 1, 2} {
		_, err := f.with(by("p", 3, seq), "seg", "old")
		f.producer(err, streamhub.ErrProducerFenced, 7, 1)
	}
	_, err = f.with(by("p", 7, 1), "seg", "new")
	require.NoError(f, err)
	f.holds("seg", "old", "old", "new", "new")
	_, err = f.with(by("p", streamhub.MaxInteger+1, 0), "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.with(by("p", streamhub.MaxInteger, 0), "seg", "x")
	require.NoError(f, err)
}

func producerOld(f *fixture) {
	for seq := range uint64(4) {
		_, err := f.with(by("p", 0, seq), "seg", fmt.Sprint(seq))
		require.NoError(f, err)
	}
	// Only the last one is remembered: an older one may have been stored or not.
	for seq := range uint64(3) {
		_, err := f.with(by("p", 0, seq), "seg", fmt.Sprint(seq))
		f.producer(err, streamhub.ErrUnknownOutcome, 0, 4)
	}
	require.EqualValues(f, 4, f.status("seg").LastSequence)
}

func producersApart(f *fixture) {
	for _, id := range []string{"p", "p1", "P", "p:", "p%", "~", "~p", "\x00", "é"} {
		for _, segment := range []string{"a", "b"} {
			_, err := f.with(by(id, 0, 0), segment, id)
			require.NoError(f, err, "%q", id)
			_, err = f.with(by(id, 0, 1), segment, id)
			require.NoError(f, err, "%q", id)
		}
	}
	require.EqualValues(f, 18, f.status("a").LastSequence)
}

func producerRepeatComesFirst(f *fixture) {
	// A repeat is answered before anything else is looked at.
	o := by("p", 0, 0)
	o.ExpectedSequence, o.Generation, o.StreamSeq = 1, 1, "a"
	first, err := f.with(o, "seg", "1")
	require.NoError(f, err)
	_, err = f.with(streamhub.AppendOptions{Generation: 5, StreamSeq: "b"}, "seg", "2")
	require.NoError(f, err)
	again, err := f.with(o, "seg", "1")
	require.NoError(f, err)
	f.same(first, again)
	require.EqualValues(f, 5, again.Generation)
}

func producerOfTilde(f *fixture) {
	// The rows of appends without a producer begin with '~': no name gets at them.
	f.append("seg", "1")
	var rows []string
	fields, err := f.conn.HGetAll(f.ctx, f.metaKey("seg")).Result()
	require.NoError(f, err)
	for field := range fields {
		if len(field) > 2 && field[:2] == "p:" {
			rows = append(rows, field[2:])
		}
	}
	require.Len(f, rows, 1)
	require.Equal(f, byte('~'), rows[0][0])
	r, err := f.with(by(rows[0], 1<<40, 0), "seg", "2")
	require.NoError(f, err)
	require.EqualValues(f, 2, r.First)
	r = f.append("seg", "3")
	require.EqualValues(f, 3, r.First)
	require.False(f, r.Repeated)
	now, err := f.conn.HGet(f.ctx, f.metaKey("seg"), "p:"+rows[0]).Result()
	require.NoError(f, err)
	require.NotContains(f, now, fmt.Sprint(1<<40))
}

func producerAfterTrim(f *fixture) {
	first, err := f.with(by("p", 0, 0), "seg", "1")
	require.NoError(f, err)
	f.trim("seg", 1)
	again, err := f.another().Append(f.ctx, space, "seg", records("1"), &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}})
	require.NoError(f, err)
	f.same(first, again)
}

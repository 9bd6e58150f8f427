// Package providertest is the contract of a streamhub.Provider in executable form. A transport
// passes it if its calls do what those of a hub in the same process do, errors included.
package providertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// deadline is how long anything may take.
const deadline = 30 * time.Second

// Run runs the contract, each case as a subtest with a provider from open. The providers of one run
// may share a hub and nothing else.
func Run(t *testing.T, open func(t *testing.T) streamhub.Provider) {
	for name, test := range map[string]func(t *testing.T, s streamhub.Store){
		"append":     testAppend,
		"conditions": testConditions,
		"errors":     testErrors,
		"create":     testCreate,
		"read":       testRead,
		"times":      testTimes,
		"spaces":     testSpaces,
		"large":      testLarge,
		"follow":     testFollow,
		"follow end": testFollowEnd,
		"crowd":      testCrowd,
		"trim":       testTrim,
		"trim space": testTrimmedSpace,
		"verdicts":   testVerdicts,
		"sequences":  testSequences,
		"status":     testStatus,
		"workers":    testWorkers,
		"leases":     testLeases,
		"cancel":     testCancel,
		"hostile":    testHostileNames,
		"concurrent": testConcurrent,
		"order":      testOrder,
		"chains":     testChains,
		"lives":      testLives,
		"repeats":    testRepeats,

		"append options": testAppendOptions,
		"create options": testCreateOptions,
		"read options":   testReadOptions,
		"follow options": testFollowOptions,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t).Store(uuid.New())) })
	}
	t.Run("stores", func(t *testing.T) {
		p := open(t)
		a, b := p.Store(uuid.New()), p.Store(uuid.New())
		add(t, a, "space", "seg", "only in a")
		require.NotEqual(t, a.ID(), b.ID())
		_, err := b.Status(ctx(t), "space", "seg")
		require.ErrorIs(t, err, streamhub.ErrNotFound)
		require.Empty(t, names(t, b.Spaces(ctx(t))))
	})
}

func ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func records(payloads ...string) []streamhub.Record {
	list := make([]streamhub.Record, len(payloads))
	for i, p := range payloads {
		list[i] = streamhub.Record{Payload: []byte(p), Metadata: map[string]string{"n": fmt.Sprint(i)}}
	}
	return list
}

func add(t *testing.T, s streamhub.Store, space, segment string, payloads ...string) *streamhub.AppendResult {
	t.Helper()
	r, err := s.Append(ctx(t), space, segment, records(payloads...), nil)
	require.NoError(t, err)
	return &r
}

func all[T any](t *testing.T, items iter.Seq2[T, error]) []T {
	t.Helper()
	var list []T
	for item, err := range items {
		require.NoError(t, err)
		list = append(list, item)
	}
	return list
}

func names(t *testing.T, items iter.Seq2[string, error]) []string { return all(t, items) }

func payloads(entries []streamhub.Entry) []string {
	list := make([]string, len(entries))
	for i := range entries {
		list[i] = string(entries[i].Payload)
	}
	return list
}

func testAppend(t *testing.T, s streamhub.Store) {
	trx := uuid.New()
	r, err := s.Append(ctx(t), "space", "seg", records("a", "", "c"), &streamhub.AppendOptions{TRX: trx, ContentType: "text/plain"})
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 3}, []uint64{r.First, r.Last})
	require.True(t, r.Created)
	require.False(t, r.Repeated)
	require.Equal(t, trx, r.TRX.ID)
	require.EqualValues(t, 1, r.TRX.Number)
	require.NotZero(t, r.Timestamp)

	again, err := s.Append(ctx(t), "space", "seg", records("d"), nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, again.First)
	require.False(t, again.Created)
	require.NotEqual(t, trx, again.TRX.ID)

	got := all(t, s.ConsumeSegment(ctx(t), "space", "seg", nil))
	require.Equal(t, []string{"a", "", "c", "d"}, payloads(got))
	for i, e := range got {
		require.Equal(t, "space", e.Space)
		require.Equal(t, "seg", e.Segment)
		require.EqualValues(t, i+1, e.Sequence)
		require.NotNil(t, e.Payload)
	}
	require.Equal(t, map[string]string{"n": "2"}, got[2].Metadata)
	require.Equal(t, trx, got[2].TRX.ID)
	require.Equal(t, r.Cursor(), got[2].Cursor(), "the answer and the entry name the same position")

	results, errs := s.AppendAll(ctx(t), []streamhub.Append{
		{Space: "space", Segment: "x", Records: records("1")},
		{Space: "space", Segment: "seg", Records: records("late"), Options: &streamhub.AppendOptions{ExpectedSequence: 2}},
		{Space: "other", Segment: "y", Records: records("2", "3")},
	})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], streamhub.ErrSequenceMismatch)
	require.NoError(t, errs[2])
	require.EqualValues(t, 2, results[2].Last)
}

func testConditions(t *testing.T, s streamhub.Store) {
	try := func(o streamhub.AppendOptions, payloads ...string) (streamhub.AppendResult, error) {
		return s.Append(ctx(t), "space", "seg", records(payloads...), &o)
	}
	_, err := try(streamhub.AppendOptions{MustExist: true}, "a")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	r, err := try(streamhub.AppendOptions{ExpectedSequence: 1, Generation: 5}, "a")
	require.NoError(t, err)
	require.EqualValues(t, 5, r.Generation)

	_, err = try(streamhub.AppendOptions{ExpectedSequence: 1, Generation: 5}, "b")
	var sequence *streamhub.SequenceError
	require.ErrorAs(t, err, &sequence)
	require.Equal(t, streamhub.SequenceError{Expected: 2, Got: 1}, *sequence)
	_, err = try(streamhub.AppendOptions{Generation: 4}, "b")
	var fenced *streamhub.FencedError
	require.ErrorAs(t, err, &fenced)
	require.Equal(t, streamhub.FencedError{Current: 5, Got: 4}, *fenced)

	r, err = try(streamhub.AppendOptions{Generation: 5, CheckOnly: true}, "b")
	require.NoError(t, err)
	require.EqualValues(t, 2, r.First)
	_, err = s.Append(ctx(t), "space", "seg", []streamhub.Record{{Sequence: 9, Payload: []byte("b")}}, &streamhub.AppendOptions{Generation: 5})
	require.ErrorIs(t, err, streamhub.ErrSequenceMismatch)

	producer := func(seq uint64) streamhub.AppendOptions {
		return streamhub.AppendOptions{Generation: 5, Producer: &streamhub.Producer{ID: "p", Epoch: 1, Seq: seq}}
	}
	first, err := try(producer(0), "b")
	require.NoError(t, err)
	again, err := try(producer(0), "b")
	require.NoError(t, err)
	require.True(t, again.Repeated)
	require.Equal(t, first.Cursor(), again.Cursor())
	_, err = try(producer(7), "c")
	var gap *streamhub.ProducerError
	require.ErrorAs(t, err, &gap)
	require.Equal(t, streamhub.ProducerError{Kind: streamhub.ErrProducerGap, Epoch: 1, ExpectedSeq: 1}, *gap)

	r, err = s.CloseSegment(ctx(t), "space", "seg", streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "all", Output: []byte(`{"n":2}`)},
		&streamhub.AppendOptions{Generation: 5})
	require.NoError(t, err)
	require.True(t, r.Closed)
	_, err = try(streamhub.AppendOptions{Generation: 5}, "late")
	var closed *streamhub.ClosedError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, streamhub.ClosedError{
		Verdict: streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "all", Output: []byte(`{"n":2}`)}, LastSequence: 2,
	}, *closed)
	require.Equal(t, []string{"a", "b"}, payloads(all(t, s.ConsumeSegment(ctx(t), "space", "seg", nil))))
}

func testErrors(t *testing.T, s streamhub.Store) {
	_, err := s.Append(ctx(t), "", "seg", records("a"), nil)
	require.ErrorIs(t, err, streamhub.ErrInvalidName)
	var call *streamhub.Error
	require.ErrorAs(t, err, &call)
	require.Equal(t, s.ID(), call.Store)
	_, err = s.Append(ctx(t), "space", "seg", []streamhub.Record{{Payload: make([]byte, streamhub.MaxRecordBytes+1)}}, nil)
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	_, err = s.Append(ctx(t), "space", "seg", make([]streamhub.Record, streamhub.MaxFrameRecords+1), nil)
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	// Metadata counts towards the limit, and a refusal leaves the shared connection open.
	next, stop := iter.Pull2(s.FollowSegment(ctx(t), "space", "beside", nil))
	defer stop()
	add(t, s, "space", "beside", "a")
	_, err, _ = next()
	require.NoError(t, err)
	large := make([]streamhub.Record, 17)
	for i := range large {
		large[i] = streamhub.Record{Payload: make([]byte, 100), Metadata: map[string]string{"m": strings.Repeat("x", streamhub.MaxRecordBytes-200)}}
	}
	_, err = s.Append(ctx(t), "space", "seg", large, nil)
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	_, _, err = s.Create(ctx(t), "space", "seg", &streamhub.CreateOptions{Records: large})
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	_, errs := s.AppendAll(ctx(t), []streamhub.Append{
		{Space: "space", Segment: "sum", Records: large[:12]}, {Space: "space", Segment: "seg", Records: large},
		{Space: "space", Segment: "sum", Records: large[:12]},
	})
	require.NoError(t, errs[0], "each fits, the sum need not")
	require.ErrorIs(t, errs[1], streamhub.ErrTooLarge)
	require.NoError(t, errs[2])
	add(t, s, "space", "beside", "b")
	_, err, _ = next()
	require.NoError(t, err)
	_, err = s.Status(ctx(t), "space", "none")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	require.ErrorIs(t, s.Delete(ctx(t), "space", "none", ""), streamhub.ErrNotFound)
	_, err = s.Peek(ctx(t), "space", "none")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	created, _, err := s.Create(ctx(t), "space", "empty", nil)
	require.NoError(t, err)
	require.True(t, created.Empty())
	_, err = s.Peek(ctx(t), "space", "empty")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	for _, err := range s.ConsumeSegment(ctx(t), "space", "none", nil) {
		require.ErrorIs(t, err, streamhub.ErrNotFound)
	}
	for _, err := range s.FollowSegment(ctx(t), "space", "seg", &streamhub.FollowOptions{Cursor: "nonsense"}) {
		require.ErrorIs(t, err, streamhub.ErrInvalidCursor)
	}
	for _, err := range s.FollowSegment(ctx(t), "space", "seg", &streamhub.FollowOptions{Live: true, FromSequence: 2}) {
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	}
}

func testCreate(t *testing.T, s streamhub.Store) {
	options := &streamhub.CreateOptions{ContentType: "text/plain", TTL: time.Hour, Records: records("a", "b")}
	status, created, err := s.Create(ctx(t), "space", "seg", options)
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, time.Hour, status.TTL)
	require.EqualValues(t, 2, status.LastSequence)
	_, created, err = s.Create(ctx(t), "space", "seg", options)
	require.NoError(t, err)
	require.False(t, created)
	_, _, err = s.Create(ctx(t), "space", "seg", &streamhub.CreateOptions{ContentType: "image/png"})
	require.ErrorIs(t, err, streamhub.ErrConflict)
	at := uint64(1)
	_, created, err = s.Create(ctx(t), "space", "fork", &streamhub.CreateOptions{ForkOf: "seg", ForkAt: &at})
	require.NoError(t, err)
	require.True(t, created)
	require.EqualValues(t, 2, add(t, s, "space", "fork", "other").First)
	require.Equal(t, []string{"a", "other"}, payloads(all(t, s.ConsumeSegment(ctx(t), "space", "fork", nil))))
	deadline, err := s.Expire(ctx(t), "space", "fork", time.Minute)
	require.NoError(t, err)
	status, err = s.Status(ctx(t), "space", "fork")
	require.NoError(t, err)
	require.Equal(t, deadline, status.ExpiresAt)
	require.Zero(t, status.TTL)
	deadline, err = s.Expire(ctx(t), "space", "fork", 0)
	require.NoError(t, err)
	require.Zero(t, deadline)
	_, err = s.Expire(ctx(t), "space", "fork", -time.Second)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	_, err = s.Expire(ctx(t), "space", "never", time.Minute)
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	deadline, err = s.Touch(ctx(t), "space", "seg")
	require.NoError(t, err)
	require.Greater(t, deadline, time.Now().Add(time.Minute))
	require.NoError(t, s.Delete(ctx(t), "space", "fork", "over"))
	_, err = s.Status(ctx(t), "space", "fork")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
}

func testRead(t *testing.T, s streamhub.Store) {
	var want []string
	var cursors []streamhub.Cursor
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		cursors = append(cursors, add(t, s, "space", "seg", want[i]).Cursor())
	}
	read := func(o streamhub.ReadOptions) []string {
		return payloads(all(t, s.ConsumeSegment(ctx(t), "space", "seg", &o)))
	}
	require.Equal(t, want, read(streamhub.ReadOptions{}))
	require.Equal(t, want[10:15], read(streamhub.ReadOptions{FromSequence: 11, ToSequence: 15}))
	require.Equal(t, want[:7], read(streamhub.ReadOptions{Limit: 7}))
	require.Equal(t, want[20:], read(streamhub.ReadOptions{Cursor: cursors[19]}))
	require.Empty(t, read(streamhub.ReadOptions{Cursor: cursors[29]}))
	require.Empty(t, read(streamhub.ReadOptions{Until: time.UnixMilli(1)}))
	for e, err := range s.ConsumeSegment(ctx(t), "space", "seg", nil) {
		require.NoError(t, err)
		if e.Sequence == 3 {
			break // and nothing is left behind
		}
	}
	entry, err := s.Peek(ctx(t), "space", "seg")
	require.NoError(t, err)
	require.Equal(t, "29", string(entry.Payload))
	require.Equal(t, cursors[29], entry.Cursor())
}

// testTimes: times are UTC in whole milliseconds on every way, what is finer is cut, and the zero Time is none.
func testTimes(t *testing.T, s streamhub.Store) {
	before := time.Now().Add(-time.Minute)
	first := add(t, s, "space", "seg", "a").Timestamp
	last := add(t, s, "space", "seg", "b").Timestamp
	status, err := s.Status(ctx(t), "space", "seg")
	require.NoError(t, err)
	require.Equal(t, []time.Time{first, last, {}}, []time.Time{status.FirstTimestamp, status.LastTimestamp, status.ExpiresAt})
	for i, e := range all(t, s.ConsumeSegment(ctx(t), "space", "seg", nil)) {
		require.Equal(t, []time.Time{first, last}[i], e.Timestamp)
		require.Equal(t, time.UTC, e.Timestamp.Location())
		require.Equal(t, e.Timestamp.Truncate(time.Millisecond), e.Timestamp)
		require.True(t, e.Timestamp.After(before))
	}
	read := func(after, until time.Time) []string {
		o := &streamhub.ReadOptions{After: after, Until: until}
		got := payloads(all(t, s.ConsumeSegment(ctx(t), "space", "seg", o)))
		require.Equal(t, got, payloads(all(t, s.ConsumeSpace(ctx(t), "space", o))))
		return got
	}
	none, fine := time.Time{}, time.Millisecond-1
	require.Equal(t, []string{"a", "b"}, read(first.Add(-time.Millisecond).Local(), last.Local()))
	require.Equal(t, []string{"a", "b"}, read(first.Add(-1), last.Add(fine)))
	require.Equal(t, []string{"a", "b"}, read(time.Unix(0, 0), time.Unix(1<<60, 0)))
	require.Empty(t, read(last.Add(fine), none))
	require.Empty(t, read(none, first.Add(-1)))
	require.Empty(t, read(none, time.Unix(0, 0)), "1970 is a bound, and not none")
	require.Empty(t, read(none, time.Unix(-1<<60, 0)))

	at := time.Now().Add(time.Hour).Truncate(time.Millisecond).Add(1)
	o := &streamhub.CreateOptions{ExpiresAt: at}
	status, created, err := s.Create(ctx(t), "space", "fixed", o)
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, at.Truncate(time.Millisecond).UTC(), status.ExpiresAt)
	_, created, err = s.Create(ctx(t), "space", "fixed", o)
	require.NoError(t, err)
	require.False(t, created)
	deadline, err := s.Touch(ctx(t), "space", "fixed")
	require.NoError(t, err)
	require.Equal(t, status.ExpiresAt, deadline)
	for _, wrong := range []time.Time{time.Unix(0, 0), time.Unix(-1<<60, 0), time.Unix(1<<60, 0)} {
		_, _, err = s.Create(ctx(t), "space", "never", &streamhub.CreateOptions{ExpiresAt: wrong})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, wrong)
	}
}

func testSpaces(t *testing.T, s streamhub.Store) {
	for i := range 4 {
		for _, segment := range []string{"b", "a"} {
			add(t, s, "one", segment, fmt.Sprint(segment, i))
			add(t, s, "two", segment, fmt.Sprint(segment, i))
		}
	}
	require.Equal(t, []string{"one", "two"}, names(t, s.Spaces(ctx(t))))
	require.Equal(t, []string{"a", "b"}, names(t, s.Segments(ctx(t), "one")))
	require.Empty(t, names(t, s.Segments(ctx(t), "none")))
	want := []string{"b0", "a0", "b1", "a1", "b2", "a2", "b3", "a3"}
	got := all(t, s.ConsumeSpace(ctx(t), "one", nil))
	require.Equal(t, want, payloads(got))
	require.Equal(t, want[3:5], payloads(all(t, s.ConsumeSpace(ctx(t), "one", &streamhub.ReadOptions{Cursor: got[2].Cursor(), Limit: 2}))))
	both := all(t, s.Consume(ctx(t), map[string]streamhub.Cursor{"one": got[5].Cursor(), "two": ""}, nil))
	require.Len(t, both, 10)
	require.Empty(t, all(t, s.Consume(ctx(t), nil, nil)))
}

// testLarge moves more than any window or page holds, to a reader that is slower than the writer.
func testLarge(t *testing.T, s streamhub.Store) {
	const n, size = 300, 20_000
	batch := make([]streamhub.Record, n/10)
	for i := range batch {
		batch[i].Payload = make([]byte, size)
	}
	for range 10 {
		_, err := s.Append(ctx(t), "space", "seg", batch, nil)
		require.NoError(t, err)
	}
	next := uint64(1)
	for e, err := range s.FollowSegment(ctx(t), "space", "seg", &streamhub.FollowOptions{Limit: n}) {
		require.NoError(t, err)
		require.Equal(t, next, e.Sequence)
		require.Len(t, e.Payload, size)
		next++
	}
	require.EqualValues(t, n+1, next)
}

func testFollow(t *testing.T, s streamhub.Store) {
	follow := func(read iter.Seq2[streamhub.Entry, error]) (next func() streamhub.Entry) {
		pull, stop := iter.Pull2(read)
		t.Cleanup(stop)
		return func() streamhub.Entry {
			t.Helper()
			e, err, ok := pull()
			require.NoError(t, err)
			require.True(t, ok)
			return e
		}
	}
	next := follow(s.FollowSegment(ctx(t), "space", "seg", nil))
	added := make(chan error, 1)
	go func() {
		_, err := s.Append(context.WithoutCancel(t.Context()), "space", "seg", records("early"), nil)
		added <- err
	}()
	require.Equal(t, "early", string(next().Payload), "a segment that does not exist is waited for")
	require.NoError(t, <-added)
	cursor := add(t, s, "space", "seg", "b").Cursor()
	require.Equal(t, "b", string(next().Payload))
	add(t, s, "space", "seg", "c")
	require.Equal(t, "c", string(next().Payload))

	resumed := follow(s.FollowSegment(ctx(t), "space", "seg", &streamhub.FollowOptions{Cursor: cursor}))
	require.Equal(t, "c", string(resumed().Payload))
	from := follow(s.FollowSegment(ctx(t), "space", "seg", &streamhub.FollowOptions{FromSequence: 2}))
	require.Equal(t, "b", string(from().Payload))

	space := follow(s.FollowSpace(ctx(t), "space", nil))
	require.Equal(t, "early", string(space().Payload))
	require.Equal(t, "b", string(space().Payload))
	last := space()
	require.Equal(t, "c", string(last.Payload))
	add(t, s, "space", "other", "d")
	e := space()
	require.Equal(t, "other", e.Segment)
	behind := follow(s.FollowSpace(ctx(t), "space", &streamhub.FollowOptions{Cursor: last.Cursor()}))
	require.Equal(t, "d", string(behind().Payload))
}

func testFollowEnd(t *testing.T, s streamhub.Store) {
	add(t, s, "space", "seg", "a", "b")
	_, err := s.CloseSegment(ctx(t), "space", "none", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	var call *streamhub.Error
	require.ErrorAs(t, err, &call)
	require.Equal(t, "close", call.Op)
	_, err = s.CloseSegment(ctx(t), "space", "seg", streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "why"}, nil)
	require.NoError(t, err)
	var got []string
	var end error
	for e, err := range s.FollowSegment(ctx(t), "space", "seg", nil) {
		if err != nil {
			end = err
			break
		}
		got = append(got, string(e.Payload))
	}
	require.Equal(t, []string{"a", "b"}, got)
	var closed *streamhub.ClosedError
	require.ErrorAs(t, end, &closed)
	require.Equal(t, streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "why"}, closed.Verdict)
	require.EqualValues(t, 2, closed.LastSequence)

	cursor := add(t, s, "space", "gone", "a").Cursor()
	require.NoError(t, s.Delete(ctx(t), "space", "gone", ""))
	for _, err := range s.FollowSegment(ctx(t), "space", "gone", &streamhub.FollowOptions{Cursor: cursor}) {
		require.ErrorIs(t, err, streamhub.ErrNotFound)
	}
}

// testCrowd: many followers of one segment wait at its end. Each gets every entry once and in order,
// although another one takes nothing and some end.
func testCrowd(t *testing.T, s streamhub.Store) {
	const crowd, leaving, entries = 60, 20, 50
	add(t, s, "space", "seg", "1")
	type follower struct {
		last  atomic.Uint64
		err   error
		done  chan struct{}
		leave context.CancelFunc
	}
	held := make(chan struct{})
	all := make([]*follower, crowd)
	for i := range all {
		f := &follower{done: make(chan struct{})}
		all[i] = f
		var following context.Context
		following, f.leave = context.WithCancel(ctx(t))
		t.Cleanup(f.leave)
		go func() {
			defer close(f.done)
			for e, err := range s.FollowSegment(following, "space", "seg", nil) {
				switch {
				case err != nil:
					f.err = err
				case e.Sequence != f.last.Load()+1 || string(e.Payload) != fmt.Sprint(e.Sequence):
					t.Errorf("follower %d: entry %d %q after %d", i, e.Sequence, e.Payload, f.last.Load())
				default:
					f.last.Add(1)
					if i == 0 {
						<-held
					}
				}
			}
		}()
	}
	reached := func(last uint64, followers []*follower) {
		t.Helper()
		require.Eventually(t, func() bool {
			return !slices.ContainsFunc(followers, func(f *follower) bool { return f.last.Load() < last })
		}, deadline, time.Millisecond)
	}
	reached(1, all)
	for n := 2; n <= entries; n++ {
		add(t, s, "space", "seg", fmt.Sprint(n))
		if n > 10 && n <= 10+leaving {
			all[crowd-n+10].leave()
		}
		if n%10 == 0 {
			reached(uint64(n), all[1:crowd-leaving])
		}
	}
	_, err := s.CloseSegment(ctx(t), "space", "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(t, err)
	close(held)
	for i, f := range all {
		<-f.done
		if i >= crowd-leaving {
			require.ErrorIs(t, f.err, context.Canceled)
			continue
		}
		require.ErrorIs(t, f.err, streamhub.ErrClosed)
		require.EqualValues(t, entries, f.last.Load())
	}
}

func testTrim(t *testing.T, s streamhub.Store) {
	cursor := add(t, s, "space", "seg", "1").Cursor()
	for i := range 4 {
		add(t, s, "space", "seg", fmt.Sprint(i+2))
	}
	kept, err := s.Trim(ctx(t), "space", "seg", 3)
	require.NoError(t, err)
	require.EqualValues(t, 4, kept)
	for _, err := range s.ConsumeSegment(ctx(t), "space", "seg", &streamhub.ReadOptions{Cursor: cursor}) {
		var trimmed *streamhub.TrimmedError
		require.ErrorAs(t, err, &trimmed)
		require.EqualValues(t, 4, trimmed.FirstKept)
		require.Equal(t, []string{"4", "5"}, readAll(t, s.ConsumeSegment(ctx(t), "space", "seg", &streamhub.ReadOptions{Cursor: trimmed.Cursor})))
	}
}

// testVerdicts refuses every kind of verdict that there is not, wherever one can be named.
func testVerdicts(t *testing.T, s streamhub.Store) {
	add(t, s, "space", "seg", "1")
	for _, kind := range []streamhub.VerdictKind{"", "banana", "Done", "done "} {
		verdict := streamhub.Verdict{Kind: kind}
		_, err := s.CloseSegment(ctx(t), "space", "seg", verdict, nil)
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, kind)
		_, err = s.Append(ctx(t), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, &streamhub.AppendOptions{Close: &verdict})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, kind)
		_, _, err = s.Create(ctx(t), "space", "new", &streamhub.CreateOptions{Closed: &verdict})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, kind)
	}
	require.Equal(t, []string{"1"}, readAll(t, s.ConsumeSegment(ctx(t), "space", "seg", nil)))
	for i, kind := range streamhub.VerdictKinds() {
		segment := fmt.Sprint("closed ", i)
		add(t, s, "space", segment, "1")
		_, err := s.CloseSegment(ctx(t), "space", segment, streamhub.Verdict{Kind: kind}, nil)
		require.NoError(t, err)
		status, err := s.Status(ctx(t), "space", segment)
		require.NoError(t, err)
		require.Equal(t, kind, status.Verdict.Kind)
	}
}

// testSequences checks the sequences that records name, in a create and in an append.
func testSequences(t *testing.T, s streamhub.Store) {
	named := func(sequences ...uint64) []streamhub.Record {
		list := make([]streamhub.Record, len(sequences))
		for i, n := range sequences {
			list[i] = streamhub.Record{Sequence: n, Payload: []byte(fmt.Sprint(n))}
		}
		return list
	}
	for i, c := range []struct {
		records []streamhub.Record
		want    error
	}{
		{named(1, 2), nil},
		{named(5), streamhub.ErrSequenceMismatch},
		{named(0, 2), streamhub.ErrInvalidArgument},
		{named(1, 0), streamhub.ErrInvalidArgument},
		{named(1, 3), streamhub.ErrInvalidArgument},
		{named(streamhub.MaxInteger + 1), streamhub.ErrInvalidArgument},
	} {
		segment := fmt.Sprint("seg ", i)
		_, _, err := s.Create(ctx(t), "space", segment, &streamhub.CreateOptions{Records: c.records})
		require.ErrorIs(t, err, c.want, "create %v", c.records)
		_, err = s.Append(ctx(t), "space", "appended "+segment, c.records, nil)
		require.ErrorIs(t, err, c.want, "append %v", c.records)
	}
	require.Equal(t, []string{"appended seg 0", "seg 0"}, names(t, s.Segments(ctx(t), "space")))
}

// testTrimmedSpace goes on with the cursor of the error, in each way to read a space.
func testTrimmedSpace(t *testing.T, s streamhub.Store) {
	for i := range 3 {
		add(t, s, "space", "a", fmt.Sprint("a", i))
		add(t, s, "space", "b", fmt.Sprint("b", i))
	}
	var start streamhub.Cursor
	for e, err := range s.ConsumeSpace(ctx(t), "space", &streamhub.ReadOptions{Limit: 1}) {
		require.NoError(t, err)
		start = e.Cursor()
	}
	_, err := s.Trim(ctx(t), "space", "a", 2)
	require.NoError(t, err)
	reads := map[string]func(at streamhub.Cursor) iter.Seq2[streamhub.Entry, error]{
		"consume": func(at streamhub.Cursor) iter.Seq2[streamhub.Entry, error] {
			return s.ConsumeSpace(ctx(t), "space", &streamhub.ReadOptions{Cursor: at})
		},
		"consume several": func(at streamhub.Cursor) iter.Seq2[streamhub.Entry, error] {
			return s.Consume(ctx(t), map[string]streamhub.Cursor{"space": at, "none": ""}, nil)
		},
		"follow": func(at streamhub.Cursor) iter.Seq2[streamhub.Entry, error] {
			return s.FollowSpace(ctx(t), "space", &streamhub.FollowOptions{Cursor: at, Limit: 4})
		},
	}
	for name, read := range reads {
		var trimmed *streamhub.TrimmedError
		for _, err := range read(start) {
			require.ErrorAs(t, err, &trimmed, name)
		}
		require.NotNil(t, trimmed, name)
		require.Zero(t, trimmed.FirstKept, name)
		require.Equal(t, "space", trimmed.Space, name)
		require.Equal(t, []string{"b0", "b1", "a2", "b2"}, readAll(t, read(trimmed.Cursor)), name)
		// An entry read with it goes on as well, without the same error again.
		for e, err := range s.ConsumeSpace(ctx(t), "space", &streamhub.ReadOptions{Cursor: trimmed.Cursor, Limit: 1}) {
			require.NoError(t, err)
			require.Equal(t, []string{"b1", "a2", "b2"}, readAll(t, s.ConsumeSpace(ctx(t), "space", &streamhub.ReadOptions{Cursor: e.Cursor()})), name)
		}
	}
}

// readAll returns the payloads of entries.
func readAll(t *testing.T, entries iter.Seq2[streamhub.Entry, error]) (payloads []string) {
	t.Helper()
	for e, err := range entries {
		require.NoError(t, err)
		payloads = append(payloads, string(e.Payload))
	}
	return payloads
}

func testStatus(t *testing.T, s streamhub.Store) {
	want := add(t, s, "space", "a", "1", "2")
	status, err := s.Status(ctx(t), "space", "a")
	require.NoError(t, err)
	require.Equal(t, streamhub.StateOpen, status.State)
	require.EqualValues(t, 1, status.FirstSequence)
	require.EqualValues(t, 2, status.LastSequence)
	require.Equal(t, want.Cursor(), status.Cursor())

	next, stop := iter.Pull2(s.SubscribeSpace(ctx(t), "space"))
	defer stop()
	until := func(segment string, last uint64) streamhub.Status {
		t.Helper()
		for {
			status, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
			if status.Segment == segment && status.LastSequence >= last {
				return status
			}
		}
	}
	until("a", 2)
	add(t, s, "space", "b", "1")
	until("b", 1)
	add(t, s, "space", "a", "3")
	until("a", 3)
	_, err = s.CloseSegment(ctx(t), "space", "b", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(t, err)
	for status := until("b", 1); status.State != streamhub.StateClosed; status = until("b", 1) {
	}
	one, stopOne := iter.Pull2(s.SubscribeSegment(ctx(t), "space", "a"))
	defer stopOne()
	first, err, _ := one()
	require.NoError(t, err)
	require.EqualValues(t, 3, first.LastSequence)
}

func testWorkers(t *testing.T, s streamhub.Store) {
	next, stop := iter.Pull2(s.Workers(ctx(t)))
	defer stop()
	until := func(n int) []streamhub.Worker {
		t.Helper()
		for {
			workers, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
			if len(workers) == n {
				return workers
			}
		}
	}
	until(0)
	worker := streamhub.Worker{ID: uuid.New(), Metadata: map[string]string{"k": "v"}}
	m, err := s.JoinWorkers(ctx(t), worker, time.Minute)
	require.NoError(t, err)
	got := until(1)[0]
	require.Equal(t, worker.ID, got.ID)
	require.Equal(t, worker.Metadata, got.Metadata)
	require.NotZero(t, got.LastSeen)

	again, err := s.JoinWorkers(ctx(t), worker, time.Minute)
	require.NoError(t, err)
	require.NoError(t, m.Err(), "it learns of the other one later")
	ended, end := context.WithCancel(ctx(t))
	end()
	require.NoError(t, again.Leave(ended), "it is deferred")
	<-again.Done()
	require.NoError(t, again.Err())
	until(0)
	_, err = s.JoinWorkers(ctx(t), worker, -time.Second)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
}

func testLeases(t *testing.T, s streamhub.Store) {
	token, err := s.AcquireLeaseAs(ctx(t), "key", "me", time.Minute)
	require.NoError(t, err)
	require.NotZero(t, token)
	_, err = s.AcquireLeaseAs(ctx(t), "key", "you", time.Minute)
	var held *streamhub.LeaseHeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, "me", held.Holder)
	require.Equal(t, token, held.Token)
	require.Positive(t, held.Left)
	same, err := s.RenewLeaseAs(ctx(t), "key", "me", time.Minute)
	require.NoError(t, err)
	require.Equal(t, token, same)
	_, err = s.RenewLeaseAs(ctx(t), "key", "you", time.Minute)
	require.ErrorIs(t, err, streamhub.ErrLeaseLost)
	var call *streamhub.Error
	require.ErrorAs(t, err, &call)
	require.Equal(t, "key", call.Lease)
	had, err := s.ReleaseLeaseAs(ctx(t), "key", "you")
	require.NoError(t, err)
	require.False(t, had)
	had, err = s.ReleaseLeaseAs(ctx(t), "key", "me")
	require.NoError(t, err)
	require.True(t, had)
	next, err := s.AcquireLeaseAs(ctx(t), "key", "you", time.Minute)
	require.NoError(t, err)
	require.Greater(t, next, token)
}

func testCancel(t *testing.T, s streamhub.Store) {
	ended, cancel := context.WithCancel(ctx(t))
	defer cancel()
	add(t, s, "space", "seg", "a")
	n := 0
	for _, err := range s.FollowSegment(ended, "space", "seg", nil) {
		if n++; n == 1 {
			require.NoError(t, err)
			cancel()
			continue
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, 2, n)
	// A call with a context that has ended does nothing, always.
	because, end := context.WithCancelCause(ctx(t))
	end(errors.New("a cause of the caller's own"))
	late, done := context.WithDeadline(ctx(t), time.Unix(0, 0))
	defer done()
	for range 20 {
		All(t, ended, s, context.Canceled)
	}
	All(t, because, s, context.Canceled)
	All(t, late, s, context.DeadlineExceeded)
	require.Equal(t, []string{"a"}, payloads(all(t, s.ConsumeSegment(ctx(t), "space", "seg", nil))))
	require.Equal(t, []string{"seg"}, names(t, s.Segments(ctx(t), "space")))
	_, err := s.AcquireLeaseAs(ctx(t), "key", "you", time.Minute)
	require.NoError(t, err)
}

// All makes every call of a [streamhub.Store], and checks that each ends with the error want and
// without a result.
func All(t *testing.T, ctx context.Context, s streamhub.Store, want error) {
	t.Helper()
	done := streamhub.Verdict{Kind: streamhub.VerdictDone}
	calls := map[string]func() error{
		"Append": func() error { _, err := s.Append(ctx, "space", "seg", records("b"), nil); return err },
		"AppendAll": func() error {
			_, errs := s.AppendAll(ctx, []streamhub.Append{
				{Space: "space", Segment: "seg", Records: records("b")}, {Space: "space", Segment: "other", Records: records("b")},
			})
			require.ErrorIs(t, errs[0], want)
			return errs[1]
		},
		"Create":           func() error { _, _, err := s.Create(ctx, "space", "new", nil); return err },
		"CloseSegment":     func() error { _, err := s.CloseSegment(ctx, "space", "seg", done, nil); return err },
		"Delete":           func() error { return s.Delete(ctx, "space", "seg", "") },
		"Trim":             func() error { _, err := s.Trim(ctx, "space", "seg", 1); return err },
		"Touch":            func() error { _, err := s.Touch(ctx, "space", "seg"); return err },
		"Expire":           func() error { _, err := s.Expire(ctx, "space", "seg", time.Hour); return err },
		"Status":           func() error { _, err := s.Status(ctx, "space", "seg"); return err },
		"SpaceEnd":         func() error { _, err := s.SpaceEnd(ctx, "space"); return err },
		"Peek":             func() error { _, err := s.Peek(ctx, "space", "seg"); return err },
		"Spaces":           func() error { return first(t, s.Spaces(ctx)) },
		"Segments":         func() error { return first(t, s.Segments(ctx, "space")) },
		"ConsumeSegment":   func() error { return first(t, s.ConsumeSegment(ctx, "space", "seg", nil)) },
		"ConsumeSpace":     func() error { return first(t, s.ConsumeSpace(ctx, "space", nil)) },
		"Consume":          func() error { return first(t, s.Consume(ctx, map[string]streamhub.Cursor{"space": ""}, nil)) },
		"Consume of none":  func() error { return first(t, s.Consume(ctx, nil, nil)) },
		"FollowSegment":    func() error { return first(t, s.FollowSegment(ctx, "space", "seg", nil)) },
		"FollowSpace":      func() error { return first(t, s.FollowSpace(ctx, "space", &streamhub.FollowOptions{Live: true})) },
		"SubscribeSegment": func() error { return first(t, s.SubscribeSegment(ctx, "space", "seg")) },
		"SubscribeSpace":   func() error { return first(t, s.SubscribeSpace(ctx, "space")) },
		"JoinWorkers":      func() error { _, err := s.JoinWorkers(ctx, streamhub.Worker{ID: uuid.New()}, 0); return err },
		"Workers":          func() error { return first(t, s.Workers(ctx)) },
		"AcquireLeaseAs":   func() error { _, err := s.AcquireLeaseAs(ctx, "key", "me", time.Minute); return err },
		"RenewLeaseAs":     func() error { _, err := s.RenewLeaseAs(ctx, "key", "me", time.Minute); return err },
		"ReleaseLeaseAs":   func() error { _, err := s.ReleaseLeaseAs(ctx, "key", "me"); return err },
	}
	for m := range reflect.TypeFor[streamhub.Store]().Methods() {
		require.True(t, m.Name == "ID" || calls[m.Name] != nil, m.Name)
	}
	for name, call := range calls {
		require.ErrorIs(t, call(), want, name)
	}
}

// first returns the error that items begin with.
func first[T any](t *testing.T, items iter.Seq2[T, error]) error {
	t.Helper()
	for _, err := range items {
		return err
	}
	return nil
}

func testHostileNames(t *testing.T, s streamhub.Store) {
	hostile := []string{"{a}", "a:b", "a*?[", "\x00", "a b\r\n", "\xff\xfe", "ä/ö", "%2e%2e", "..", "seg", "seg1"}
	for _, name := range hostile {
		add(t, s, name, name, "in "+name)
	}
	for _, name := range hostile {
		require.Equal(t, []string{"in " + name}, payloads(all(t, s.ConsumeSegment(ctx(t), name, name, nil))), "%q", name)
		require.Equal(t, []string{name}, names(t, s.Segments(ctx(t), name)))
	}
	require.Len(t, names(t, s.Spaces(ctx(t))), len(hostile))
}

// testConcurrent has many callers append to few segments: every append is stored once.
func testConcurrent(t *testing.T, s streamhub.Store) {
	const callers, each, segments = 40, 10, 3
	failed := make(chan error, callers)
	for c := range callers {
		go func() {
			for i := range each {
				if _, err := s.Append(ctx(t), "space", fmt.Sprint("s", c%segments), records(fmt.Sprint(c, "-", i)), nil); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range callers {
		require.NoError(t, <-failed)
	}
	seen := map[string]int{}
	for i := range segments {
		last := map[string]int{}
		for n, e := range all(t, s.ConsumeSegment(ctx(t), "space", fmt.Sprint("s", i), nil)) {
			require.EqualValues(t, n+1, e.Sequence)
			seen[string(e.Payload)]++
			var c, k int
			_, err := fmt.Sscanf(string(e.Payload), "%d-%d", &c, &k)
			require.NoError(t, err)
			require.Equal(t, last[fmt.Sprint(c)], k, "the order of one caller is kept")
			last[fmt.Sprint(c)]++
		}
	}
	require.Len(t, seen, callers*each)
	for payload, n := range seen {
		require.Equal(t, 1, n, payload)
	}
}

// testOrder gives many appends to few segments at once: what is stored is in the order given, with
// single appends before, between and after.
func testOrder(t *testing.T, s streamhub.Store) {
	const segments, rounds, each = 3, 4, 40
	want := map[string][]string{}
	one := func(segment, text string) {
		add(t, s, "space", segment, text)
		want[segment] = append(want[segment], text)
	}
	for round := range rounds {
		var appends []streamhub.Append
		for i := range each * segments {
			segment, text := fmt.Sprint("s", i%segments), fmt.Sprint(round, "-", i)
			size := 1
			if i%10 == 0 {
				size = 3
			}
			batch := make([]string, size)
			for k := range batch {
				batch[k] = fmt.Sprint(text, ".", k)
			}
			appends = append(appends, streamhub.Append{Space: "space", Segment: segment, Records: records(batch...)})
			want[segment] = append(want[segment], batch...)
		}
		results, errs := s.AppendAll(ctx(t), appends)
		last := map[string]uint64{}
		for i, err := range errs {
			require.NoError(t, err)
			if before := last[appends[i].Segment]; before != 0 {
				require.Equal(t, before+1, results[i].First)
			}
			last[appends[i].Segment] = results[i].Last
		}
		one(fmt.Sprint("s", round%segments), fmt.Sprint("single ", round))
	}
	for segment, list := range want {
		require.Equal(t, list, payloads(all(t, s.ConsumeSegment(ctx(t), "space", segment, nil))))
	}
}

// testChains passes appends that depend on each other to one AppendAll: those of one producer, those
// that name their sequences, a mixture with plain ones, and one that closes.
func testChains(t *testing.T, s streamhub.Store) {
	const n = 20
	chain := func(segment string, options func(i int) *streamhub.AppendOptions) {
		t.Helper()
		var appends []streamhub.Append
		var want []string
		for i := range n {
			want = append(want, fmt.Sprint(i))
			appends = append(appends, streamhub.Append{Space: "space", Segment: segment, Records: records(want[i]), Options: options(i)})
		}
		results, errs := s.AppendAll(ctx(t), appends)
		for i := range n {
			require.NoError(t, errs[i], "%s %d", segment, i)
			require.EqualValues(t, i+1, results[i].First)
		}
		require.Equal(t, want, payloads(all(t, s.ConsumeSegment(ctx(t), "space", segment, nil))))
	}
	produced := func(seq int) *streamhub.AppendOptions {
		return &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: uint64(seq)}}
	}
	sequence := func(i int) *streamhub.AppendOptions {
		return &streamhub.AppendOptions{ExpectedSequence: uint64(i + 1)}
	}
	chain("producer", produced)
	chain("sequences", sequence)
	chain("mixture", func(i int) *streamhub.AppendOptions {
		switch {
		case i == n-1:
			return &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}}
		case i%3 == 0:
			return produced(i / 3)
		case i%3 == 1:
			return sequence(i)
		}
		return nil
	})
	// One that is refused for good does not stop the others.
	results, errs := s.AppendAll(ctx(t), []streamhub.Append{
		{Space: "space", Segment: "refused", Records: records("a")},
		{Space: "space", Segment: "refused", Records: records("x"), Options: sequence(5)},
		{Space: "space", Segment: "refused", Records: records("b"), Options: sequence(1)},
		{Space: "space", Segment: "", Records: records("x")},
		{Space: "space", Segment: "refused", Records: records("c")},
	})
	require.ErrorIs(t, errs[1], streamhub.ErrSequenceMismatch)
	require.ErrorIs(t, errs[3], streamhub.ErrInvalidName)
	for i, last := range map[int]uint64{0: 1, 2: 2, 4: 3} {
		require.NoError(t, errs[i])
		require.Equal(t, last, results[i].Last)
	}
}

// testLives: a provider that has created, closed or appended to a segment is told when it was deleted.
func testLives(t *testing.T, s streamhub.Store) {
	put := func(segment string, o *streamhub.AppendOptions) error {
		_, err := s.Append(ctx(t), "space", segment, records("x"), o)
		return err
	}
	done := streamhub.Verdict{Kind: streamhub.VerdictDone}
	for name, begin := range map[string]func(segment string){
		"created": func(segment string) {
			_, _, err := s.Create(ctx(t), "space", segment, nil)
			require.NoError(t, err)
		},
		"created with": func(segment string) {
			_, _, err := s.Create(ctx(t), "space", segment, &streamhub.CreateOptions{Records: records("1", "2")})
			require.NoError(t, err)
		},
		"appended": func(segment string) { add(t, s, "space", segment, "1") },
		"closed empty": func(segment string) {
			_, _, err := s.Create(ctx(t), "space", segment, nil)
			require.NoError(t, err)
			_, err = s.CloseSegment(ctx(t), "space", segment, done, nil)
			require.NoError(t, err)
		},
		"misnamed": func(segment string) {
			// Which life another append meant is none of this one's business.
			r := add(t, s, "space", segment, "1")
			require.ErrorIs(t, put(segment, &streamhub.AppendOptions{Incarnation: r.Position.Incarnation + 1}), streamhub.ErrHistoryLost)
		},
	} {
		begin(name)
		require.NoError(t, s.Delete(ctx(t), "space", name, "because"))
		var deleted *streamhub.DeletedError
		require.ErrorAs(t, put(name, nil), &deleted, name)
		require.Equal(t, "because", deleted.Verdict.Reason)
		_, created, err := s.Create(ctx(t), "space", name, nil)
		require.NoError(t, err, "%s: a creation is never told", name)
		require.True(t, created)
		require.NoError(t, put(name, nil), "%s: it is told once", name)
	}
}

// testRepeats: an append whose TRX id its caller chose is stored once, however often it is made.
func testRepeats(t *testing.T, s streamhub.Store) {
	o := &streamhub.AppendOptions{TRX: uuid.New()}
	first, err := s.Append(ctx(t), "space", "seg", records("a"), o)
	require.NoError(t, err)
	add(t, s, "space", "seg", "b")
	again, err := s.Append(ctx(t), "space", "seg", records("a"), o)
	require.NoError(t, err)
	require.True(t, again.Repeated)
	again.Repeated = false
	require.Equal(t, first, again)
	_, err = s.Append(ctx(t), "space", "seg", records("another"), o)
	require.ErrorIs(t, err, streamhub.ErrBatchMismatch)
	twice := streamhub.Append{Space: "space", Segment: "seg", Records: records("c"), Options: &streamhub.AppendOptions{TRX: uuid.New()}}
	results, errs := s.AppendAll(ctx(t), []streamhub.Append{twice, twice})
	require.Equal(t, []error{nil, nil}, errs)
	require.Equal(t, results[0].Position, results[1].Position)
	// Of several calls at the same time, one stores it.
	once := &streamhub.AppendOptions{TRX: uuid.New()}
	var calls sync.WaitGroup
	var at [8]streamhub.AppendResult
	var failed [8]error
	for i := range at {
		calls.Go(func() { at[i], failed[i] = s.Append(ctx(t), "space", "seg", records("d"), once) })
	}
	calls.Wait()
	for i := range at {
		require.NoError(t, failed[i])
		require.Equal(t, at[0].Position, at[i].Position)
	}
	require.Equal(t, []string{"a", "b", "c", "d"}, payloads(all(t, s.ConsumeSegment(ctx(t), "space", "seg", nil))))
}

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

var quotaCases = []namedCase{
	{"Quota", quota},
	{"QuotaOfAnotherProcess", quotaOfAnotherProcess},
	{"QuotaRepeats", quotaRepeats},
	{"QuotaOvertakesNothing", quotaOvertakesNothing},
	{"QuotaMeasured", quotaMeasured},
}

// quotaLate is how long a test waits for what a process learns of a quota; it looks every quotaLooks.
const (
	quotaLate  = 30 * time.Second
	quotaLooks = 20 * time.Millisecond
	quotaBytes = 512 << 10
)

// openQuota starts a log whose stores have a quota.
func (f *fixture) openQuota(bytes int64) (*hotlog.Log, *hotlog.Store) {
	f.Helper()
	log, err := hotlog.Open(f.ctx, f.product, &hotlog.Options{Quota: bytes, QuotaEvery: quotaLooks})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, log.Close()) })
	return log, log.Store(f.id)
}

// fill appends to a segment until the store is over its quota.
func (f *fixture) fill(s *hotlog.Store, segment string) {
	f.Helper()
	text := strings.Repeat("x", 32<<10)
	for i := range 4 * quotaBytes / len(text) {
		if _, err := s.Append(f.ctx, space, segment, records(text), nil); err != nil {
			var over *streamhub.QuotaError
			require.ErrorAs(f, err, &over)
			require.ErrorIs(f, err, streamhub.ErrQuota)
			require.False(f, streamhub.Retryable(err))
			require.Equal(f, int64(quotaBytes), over.Quota)
			require.GreaterOrEqual(f, over.Used, over.Quota)
			require.Greater(f, i*len(text), quotaBytes/2, "refused much too early")
			return
		}
	}
	f.Fatal("the quota does not hold")
}

// eventually makes the append until it is stored, or until it is refused.
func (f *fixture) eventually(s *hotlog.Store, segment string, want error) {
	f.Helper()
	require.Eventually(f, func() bool {
		_, err := s.Append(f.ctx, space, segment, records("small"), nil)
		if want == nil && err != nil {
			require.ErrorIs(f, err, streamhub.ErrQuota)
		}
		if want != nil && err != nil {
			require.ErrorIs(f, err, want)
		}
		return (err == nil) == (want == nil)
	}, quotaLate, quotaLooks)
}

// What is stored counts, what takes no room goes on, and what is removed makes room.
func quota(f *fixture) {
	_, s := f.openQuota(quotaBytes)
	f.append("old", "before there was a quota")
	f.fill(s, "big")
	_, err := s.Append(f.ctx, space, "another", records("small"), nil)
	require.ErrorIs(f, err, streamhub.ErrQuota)
	_, err = s.Append(f.ctx, space, "big", records("the end"), &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	require.ErrorIs(f, err, streamhub.ErrQuota)
	_, _, err = s.Create(f.ctx, space, "new", nil)
	require.ErrorIs(f, err, streamhub.ErrQuota)
	_, created, err := s.Create(f.ctx, space, "old", nil)
	require.NoError(f, err, "what is there takes no room")
	require.False(f, created)
	_, err = s.Append(f.ctx, space, "old", records("check"), &streamhub.AppendOptions{CheckOnly: true})
	require.ErrorIs(f, err, streamhub.ErrQuota)
	_, err = s.Touch(f.ctx, space, "old")
	require.NoError(f, err)
	_, err = s.CloseSegment(f.ctx, space, "old", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(f, err)
	_, err = s.Exempt().Append(f.ctx, space, "exempt", records("it ends something"), nil)
	require.NoError(f, err)
	_, err = s.Trim(f.ctx, space, "big", 3)
	require.NoError(f, err)
	require.NoError(f, s.Delete(f.ctx, space, "big", "to make room"))
	f.eventually(s, "after", nil)
}

// Every process learns of what the others store and remove. Another store is not concerned.
func quotaOfAnotherProcess(f *fixture) {
	_, s := f.openQuota(quotaBytes)
	_, other := f.openQuota(quotaBytes)
	third, _ := f.openQuota(quotaBytes)
	f.appendTo(other, "theirs", "one")
	f.fill(s, "big")
	f.eventually(other, "theirs", streamhub.ErrQuota)
	elsewhere := third.Store(uuid.New())
	_, err := elsewhere.Append(f.ctx, space, "big", records("one"), nil)
	require.NoError(f, err)
	require.NoError(f, other.Delete(f.ctx, space, "big", "to make room"))
	f.eventually(other, "theirs", nil)
	f.eventually(s, "ours", nil)
}

// A repeat of what was stored is answered as before, whatever the quota says; what is new is not stored.
func quotaRepeats(f *fixture) {
	_, s := f.openQuota(quotaBytes)
	first := &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}}
	second := &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: 1}}
	named := &streamhub.AppendOptions{TRX: uuid.New()}
	stored, err := s.Append(f.ctx, space, "repeats", records("by a producer"), first)
	require.NoError(f, err)
	byTRX, err := s.Append(f.ctx, space, "repeats", records("by its TRX"), named)
	require.NoError(f, err)
	f.fill(s, "big")

	again, err := s.Append(f.ctx, space, "repeats", records("by a producer"), first)
	require.NoError(f, err)
	require.True(f, again.Repeated)
	require.Equal(f, stored.First, again.First)
	again, err = s.Append(f.ctx, space, "repeats", records("by its TRX"), named)
	require.NoError(f, err)
	require.True(f, again.Repeated)
	require.Equal(f, byTRX.First, again.First)
	_, err = s.Append(f.ctx, space, "repeats", records("something else"), first)
	require.ErrorIs(f, err, streamhub.ErrBatchMismatch)
	fresh := &streamhub.AppendOptions{TRX: uuid.New()}
	for range 2 {
		_, err = s.Append(f.ctx, space, "repeats", records("new"), second)
		require.ErrorIs(f, err, streamhub.ErrQuota)
		_, err = s.Append(f.ctx, space, "repeats", records("new"), fresh)
		require.ErrorIs(f, err, streamhub.ErrQuota)
	}
	require.Equal(f, uint64(2), f.status("repeats").LastSequence)

	require.NoError(f, s.Delete(f.ctx, space, "big", "to make room"))
	f.eventually(s, "after", nil)
	for _, o := range []*streamhub.AppendOptions{second, fresh} {
		r, err := s.Append(f.ctx, space, "repeats", records("new"), o)
		require.NoError(f, err)
		require.False(f, r.Repeated)
	}
	require.Equal(f, uint64(4), f.status("repeats").LastSequence)
}

// An append that may be made when there is room again is not overtaken by those after it.
func quotaOvertakesNothing(f *fixture) {
	_, s := f.openQuota(quotaBytes)
	f.appendTo(s, "ordered", "one")
	f.fill(s, "big")
	appends := []streamhub.Append{
		{Space: space, Segment: "ordered", Records: records("two")},
		{Space: space, Segment: "ordered", Records: records("three"), Options: &streamhub.AppendOptions{TRX: uuid.New()}},
		{Space: space, Segment: "ordered", Options: &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}}},
	}
	for _, from := range []int{0, 1} {
		_, errs := s.AppendAll(f.ctx, appends[from:])
		for i, err := range errs {
			require.ErrorIs(f, err, streamhub.ErrQuota, "%d", i)
		}
	}
	require.Equal(f, uint64(1), f.status("ordered").LastSequence)
	require.Nil(f, f.status("ordered").Verdict)
}

// What was stored before there was a quota is measured, and what looks small is not taken for small.
func quotaMeasured(f *fixture) {
	const rounds, large = 800, 64 << 10
	stored := 0
	add := func(segment string, size int) {
		f.append(segment, strings.Repeat("x", size))
		stored += size
	}
	for range rounds {
		add("cheat", 10)
	}
	for range 96 {
		add("cheat", large)
		add("parent", large)
	}
	_, _, err := f.Create(f.ctx, space, "fork", &streamhub.CreateOptions{ForkOf: "parent"})
	require.NoError(f, err)
	require.NoError(f, f.Delete(f.ctx, space, "parent", "its fork still reads it"))
	const small, node = 600, 6 << 10 // Redis keeps a page of 4 KiB for each segment, and its meta
	for i := range small {
		add(fmt.Sprintf("small-%d", i), 100)
	}
	const of = 64 << 20
	log, s := f.openQuota(of)
	f.appendTo(s, "mine", "it has to be known to this process")
	used := 0.0
	require.Eventually(f, func() bool { used = log.QuotaUsed() * of; return used > float64(stored)/2 }, quotaLate, quotaLooks)
	require.GreaterOrEqual(f, used, float64(stored))
	require.Less(f, used, 1.3*float64(stored)+small*node, "more than entries of this size take")
}

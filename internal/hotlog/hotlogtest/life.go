package hotlogtest

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var lifeCases = []namedCase{
	{"LifeMeant", lifeMeant},
	{"LifeMeantAfterLostReply", lifeMeantAfterLostReply},
	{"LifeMeantKeepsDoubt", lifeMeantKeepsDoubt},
	{"LifeAfterLostReply", lifeAfterLostReply},
	{"LifeOfForkMeant", lifeOfForkMeant},
	{"Origin", origin},
	{"DeletedHeld", deletedHeld},
	{"ReadFrom", readFrom},
	{"ReadAfter", readAfter},
	{"ReadAfterLoss", readAfterLoss},
	{"StreamSeqOfRepeat", streamSeqOfRepeat},
	{"Retain", retain},
}

// An append that is meant for one life of a segment is not stored in another one, whichever process
// sends it and whatever that knows.
func lifeMeant(f *fixture) {
	old := f.append("seg", "1").Position.Incarnation
	meant := streamhub.AppendOptions{Incarnation: old}
	_, err := f.with(meant, "seg", "2")
	require.NoError(f, err)
	stranger := f.another() // knows nothing of the segment
	_, err = stranger.Append(f.ctx, space, "seg", records("3"), &meant)
	require.NoError(f, err)
	f.holds("seg", "1", "2", "3")

	f.delete("seg")
	_, err = f.with(meant, "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.another().Append(f.ctx, space, "seg", records("x"), &meant)
	require.ErrorIs(f, err, streamhub.ErrNotFound)

	f.appendTo(f.another(), "seg", "new")
	_, err = f.with(meant, "seg", "x")
	require.Error(f, err)
	_, err = f.another().Append(f.ctx, space, "seg", records("x"), &meant)
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	f.holds("seg", "new")
	_, err = f.with(meant, "never", "x")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// lifeMeantAfterLostReply is for a process that was never told that it has created the segment.
func lifeMeantAfterLostReply(f *fixture) {
	other := f.append("other", "1").Position.Incarnation
	s, wire := f.impatient()
	wire.Lose(1000)
	_, err := s.Append(f.ctx, space, "seg", records("1"), nil)
	var unknown *streamhub.UnknownOutcomeError
	require.ErrorAs(f, err, &unknown)
	wire.Lose(0)
	_, err = s.Append(f.ctx, space, "seg", records("2"), &streamhub.AppendOptions{Incarnation: other})
	f.lost(err, 1)
	_, err = s.Append(f.ctx, space, "seg", records("2"), &streamhub.AppendOptions{Incarnation: f.status("seg").Position.Incarnation})
	require.NoError(f, err)
	f.holds("seg", "1", "2")
}

// lifeMeantKeepsDoubt: an append that was meant for another incarnation does not make the process forget one
// whose outcome is unknown.
func lifeMeantKeepsDoubt(f *fixture) {
	other := f.append("other", "1").Position.Incarnation
	s, wire := f.impatient()
	wire.Lose(1000)
	_, err := s.Append(f.ctx, space, "seg", records("1"), nil)
	var unknown *streamhub.UnknownOutcomeError
	require.ErrorAs(f, err, &unknown)
	wire.Lose(0)
	_, err = s.Append(f.ctx, space, "seg", records("x"), &streamhub.AppendOptions{Incarnation: other})
	f.lost(err, 1)
	_, err = s.Append(f.ctx, space, "seg", records("1"), &streamhub.AppendOptions{TRX: unknown.TRX})
	require.NoError(f, err)
	f.holds("seg", "1")
}

// lifeAfterLostReply: a segment is lost whose creator never got the reply. The one that is
// created after that has another incarnation.
func lifeAfterLostReply(f *fixture) {
	s, wire := f.impatient()
	wire.Lose(1000)
	_, err := s.Append(f.ctx, space, "seg", records("1"), nil)
	require.ErrorIs(f, err, streamhub.ErrUnknownOutcome)
	wire.Lose(0)
	was := f.status("seg").Position.Incarnation
	f.wipe()
	require.NotEqual(f, was, f.appendTo(s, "seg", "2").Position.Incarnation)
	f.holds("seg", "2")
}

func lifeOfForkMeant(f *fixture) {
	first := f.append("seg", "1")
	at := uint64(1)
	o := &streamhub.CreateOptions{ForkOf: "seg", ForkAt: &at, ForkIncarnation: first.Position.Incarnation}
	f.delete("seg")
	f.appendTo(f.another(), "seg", "other")
	_, _, err := f.Create(f.ctx, space, "fork", o)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Status(f.ctx, space, "fork")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	o.ForkIncarnation = f.status("seg").Position.Incarnation
	f.create("fork", o)
	f.holds("fork", "other")
	_, _, err = f.Create(f.ctx, space, "x", &streamhub.CreateOptions{ForkIncarnation: 1})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
}

// The origin is kept as it was given first, and never compared.
func origin(f *fixture) {
	f.create("seg", &streamhub.CreateOptions{Origin: "a b\x00é"})
	require.Equal(f, "a b\x00é", f.status("seg").Origin)
	status, created, err := f.Create(f.ctx, space, "seg", &streamhub.CreateOptions{Origin: "other"})
	require.NoError(f, err)
	require.False(f, created)
	require.Equal(f, "a b\x00é", status.Origin)
	f.append("seg", "1")
	require.Equal(f, "a b\x00é", f.status("seg").Origin)
	_, _, err = f.Create(f.ctx, space, "long", &streamhub.CreateOptions{Origin: strings.Repeat("x", streamhub.MaxOriginLength+1)})
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	_, _, err = f.Create(f.ctx, space, "bytes", &streamhub.CreateOptions{Origin: "\xff"})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
}

// An operation on a deleted segment learns whether forks still read it.
func deletedHeld(f *fixture) {
	f.append("seg", "1")
	f.fork("fork", "seg", 1)
	f.delete("seg")
	held := func(err error) bool {
		var deleted *streamhub.DeletedError
		require.ErrorIs(f, err, streamhub.ErrNotFound)
		require.ErrorAs(f, err, &deleted)
		require.Equal(f, streamhub.VerdictDeleted, deleted.Verdict.Kind)
		return deleted.Held
	}
	_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
	require.True(f, held(err))
	_, err = f.Status(f.ctx, space, "seg")
	require.True(f, held(err))
	_, err = f.tryRead("seg", nil)
	require.True(f, held(err))
	f.delete("fork")
	_, err = f.Status(f.ctx, space, "seg")
	require.False(f, held(err))
}

func readFrom(f *fixture) {
	f.append("seg", "1", "2")
	f.append("seg", "3")
	for from, want := range map[uint64][]string{0: {"1", "2", "3"}, 1: {"1", "2", "3"}, 2: {"2", "3"}, 3: {"3"}, 4: nil} {
		page, err := f.ReadFrom(f.ctx, space, "seg", from)
		require.NoError(f, err)
		require.Equal(f, want, f.payloads(page.Entries))
		require.EqualValues(f, 3, page.Status.LastSequence)
		require.False(f, page.More)
	}
	f.trim("seg", 2)
	page, err := f.ReadFrom(f.ctx, space, "seg", 0)
	require.NoError(f, err)
	require.Equal(f, []string{"3"}, f.payloads(page.Entries))
	_, err = f.ReadFrom(f.ctx, space, "seg", 2)
	require.ErrorIs(f, err, streamhub.ErrTrimmed)
	_, err = f.ReadFrom(f.ctx, space, "none", 0)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

func readAfter(f *fixture) {
	f.append("seg", "1", "2")
	f.append("seg", "3")
	entries := f.read("seg", nil)
	proofs := map[uint64]uint64{0: 0}
	for _, e := range entries {
		proofs[e.Sequence] = e.Position.Proof
	}
	for after, want := range map[uint64][]string{0: {"1", "2", "3"}, 1: {"2", "3"}, 2: {"3"}, 3: nil} {
		page, err := f.ReadAfter(f.ctx, space, "seg", after, proofs[after])
		require.NoError(f, err)
		require.Equal(f, want, f.payloads(page.Entries))
		require.EqualValues(f, 3, page.Status.LastSequence)
		if after > 0 {
			_, err = f.ReadAfter(f.ctx, space, "seg", after, proofs[after]+1)
			f.lost(err, after)
		}
	}
	_, err := f.ReadAfter(f.ctx, space, "seg", 4, proofs[3])
	f.lost(err, 4)
	f.fork("fork", "seg", 2)
	for after := range uint64(3) {
		page, err := f.ReadAfter(f.ctx, space, "fork", after, proofs[after])
		require.NoError(f, err)
		require.Len(f, page.Entries, 2-int(after))
	}
	f.append("fork", "other 3")
	_, err = f.ReadAfter(f.ctx, space, "fork", 3, proofs[3])
	f.lost(err, 3)

	f.delete("fork")
	f.trim("seg", 2)
	s, err := f.Status(f.ctx, space, "seg")
	require.NoError(f, err)
	require.EqualValues(f, 2, s.Kept.Sequence)
	require.Equal(f, proofs[2], s.Kept.Proof)
	page, err := f.ReadAfter(f.ctx, space, "seg", s.Kept.Sequence, s.Kept.Proof)
	require.NoError(f, err)
	require.Equal(f, []string{"3"}, f.payloads(page.Entries))
	_, err = f.ReadAfter(f.ctx, space, "seg", 2, proofs[2]+1)
	f.lost(err, 2)
	_, err = f.ReadAfter(f.ctx, space, "seg", 1, proofs[1])
	f.trimmed(err, 3)
	_, err = f.ReadAfter(f.ctx, space, "none", 1, 1)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// What was lost is not taken for what has its sequences now, for any caller.
func readAfterLoss(f *fixture) {
	f.append("seg", "1", "2")
	var lost []streamhub.Entry
	f.rollBack(func() {
		f.append("seg", "3")
		f.append("seg", "4", "5")
		lost = f.read("seg", nil)
	})
	next := f.reign()
	for range 4 {
		for _, e := range lost {
			for _, reader := range []*fixture{f, next} {
				_, err := reader.ReadAfter(f.ctx, space, "seg", e.Sequence, e.Position.Proof)
				if e.Sequence > 2 {
					require.ErrorIs(f, err, streamhub.ErrHistoryLost)
				} else {
					require.NoError(f, err)
				}
			}
		}
		next.append("seg", "new")
	}
}

// A repeat brings the stream seq that it was stored with, which is no longer the next one.
func streamSeqOfRepeat(f *fixture) {
	for seq, text := range []string{"a", "b"} {
		o := by("p", 0, uint64(seq))
		o.StreamSeq = text
		_, err := f.with(o, "seg", text)
		require.NoError(f, err)
	}
	o := by("p", 0, 0)
	o.StreamSeq = "a"
	_, err := f.another().Append(f.ctx, space, "seg", records("a"), &o)
	f.producer(err, streamhub.ErrUnknownOutcome, 0, 2)
	o = by("p", 0, 2)
	o.StreamSeq = "b"
	_, err = f.with(o, "seg", "c")
	require.ErrorIs(f, err, streamhub.ErrConflict)
	f.holds("seg", "a", "b")
}

func retain(f *fixture) {
	f.append("seg", "1")
	_, err := f.Retain(f.ctx, space, "seg", time.Hour)
	require.ErrorIs(f, err, streamhub.ErrConflict)
	_, err = f.Retain(f.ctx, space, "none", time.Hour)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Append(f.ctx, space, "seg", nil, &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	require.NoError(f, err)
	_, err = f.Retain(f.ctx, space, "seg", 0)
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	until, err := f.Retain(f.ctx, space, "seg", 2*time.Second)
	require.NoError(f, err)
	again, err := f.another().Retain(f.ctx, space, "seg", time.Hour)
	require.NoError(f, err)
	require.Equal(f, until, again, "a repeat changes nothing")
	require.Equal(f, until, f.status("seg").ExpiresAt)
	f.env.Advance(f.T, 2100*time.Millisecond)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

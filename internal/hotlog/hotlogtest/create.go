package hotlogtest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var createCases = []namedCase{
	{"Create", create},
	{"CreateAgain", createAgain},
	{"CreateConflict", createConflict},
	{"CreateConflictNamesBoth", createConflictNamesBoth},
	{"CreateWithRecords", createWithRecords},
	{"CreateClosed", createClosed},
	{"CreateAtOnce", createAtOnce},
	{"CreateAfterLostReply", createAfterLostReply},
	{"CreateInvalid", createInvalid},
}

func create(f *fixture) {
	s := f.create("seg", nil)
	require.Equal(f, streamhub.Status{Space: space, Segment: "seg", State: streamhub.StateOpen}, streamhub.Status{
		Space: s.Space, Segment: s.Segment, State: s.State, FirstSequence: s.FirstSequence, LastSequence: s.LastSequence,
	})
	require.True(f, s.Empty())
	require.Empty(f, f.read("seg", nil))
	require.Empty(f, f.readSpace(nil))
	segments, err := f.Segments(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Equal(f, []string{"seg"}, segments)
	cursor := s.Cursor()
	r := f.append("seg", "1")
	require.EqualValues(f, 1, r.First)
	require.False(f, r.Created)
	require.Len(f, f.read("seg", &streamhub.ReadOptions{Cursor: cursor}), 1)
}

func createAgain(f *fixture) {
	o := &streamhub.CreateOptions{ContentType: "text/Plain; charset=utf-8"}
	require.Equal(f, "text/Plain; charset=utf-8", f.create("seg", o).ContentType)
	f.append("seg", "1")
	for _, s := range []*hotlog.Store{f.Store, f.another()} {
		for _, t := range []string{"text/plain", "TEXT/PLAIN", "text/plain; charset=latin1", " text/plain "} {
			status, created, err := s.Create(f.ctx, space, "seg", &streamhub.CreateOptions{ContentType: t, Records: records("ignored")})
			require.NoError(f, err, "%q", t)
			require.False(f, created)
			require.EqualValues(f, 1, status.LastSequence)
			require.Equal(f, "text/Plain; charset=utf-8", status.ContentType)
		}
	}
	f.holds("seg", "1")
}

func createConflict(f *fixture) {
	at := time.Now().Add(time.Hour)
	f.create("plain", nil)
	f.create("typed", &streamhub.CreateOptions{ContentType: "text/plain"})
	f.create("sliding", &streamhub.CreateOptions{TTL: time.Hour})
	f.create("fixed", &streamhub.CreateOptions{ExpiresAt: at})
	f.create("closed", &streamhub.CreateOptions{Closed: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	f.create("fork", &streamhub.CreateOptions{ForkOf: "typed"})
	same := map[string]*streamhub.CreateOptions{
		"plain": nil, "typed": {ContentType: "text/plain"}, "sliding": {TTL: time.Hour}, "fixed": {ExpiresAt: at},
		"closed": {Closed: &streamhub.Verdict{Kind: streamhub.VerdictFailed}}, "fork": {ForkOf: "typed", ContentType: ""},
	}
	others := []*streamhub.CreateOptions{
		nil, {ContentType: "text/plain"}, {ContentType: "text/html"}, {TTL: time.Hour}, {TTL: time.Minute}, {ExpiresAt: at},
		{ExpiresAt: at.Add(time.Second)}, {Closed: &streamhub.Verdict{Kind: streamhub.VerdictDone}}, {ForkOf: "typed"}, {ForkOf: "plain"},
	}
	equal := func(a, b *streamhub.CreateOptions) bool {
		if a == nil {
			a = &streamhub.CreateOptions{}
		}
		if b == nil {
			b = &streamhub.CreateOptions{}
		}
		return a.ContentType == b.ContentType && a.TTL == b.TTL && a.ExpiresAt.Equal(b.ExpiresAt) &&
			(a.Closed == nil) == (b.Closed == nil) && a.ForkOf == b.ForkOf
	}
	for name, own := range same {
		_, created, err := f.Create(f.ctx, space, name, own)
		require.NoError(f, err, name)
		require.False(f, created)
		for _, other := range others {
			if other != nil && other.ForkOf == name {
				continue
			}
			_, created, err := f.Create(f.ctx, space, name, other)
			require.False(f, created)
			if equal(own, other) {
				require.NoError(f, err, "%s %+v", name, other)
			} else {
				require.ErrorIs(f, err, streamhub.ErrConflict, "%s %+v", name, other)
			}
		}
	}
}

func createWithRecords(f *fixture) {
	s := f.create("seg", &streamhub.CreateOptions{Records: records("1", "2")})
	require.EqualValues(f, 2, s.LastSequence)
	f.holds("seg", "1", "2")
	require.Equal(f, []string{"seg1", "seg2"}, names(f.readSpace(nil)))
	require.EqualValues(f, 3, f.append("seg", "3").First)
}

func createClosed(f *fixture) {
	verdict := &streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "whole"}
	s := f.create("seg", &streamhub.CreateOptions{Closed: verdict, Records: records("1")})
	require.Equal(f, streamhub.StateClosed, s.State)
	require.Equal(f, verdict, s.Verdict)
	_, err := f.with(streamhub.AppendOptions{}, "seg", "2")
	f.isClosed(err, streamhub.VerdictDone, 1)
	f.holds("seg", "1")
}

func createAtOnce(f *fixture) {
	var created atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		s := f.another()
		wg.Go(func() {
			_, fresh, err := s.Create(f.ctx, space, "seg", &streamhub.CreateOptions{Records: records("1")})
			if err != nil {
				f.Error(err)
			}
			if fresh {
				created.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(f, 1, created.Load())
	f.holds("seg", "1")
}

func createAfterLostReply(f *fixture) {
	s, wire := f.wired()
	f.appendTo(s, "other", "x")
	wire.Lose(1)
	_, created, err := s.Create(f.ctx, space, "seg", &streamhub.CreateOptions{Records: records("1")})
	require.NoError(f, err)
	require.True(f, created, "the caller's own doing")
	f.holds("seg", "1")
}

func createInvalid(f *fixture) {
	at := uint64(1)
	for _, bad := range []*streamhub.CreateOptions{
		{TTL: -1}, {TTL: time.Microsecond}, {TTL: time.Second, ExpiresAt: time.Now()}, {ExpiresAt: time.UnixMilli(-5)},
		{ForkAt: &at}, {ForkOf: "seg"}, {Generation: streamhub.MaxInteger + 1}, {Closed: &streamhub.Verdict{}},
		{Closed: &streamhub.Verdict{Kind: "banana"}},
	} {
		_, _, err := f.Create(f.ctx, space, "seg", bad)
		require.ErrorIs(f, err, streamhub.ErrInvalidArgument, "%+v", bad)
	}
	_, _, err := f.Create(f.ctx, space, "seg", &streamhub.CreateOptions{ForkOf: "missing"})
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// createConflictNamesBoth: the error says what the segment has and what the call asked for.
func createConflictNamesBoth(f *fixture) {
	f.append("parent", "1", "2")
	one, two := uint64(1), uint64(2)
	f.create("fork", &streamhub.CreateOptions{ForkOf: "parent", ForkAt: &one})
	f.create("sliding", &streamhub.CreateOptions{TTL: time.Second})
	for _, c := range []struct {
		segment string
		options streamhub.CreateOptions
		text    string
	}{
		{"fork", streamhub.CreateOptions{ForkOf: "parent", ForkAt: &two}, `it is a fork of "parent" at 1, not a fork of "parent" at 2`},
		{"fork", streamhub.CreateOptions{}, `it is a fork of "parent" at 1, not a segment of its own`},
		{"sliding", streamhub.CreateOptions{}, "it has a time to live of 1s, not a life without end"},
	} {
		_, _, err := f.Create(f.ctx, space, c.segment, &c.options)
		require.ErrorIs(f, err, streamhub.ErrConflict)
		require.ErrorContains(f, err, c.text)
	}
}

package hotlogtest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var expiryCases = []namedCase{
	{"ExpirySliding", expirySliding},
	{"ExpiryFixed", expiryFixed},
	{"ExpiryAtOnce", expiryAtOnce},
	{"ExpiryByReaders", expiryByReaders},
	{"ExpiryByAppenders", expiryByAppenders},
	{"ExpiryBySweep", expiryBySweep},
	{"Touch", touch},
	{"Expire", expire},
}

const (
	// short is a time to live that a case waits for. A busy machine has to do a third of it, and a few commands, within it.
	short = 2 * time.Second
	past  = short + 20*time.Millisecond
	part  = short / 3
)

func expirySliding(f *fixture) {
	s := f.create("seg", &streamhub.CreateOptions{TTL: short})
	require.Equal(f, short, s.TTL)
	require.NotZero(f, s.ExpiresAt)
	for range 2 {
		f.env.Advance(f.T, part)
		r := f.append("seg", "x")
		require.Equal(f, r.Timestamp.Add(short), f.status("seg").ExpiresAt, "an append renews it")
	}
	f.env.Advance(f.T, past)
	_, err := f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

func expiryFixed(f *fixture) {
	now, err := f.conn.Time(f.ctx).Result()
	require.NoError(f, err)
	at := now.Add(short).Truncate(time.Millisecond)
	s := f.create("seg", &streamhub.CreateOptions{ExpiresAt: at})
	require.Zero(f, s.TTL)
	require.Equal(f, at.UTC(), s.ExpiresAt)
	f.append("seg", "x")
	deadline, err := f.Touch(f.ctx, space, "seg")
	require.NoError(f, err)
	require.Equal(f, at.UTC(), deadline, "nothing renews it")
	f.env.Advance(f.T, past)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// expiryAtOnce creates what goes before it can be looked at: it was created all the same.
func expiryAtOnce(f *fixture) {
	const ttl = time.Millisecond
	for n := range 50 {
		name := fmt.Sprint("seg", n)
		o := streamhub.CreateOptions{TTL: ttl, Records: records("a", "b"), ContentType: "text/plain", Closed: &streamhub.Verdict{Kind: streamhub.VerdictDone}}
		s, created, err := f.Create(f.ctx, space, name, &o)
		require.NoError(f, err)
		require.True(f, created)
		require.Equal(f, ttl, s.TTL)
		require.Equal(f, s.LastTimestamp.Add(ttl), s.ExpiresAt)
		require.Equal(f, "text/plain", s.ContentType)
		require.Equal(f, streamhub.StateClosed, s.State)
		require.Equal(f, o.Closed, s.Verdict)
		require.Equal(f, [2]uint64{1, 2}, [2]uint64{s.FirstSequence, s.LastSequence})
		require.EqualValues(f, 2, s.Position.Sequence)
		require.NotZero(f, s.Position.Incarnation)
	}
}

func expiryByReaders(f *fixture) {
	for _, segment := range []string{"status", "read", "peek", "page", "touch", "statuses", "space"} {
		f.create(segment, &streamhub.CreateOptions{TTL: short, Records: records("x")})
	}
	f.append("stays", "x")
	cursor := f.readSpace(&streamhub.ReadOptions{Limit: 1})[0].Cursor()
	f.env.Advance(f.T, past)
	require.Equal(f, []string{"stays1"}, names(f.readSpace(nil)), "read along the space")
	require.Equal(f, []string{"stays1"}, names(f.readSpace(&streamhub.ReadOptions{Cursor: cursor})))
	_, err := f.Status(f.ctx, space, "status")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.tryRead("read", nil)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.ErrorContains(f, err, string(streamhub.VerdictExpired))
	_, err = f.Peek(f.ctx, space, "peek")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.ReadPage(f.ctx, space, "page", streamhub.Position{}, true)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Touch(f.ctx, space, "touch")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	all, err := f.Statuses(f.ctx, space, "", 100)
	require.NoError(f, err)
	require.Len(f, all, 1)
	segments, err := f.Segments(f.ctx, space, "", 100)
	require.NoError(f, err)
	require.Equal(f, []string{"stays"}, segments)
}

func expiryByAppenders(f *fixture) {
	old := f.create("seg", &streamhub.CreateOptions{TTL: short, Records: records("old")})
	f.create("again", &streamhub.CreateOptions{TTL: short})
	other := f.another()
	f.env.Advance(f.T, past)
	// Who has not seen the old life begins the next one; who has is told once.
	r := f.appendTo(other, "seg", "new")
	require.True(f, r.Created)
	require.EqualValues(f, 1, r.First)
	require.NotEqual(f, old.Position.Incarnation, r.Position.Incarnation)
	_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
	f.lost(err, 1)
	require.EqualValues(f, 2, f.append("seg", "new too").First)

	_, created, err := f.Create(f.ctx, space, "again", nil)
	require.NoError(f, err)
	require.True(f, created)
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: old.Cursor()})
	f.lost(err, 1)
}

func expiryBySweep(f *fixture) {
	f.create("a", &streamhub.CreateOptions{TTL: short, Records: records("x")})
	f.create("b", &streamhub.CreateOptions{TTL: time.Hour, Records: records("x")})
	f.create("c", nil)
	log := f.logKey("a")
	f.env.Advance(f.T, past)
	require.NoError(f, f.Sweep(f.ctx))
	n, err := f.conn.Exists(f.ctx, log).Result()
	require.NoError(f, err)
	require.Zero(f, n, "its entries are gone, though nobody asked for it")
	segments, err := f.Segments(f.ctx, space, "", 10)
	require.NoError(f, err)
	require.Equal(f, []string{"b", "c"}, segments)
	require.NoError(f, f.Sweep(f.ctx))
}

// expire replaces what a segment was created with; appends go on meanwhile, also those of a process that
// saw the segment before.
func expire(f *fixture) {
	_, err := f.Expire(f.ctx, space, "none", short)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.Expire(f.ctx, space, "none", -short)
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	f.append("plain", "1", "2")
	f.append("kept", "1")
	f.append("closed", "1")
	f.create("sliding", &streamhub.CreateOptions{TTL: time.Hour})
	_, err = f.Append(f.ctx, space, "closed", nil, &streamhub.AppendOptions{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	require.NoError(f, err)
	for _, segment := range []string{"plain", "kept", "closed", "sliding"} {
		deadline, err := f.Expire(f.ctx, space, segment, short)
		require.NoError(f, err)
		status := f.status(segment)
		require.Equal(f, deadline, status.ExpiresAt, segment)
		require.Zero(f, status.TTL, "nothing renews it")
	}
	f.append("plain", "3")
	f.append("sliding", "1")
	deadline, err := f.Touch(f.ctx, space, "plain")
	require.NoError(f, err)
	require.Equal(f, f.status("plain").ExpiresAt, deadline)
	deadline, err = f.another().Expire(f.ctx, space, "kept", 0)
	require.NoError(f, err)
	require.Zero(f, deadline)
	require.Zero(f, f.status("kept").ExpiresAt)
	f.append("kept", "2")
	f.env.Advance(f.T, past)
	for _, segment := range []string{"plain", "closed", "sliding"} {
		_, err = f.Status(f.ctx, space, segment)
		require.ErrorIs(f, err, streamhub.ErrNotFound, segment)
		_, err = f.Expire(f.ctx, space, segment, time.Hour)
		require.ErrorIs(f, err, streamhub.ErrNotFound, segment)
	}
	require.NoError(f, f.Sweep(f.ctx))
	f.holds("kept", "1", "2")
	_, err = f.another().Append(f.ctx, space, "plain", records("new"), nil)
	require.NoError(f, err)
	f.holds("plain", "new")
}

func touch(f *fixture) {
	_, err := f.Touch(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	f.append("plain", "x")
	deadline, err := f.Touch(f.ctx, space, "plain")
	require.NoError(f, err)
	require.Zero(f, deadline)
	s := f.create("seg", &streamhub.CreateOptions{TTL: short})
	deadline, err = f.Touch(f.ctx, space, "seg")
	require.NoError(f, err)
	require.Equal(f, s.ExpiresAt, deadline, "too early to be worth a write")
	for range 3 {
		f.env.Advance(f.T, part)
		renewed, err := f.Touch(f.ctx, space, "seg")
		require.NoError(f, err)
		require.Greater(f, renewed, deadline)
		require.Equal(f, renewed, f.status("seg").ExpiresAt)
		deadline = renewed
	}
	require.NoError(f, f.Sweep(f.ctx))
	f.env.Advance(f.T, past)
	_, err = f.Touch(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

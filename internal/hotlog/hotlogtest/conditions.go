package hotlogtest

import (
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var conditionCases = []namedCase{
	{"CheckOnly", checkOnly},
	{"CheckOnlyRefusals", checkOnlyRefusals},
	{"StreamSeq", streamSeq},
	{"ContentTypeText", contentTypeText},
	{"ContentType", contentType},
	{"MustExist", mustExist},
}

func checkOnly(f *fixture) {
	r, err := f.with(streamhub.AppendOptions{CheckOnly: true}, "seg", "1", "2")
	require.NoError(f, err)
	require.EqualValues(f, 1, r.First)
	require.EqualValues(f, 2, r.Last)
	require.True(f, r.Created)
	require.Empty(f, f.everything())
	f.append("seg", "1")
	before := f.everything()
	for _, o := range []streamhub.AppendOptions{
		{}, {ExpectedSequence: 2}, {Generation: 9}, {Producer: &streamhub.Producer{ID: "p"}}, {StreamSeq: "z"},
		{Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}},
	} {
		o.CheckOnly = true
		r, err := f.with(o, "seg", "2", "3")
		require.NoError(f, err)
		require.EqualValues(f, 2, r.First)
		require.EqualValues(f, 3, r.Last)
		require.False(f, r.Created)
	}
	require.Equal(f, before, f.everything())
	require.EqualValues(f, 2, f.append("seg", "2").First)
}

func checkOnlyRefusals(f *fixture) {
	_, err := f.with(streamhub.AppendOptions{Generation: 5}, "seg", "1")
	require.NoError(f, err)
	check := func(o streamhub.AppendOptions) error {
		o.CheckOnly = true
		_, err := f.with(o, "seg", "x")
		return err
	}
	f.fenced(check(streamhub.AppendOptions{Generation: 4}), 5, 4)
	f.mismatch(check(streamhub.AppendOptions{Generation: 5, ExpectedSequence: 9}), 2, 9)
	f.producer(check(streamhub.AppendOptions{Generation: 5, Producer: &streamhub.Producer{ID: "p", Seq: 3}}), streamhub.ErrProducerGap, 0, 0)
	_, err = f.CloseSegment(f.ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, &streamhub.AppendOptions{Generation: 5})
	require.NoError(f, err)
	f.isClosed(check(streamhub.AppendOptions{Generation: 5}), streamhub.VerdictDone, 1)
}

func streamSeq(f *fixture) {
	as := func(seq string) error {
		_, err := f.with(streamhub.AppendOptions{StreamSeq: seq}, "seg", seq)
		return err
	}
	// Byte by byte: no number, no locale.
	stored := []string{"2", "3", "30", "a", "aa", "b\x00", "b\x00\x00", "é", "\xff", "\xff\x00"}
	for _, seq := range stored {
		require.NoError(f, as(seq), "%q", seq)
		require.ErrorIs(f, as(seq), streamhub.ErrConflict, "%q", seq)
	}
	for _, seq := range append(stored, "10", "Z", "z", " ") {
		require.ErrorIs(f, as(seq), streamhub.ErrConflict, "%q", seq)
	}
	f.append("seg", "without")
	require.ErrorIs(f, as("a"), streamhub.ErrConflict)
	require.NoError(f, as("\xff\xff"))
	_, err := f.with(streamhub.AppendOptions{StreamSeq: "2"}, "ten", "x")
	require.NoError(f, err)
	_, err = f.with(streamhub.AppendOptions{StreamSeq: "10"}, "ten", "x")
	require.ErrorIs(f, err, streamhub.ErrConflict)
}

func contentType(f *fixture) {
	as := func(segment, t string) error {
		_, err := f.with(streamhub.AppendOptions{ContentType: t}, segment, "x")
		return err
	}
	require.NoError(f, as("seg", "Text/Plain; charset=utf-8"))
	require.Equal(f, "Text/Plain; charset=utf-8", f.status("seg").ContentType)
	require.NoError(f, as("seg", "text/plain"))
	require.NoError(f, as("seg", "TEXT/PLAIN ; a=b"))
	require.NoError(f, as("seg", ""))
	require.ErrorIs(f, as("seg", "text/html"), streamhub.ErrConflict)
	require.ErrorIs(f, as("seg", "text/plain2"), streamhub.ErrConflict)
	require.Equal(f, "Text/Plain; charset=utf-8", f.status("seg").ContentType)
	f.append("none", "x")
	require.ErrorIs(f, as("none", "text/plain"), streamhub.ErrConflict)
	for _, odd := range []string{";", "\x00", "\"", "é", "{}"} {
		require.NoError(f, as("odd"+odd, odd), "%q", odd)
	}
}

func mustExist(f *fixture) {
	_, err := f.with(streamhub.AppendOptions{MustExist: true}, "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.Empty(f, f.everything())
	spaces, err := f.Spaces(f.ctx, "", 10)
	require.NoError(f, err)
	require.Empty(f, spaces)
	f.append("seg", "1")
	r, err := f.with(streamhub.AppendOptions{MustExist: true}, "seg", "2")
	require.NoError(f, err)
	require.EqualValues(f, 2, r.First)
	f.delete("seg")
	_, err = f.another().Append(f.ctx, space, "seg", records("x"), &streamhub.AppendOptions{MustExist: true})
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// contentTypeText refuses a content type that could not be kept as it is.
func contentTypeText(f *fixture) {
	const broken = "text/plain; name=\xff"
	_, _, err := f.Create(f.ctx, space, "seg", &streamhub.CreateOptions{ContentType: broken})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.with(streamhub.AppendOptions{ContentType: broken}, "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

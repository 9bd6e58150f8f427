package hotlogtest

import (
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var generationCases = []namedCase{
	{"Generation", generation},
	{"GenerationOfClose", generationOfClose},
	{"GenerationOfCreate", generationOfCreate},
	{"GenerationIntegers", generationIntegers},
}

// fenced requires that err names the generation in force.
func (f *fixture) fenced(err error, current, got uint64) {
	f.Helper()
	var fenced *streamhub.FencedError
	require.ErrorAs(f, err, &fenced)
	require.ErrorIs(f, err, streamhub.ErrFenced)
	require.Equal(f, streamhub.FencedError{Current: current, Got: got}, *fenced)
}

func generation(f *fixture) {
	as := func(g uint64) error {
		r, err := f.with(streamhub.AppendOptions{Generation: g}, "seg", "x")
		if err == nil {
			require.Equal(f, g, r.Generation)
		}
		return err
	}
	require.NoError(f, as(0))
	require.NoError(f, as(5))
	require.NoError(f, as(5))
	f.fenced(as(4), 5, 4)
	f.fenced(as(0), 5, 0)
	require.NoError(f, as(9))
	f.fenced(as(5), 9, 5)
	require.NoError(f, as(9))
	require.EqualValues(f, 9, f.status("seg").Generation)
	require.EqualValues(f, 5, f.status("seg").LastSequence)
	_, err := f.another().Append(f.ctx, space, "seg", records("x"), &streamhub.AppendOptions{Generation: 8})
	f.fenced(err, 9, 8)
}

func generationOfClose(f *fixture) {
	_, err := f.with(streamhub.AppendOptions{Generation: 7}, "seg", "x")
	require.NoError(f, err)
	done := streamhub.Verdict{Kind: streamhub.VerdictDone}
	_, err = f.CloseSegment(f.ctx, space, "seg", done, &streamhub.AppendOptions{Generation: 6})
	f.fenced(err, 7, 6)
	require.Equal(f, streamhub.StateOpen, f.status("seg").State)
	r, err := f.CloseSegment(f.ctx, space, "seg", done, &streamhub.AppendOptions{Generation: 8})
	require.NoError(f, err)
	require.EqualValues(f, 8, r.Generation)
	require.EqualValues(f, 8, f.status("seg").Generation)
}

func generationOfCreate(f *fixture) {
	require.EqualValues(f, 3, f.create("seg", &streamhub.CreateOptions{Generation: 3}).Generation)
	_, err := f.with(streamhub.AppendOptions{Generation: 2}, "seg", "x")
	f.fenced(err, 3, 2)
}

func generationIntegers(f *fixture) {
	_, err := f.with(streamhub.AppendOptions{Generation: streamhub.MaxInteger - 1}, "seg", "x")
	require.NoError(f, err)
	r, err := f.with(streamhub.AppendOptions{Generation: streamhub.MaxInteger}, "seg", "x")
	require.NoError(f, err)
	require.EqualValues(f, streamhub.MaxInteger, r.Generation)
	_, err = f.with(streamhub.AppendOptions{Generation: streamhub.MaxInteger - 1}, "seg", "x")
	f.fenced(err, streamhub.MaxInteger, streamhub.MaxInteger-1)
	_, err = f.with(streamhub.AppendOptions{Generation: streamhub.MaxInteger + 1}, "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
}

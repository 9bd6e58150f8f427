package livetest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var messageCases = []namedCase{
	{"Messages", messages},
	{"FirstAnswerWins", firstAnswerWins},
	{"SendEnded", sendEnded},
	{"SendLimit", sendLimit},
}

// sendLimit: a message may be as large as a chunk.
func sendLimit(f *fixture) {
	i := f.open(&live.Options{MaxChunkBytes: 10})
	f.register(i, "chat", nil)
	s := f.get(i, "chat")
	_, err := s.Send(f.ctx, make([]byte, 11), nil)
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	_, err = s.Send(f.ctx, make([]byte, 10), nil)
	require.NoError(f, err)
}

func messages(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	s := f.get(b, "chat")
	for n := range 3 {
		sequence, err := s.Send(f.ctx, fmt.Append(nil, n), &live.SendOptions{By: "anna"})
		require.NoError(f, err)
		require.EqualValues(f, n+1, sequence)
	}
	_, err := s.Cancel(f.ctx, &live.CancelOptions{NoWait: true}) // is no message
	require.NoError(f, err)
	var got []live.Message
	for m, err := range p.Messages(f.ctx, 0) {
		require.NoError(f, err)
		got = append(got, m)
		if len(got) == 3 { // and then as they come
			_, err := s.Send(f.ctx, nil, nil)
			require.NoError(f, err)
		}
		if len(got) == 4 {
			break
		}
	}
	for n, m := range got[:3] {
		require.Equal(f, fmt.Sprint(n), string(m.Data))
		require.Equal(f, "anna", m.By)
		require.EqualValues(f, n+1, m.Sequence)
		require.NotZero(f, m.Timestamp)
	}
	require.EqualValues(f, 5, got[3].Sequence)
	require.Empty(f, got[3].By)
	// From the middle, as a producer that has handled some.
	rest := 0
	for m, err := range p.Messages(f.ctx, 2) {
		if err != nil {
			f.closed(err, streamhub.VerdictDone)
			break
		}
		if rest++; rest == 1 {
			require.Equal(f, "2", string(m.Data))
		} else {
			require.NoError(f, p.Done(f.ctx, nil))
		}
	}
	require.Equal(f, 2, rest)
}

func firstAnswerWins(f *fixture) {
	instances := []*instance{f.open(nil), f.open(nil)}
	p := f.register(instances[0], "chat", nil)
	var all sync.WaitGroup
	var won atomic.Int64
	for n := range 10 {
		s := f.get(instances[n%2], "chat")
		all.Go(func() {
			_, err := s.Send(f.ctx, fmt.Append(nil, n), &live.SendOptions{Once: "may I?"})
			switch {
			case err == nil:
				won.Add(1)
				_, err = s.Send(f.ctx, fmt.Append(nil, n), &live.SendOptions{Once: "may I?"}) // again
				if err != nil {
					f.Error("the same answer sent again:", err)
				}
			case streamhub.CodeOf(err) != streamhub.CodeOf(streamhub.ErrConflict):
				f.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(f, 1, won.Load())
	_, err := p.Send(f.ctx, []byte("y"), &live.SendOptions{Once: "another question"})
	require.NoError(f, err)
	_, err = p.Send(f.ctx, []byte("y"), &live.SendOptions{Once: strings.Repeat("x", live.MaxIDLength+1)})
	require.ErrorIs(f, err, streamhub.ErrInvalidName)
	var got []string
	for m, err := range p.Messages(f.ctx, 0) {
		require.NoError(f, err)
		if got = append(got, m.Once); len(got) == 2 {
			break
		}
	}
	require.Equal(f, []string{"may I?", "another question"}, got)
}

func sendEnded(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	s := f.get(i, "chat")
	require.NoError(f, p.Done(f.ctx, nil))
	_, err := s.Send(f.ctx, []byte("late"), nil)
	f.closed(err, streamhub.VerdictDone)
	require.NoError(f, i.Remove(f.ctx, "chat"))
	_, err = s.Send(f.ctx, []byte("late"), nil)
	f.closed(err, streamhub.VerdictDeleted)
	for _, err = range p.Messages(f.ctx, 0) { // and waits for none
		f.closed(err, streamhub.VerdictDeleted)
	}
	require.Error(f, err)
}

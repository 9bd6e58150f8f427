package livetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/live"
)

var remoteCases = []namedCase{
	{"RemoteAnywhere", remoteAnywhere},
	{"RemoteRepeats", remoteRepeats},
	{"RemoteTokens", remoteTokens},
	{"RemoteTakeover", remoteTakeover},
	{"RemoteSuccessorRemoved", remoteSuccessorRemoved},
	{"RemoteSilent", remoteSilent},
	{"RemoteStop", remoteStop},
	{"RemoteOnce", remoteOnce},
	{"RemoteLateRepeat", remoteLateRepeat},
	{"RemoteKeys", remoteKeys},
	{"RemoteForgotten", remoteForgotten},
	{"HandOver", handOver},
}

func (f *fixture) start(i *instance, id string, o *live.RegisterOptions) live.RemoteProducer {
	f.Helper()
	p, current, err := i.Start(f.ctx, id, o)
	require.NoError(f, err)
	require.Nil(f, current, "%q has a producer", id)
	require.NotNil(f, p)
	return p
}

func (f *fixture) resume(i *instance, id, token string) live.RemoteProducer {
	f.Helper()
	p, err := i.Resume(f.ctx, id, token)
	require.NoError(f, err)
	return p
}

func chunks(texts ...string) [][]byte {
	list := make([][]byte, len(texts))
	for i, text := range texts {
		list[i] = []byte(text)
	}
	return list
}

// remoteAnywhere publishes one generation over two instances in turn; one of them ends in between.
func remoteAnywhere(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	p := f.start(a, "chat", &live.RegisterOptions{Metadata: map[string]int{"n": 1}})
	require.Equal(f, 6*fast.Heartbeat, p.Silence())
	r := f.reader(f.get(b, "chat"))
	next, err := p.Publish(f.ctx, 1, chunks("one", "two"))
	require.NoError(f, err)
	require.EqualValues(f, 3, next)
	r.gets("one", "two")
	require.NoError(f, a.close()) // ends no remote producer
	q := f.resume(b, "chat", p.Token())
	require.Equal(f, p.Generation(), q.Generation())
	next, err = q.Beat(f.ctx)
	require.NoError(f, err)
	require.EqualValues(f, 3, next)
	next, err = q.Publish(f.ctx, next, chunks("three"))
	require.NoError(f, err)
	require.EqualValues(f, 4, next)
	require.NoError(f, q.SetMetadata(f.ctx, json.RawMessage(`{"n":2}`)))
	var metadata map[string]int
	set, err := f.get(b, "chat").Metadata(f.ctx, &metadata)
	require.NoError(f, err)
	require.True(f, set)
	require.Equal(f, 2, metadata["n"])
	v, err := q.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone, Output: json.RawMessage(`{"words":3}`)})
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictDone, v.Kind)
	require.Equal(f, []string{"one", "two", "three"}, r.ends(streamhub.VerdictDone))
	// Another end is answered with the verdict that there is.
	v, err = q.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "late"})
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictDone, v.Kind)
	_, err = q.Publish(f.ctx, 4, chunks("late"))
	f.closed(err, streamhub.VerdictDone)
	_, err = b.Resume(f.ctx, "chat", p.Token())
	f.closed(err, streamhub.VerdictDone)
}

// remoteRepeats makes calls again whose answer may have been lost.
func remoteRepeats(f *fixture) {
	a, b := f.open(&live.Options{MaxChunkBytes: 10}), f.open(nil)
	p := f.start(a, "chat", nil)
	for range 3 {
		next, err := p.Publish(f.ctx, 1, chunks("1", "2", "3"))
		require.NoError(f, err)
		require.EqualValues(f, 4, next)
	}
	next, err := p.Publish(f.ctx, 2, chunks("2", "3", "4", "5"))
	require.NoError(f, err)
	require.EqualValues(f, 6, next)
	next, err = p.Publish(f.ctx, 8, chunks("8"))
	var gap *streamhub.SequenceError
	require.ErrorAs(f, err, &gap)
	require.EqualValues(f, 6, gap.Expected)
	require.EqualValues(f, 6, next)
	_, err = p.Publish(f.ctx, 0, chunks("0"))
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = p.Publish(f.ctx, 6, chunks("6", strings.Repeat("x", 11)))
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	for _, kind := range notOfProducers {
		_, err = p.End(f.ctx, streamhub.Verdict{Kind: kind})
		require.ErrorIs(f, err, streamhub.ErrInvalidArgument, kind)
	}
	_, err = p.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
	texts, _ := f.read(f.get(b, "chat"), nil)
	require.Equal(f, []string{"1", "2", "3", "4", "5"}, texts)
}

// remoteTokens refuses tokens that are not those of the producer, and changes nothing.
func remoteTokens(f *fixture) {
	a := f.open(nil)
	p := f.start(a, "chat", nil)
	other := f.start(a, "other", nil)
	_, owner, _ := strings.Cut(other.Token(), ".")
	generation, _, _ := strings.Cut(p.Token(), ".")
	for _, token := range []string{"", ".", "x", "1.", generation + ".", generation + "." + owner, p.Token() + "x", strings.Repeat("x", 5000)} {
		_, err := a.Resume(f.ctx, "chat", token)
		require.ErrorIs(f, err, streamhub.ErrPermissionDenied, "%q", token)
	}
	_, err := a.Resume(f.ctx, "nobody", p.Token())
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = a.Resume(f.ctx, strings.Repeat("x", live.MaxIDLength+1), p.Token())
	require.ErrorIs(f, err, streamhub.ErrInvalidName)
	_, _, err = a.Start(f.ctx, "third", &live.RegisterOptions{OnCancel: func(error) {}})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = p.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
}

func remoteTakeover(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	first := f.start(a, "chat", nil)
	_, err := first.Publish(f.ctx, 1, chunks("old"))
	require.NoError(f, err)
	none, current, err := b.Start(f.ctx, "chat", nil)
	require.NoError(f, err)
	require.Nil(f, none)
	require.Equal(f, first.Generation(), current.Generation())
	second := f.start(b, "chat", &live.RegisterOptions{Takeover: true})
	_, err = first.Publish(f.ctx, 2, chunks("late"))
	f.fenced(err, second.Generation(), first.Generation())
	_, err = a.Resume(f.ctx, "chat", first.Token())
	f.fenced(err, second.Generation(), first.Generation())
	_, err = first.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	f.fenced(err, second.Generation(), first.Generation())
	_, err = second.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
}

// remoteSuccessorRemoved: what is kept of a generation says that another one took over, also when that one is there no more.
func remoteSuccessorRemoved(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	first := f.start(a, "chat", nil)
	second := f.start(b, "chat", &live.RegisterOptions{Takeover: true})
	require.NoError(f, b.Remove(f.ctx, "chat"))
	_, resumed := a.Resume(f.ctx, "chat", first.Token())
	_, beaten := first.Beat(f.ctx)
	_, published := first.Publish(f.ctx, 1, chunks("late"))
	_, ended := first.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	described := first.SetMetadata(f.ctx, json.RawMessage(`1`))
	for _, err := range []error{resumed, beaten, published, ended, described} {
		f.fenced(err, second.Generation(), first.Generation())
	}
	_, err := b.Resume(f.ctx, "chat", second.Token())
	f.closed(err, streamhub.VerdictDeleted)
}

// remoteSilent loses a producer that says nothing, and not one that beats.
func remoteSilent(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	silent := f.start(a, "silent", nil)
	beats := f.start(a, "beats", nil)
	lost := f.reader(f.get(b, "silent"))
	stop := make(chan struct{})
	beating := make(chan error, 1)
	go func() {
		for {
			_, err := f.resume(b, "beats", beats.Token()).Beat(f.ctx)
			select {
			case <-stop:
				beating <- err
				return
			default:
			}
			if err != nil {
				beating <- err
				return
			}
		}
	}()
	lost.ends(streamhub.VerdictLost)
	close(stop)
	require.NoError(f, <-beating)
	_, err := silent.Publish(f.ctx, 1, chunks("late"))
	f.closed(err, streamhub.VerdictLost)
	_, err = a.Resume(f.ctx, "silent", silent.Token())
	f.closed(err, streamhub.VerdictLost)
	_, err = beats.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
}

// remoteStop tells a remote producer that it is to stop, and stops it if it does not.
func remoteStop(f *fixture) {
	o := &live.Options{CancelGrace: 200 * time.Millisecond}
	a, b := f.open(o), f.open(o)
	p := f.start(a, "chat", nil)
	s := f.get(b, "chat")
	_, err := s.Send(f.ctx, []byte("hello"), &live.SendOptions{By: "anna"})
	require.NoError(f, err)
	_, err = s.Cancel(f.ctx, &live.CancelOptions{By: "anna", Reason: "enough", NoWait: true})
	require.NoError(f, err)
	var got []live.Message
	for m, err := range p.Messages(f.ctx, 0) {
		require.NoError(f, err)
		if got = append(got, m); len(got) == 2 {
			break
		}
	}
	require.Equal(f, "hello", string(got[0].Data))
	require.False(f, got[0].Stop)
	require.True(f, got[1].Stop)
	require.Equal(f, "anna", got[1].By)
	require.Equal(f, "enough", string(got[1].Data))
	// It goes on as if it had heard nothing.
	var closed *streamhub.ClosedError
	f.eventually("the producer is stopped", func() bool {
		_, err := p.Beat(f.ctx)
		if !errors.As(err, &closed) {
			require.NoError(f, err)
		}
		return closed != nil
	})
	require.Equal(f, streamhub.VerdictCancelled, closed.Verdict.Kind)
	require.Contains(f, closed.Verdict.Reason, "enough")
}

func remoteOnce(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	p := f.start(a, "job", &live.RegisterOptions{Once: true})
	_, err := p.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
	none, s, err := b.Start(f.ctx, "job", &live.RegisterOptions{Once: true})
	require.NoError(f, err)
	require.Nil(f, none)
	require.Equal(f, streamhub.VerdictDone, f.verdict(s).Kind)
}

// handOver lets a producer leave its process and go on at another instance.
func handOver(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	stopped := make(chan error, 1)
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: func(err error) { stopped <- err }})
	for n := range 100 {
		require.NoError(f, p.Publish(f.ctx, fmt.Append(nil, n+1)))
	}
	token, next, err := p.HandOver(f.ctx)
	require.NoError(f, err)
	require.EqualValues(f, 101, next)
	require.ErrorIs(f, p.Publish(f.ctx, []byte("late")), streamhub.ErrFenced)
	require.NoError(f, a.close()) // and it does not end the generation
	require.Empty(f, stopped)
	r := f.resume(b, "chat", token)
	require.Equal(f, 6*fast.Heartbeat, r.Silence())
	_, err = r.Publish(f.ctx, next, chunks("101"))
	require.NoError(f, err)
	_, err = r.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
	texts, v := f.read(f.get(b, "chat"), nil)
	require.Len(f, texts, 101)
	require.Equal(f, "101", texts[100])
	require.Equal(f, streamhub.VerdictDone, v.Kind)
}

// remoteLateRepeat answers a producer that has ended, and hears of it after another one has begun.
func remoteLateRepeat(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.start(a, "chat", nil)
	_, err := p.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
	next := f.start(b, "chat", nil)
	_, err = a.Resume(f.ctx, "chat", p.Token())
	f.closed(err, streamhub.VerdictDone)
	f.closed(p.SetMetadata(f.ctx, json.RawMessage(`1`)), streamhub.VerdictDone)
	v, err := p.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictDone, v.Kind)
	_, err = next.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
}

// remoteForgotten tells a producer that Redis has lost its generation, with an earlier one in its place or none.
func remoteForgotten(f *fixture) {
	a := f.open(&live.Options{Heartbeat: 50 * time.Millisecond})
	conn := f.connect(f.T)
	session := hotlog.Key(f.store, space, "ls:chat")
	told, onCancel := onCancel()
	remote := f.start(a, "chat", &live.RegisterOptions{Key: "thisisakeyforoneregistration"})
	local := f.register(a, "chat", &live.RegisterOptions{Key: "thisisakeyforoneregistration", OnCancel: onCancel})
	reader := f.get(a, "chat")
	require.NoError(f, conn.HSet(f.ctx, session, "g", "1").Err())
	require.ErrorIs(f, f.called(told), streamhub.ErrHistoryLost)
	require.ErrorIs(f, local.Publish(f.ctx, []byte("late")), streamhub.ErrHistoryLost)
	require.ErrorIs(f, remote.SetMetadata(f.ctx, json.RawMessage("{}")), streamhub.ErrHistoryLost)
	_, err := remote.Beat(f.ctx)
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	_, err = a.Resume(f.ctx, "chat", remote.Token())
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	v, err := reader.Wait(f.ctx) // its silence ends it, and the verdict names the earlier one
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictSuperseded, v.Kind)
	_, err = remote.Beat(f.ctx)
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)

	b := f.open(nil) // its producers may be silent for longer than this takes
	remote = f.start(b, "other", nil)
	require.NoError(f, conn.Del(f.ctx, hotlog.Key(f.store, space, "ls:other")).Err())
	_, err = remote.Beat(f.ctx)
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	_, err = b.Resume(f.ctx, "other", remote.Token())
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// remoteKeys registers and sends again under the same keys: once is enough.
func remoteKeys(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	const key = "0123456789abcdefABCDEF"
	p := f.start(a, "chat", &live.RegisterOptions{Key: key})
	q := f.start(b, "chat", &live.RegisterOptions{Key: key})
	require.Equal(f, p.Token(), q.Token())
	s := f.get(b, "chat")
	for _, key := range []string{"a123456789abcdef", "b123456789abcdef", "a123456789abcdef"} {
		sequence, err := s.Send(f.ctx, []byte("same text"), &live.SendOptions{Key: key})
		require.NoError(f, err)
		require.EqualValues(f, map[byte]int{'a': 1, 'b': 2}[key[0]], sequence)
	}
	_, err := s.Send(f.ctx, []byte("other text"), &live.SendOptions{Key: "a123456789abcdef"})
	require.ErrorIs(f, err, streamhub.ErrConflict)
	for _, o := range []live.SendOptions{{Key: "short"}, {Key: "with a blank in it"}, {Key: key, Once: "q"}} {
		_, err = s.Send(f.ctx, []byte("x"), &o)
		require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	}
	_, err = p.End(f.ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(f, err)
}

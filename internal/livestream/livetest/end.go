package livetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var endCases = []namedCase{
	{"EndOnce", endOnce},
	{"EndKinds", endKinds},
	{"Fail", fail},
	{"NoText", noText},
	{"CloseWithoutResult", closeWithoutResult},
	{"CloseLate", closeLate},
	{"EndRace", endRace},
	{"EndOverOutage", endOverOutage},
	{"EndUnderWay", endUnderWay},
	{"EndedTTL", endedTTL},
	{"IdleTTL", idleTTL},
	{"Remove", remove},
	{"SegmentDeleted", segmentDeleted},
	{"ManagerCloses", managerCloses},
}

// notOfProducers are kinds of verdicts that a producer does not give. Every other kind it does.
var notOfProducers = []streamhub.VerdictKind{streamhub.VerdictSuperseded, streamhub.VerdictDeleted, "", "banana"}

func endOnce(f *fixture) {
	i := f.open(nil)
	told, onCancel := onCancel()
	p := f.register(i, "chat", &live.RegisterOptions{OnCancel: onCancel})
	for _, kind := range notOfProducers {
		require.ErrorIs(f, p.End(f.ctx, streamhub.Verdict{Kind: kind}), streamhub.ErrInvalidArgument, kind)
	}
	require.ErrorIs(f, p.Done(f.ctx, func() {}), streamhub.ErrInvalidArgument)
	require.NoError(f, p.Publish(f.ctx, []byte("1")))
	require.NoError(f, p.Done(f.ctx, nil))
	f.closed(p.Done(f.ctx, nil), streamhub.VerdictDone)
	f.closed(p.Fail(f.ctx, errors.New("too late")), streamhub.VerdictDone)
	require.NoError(f, p.Close(f.ctx))
	require.Equal(f, streamhub.Verdict{Kind: streamhub.VerdictDone}, f.verdict(p))
	<-p.Context().Done()
	f.closed(context.Cause(p.Context()), streamhub.VerdictDone)
	require.Empty(f, told, "who ends by itself is not told to")
}

// endKinds ends a stream with each verdict that is a producer's, in a process and by a token.
func endKinds(f *fixture) {
	i := f.open(nil)
	for _, kind := range streamhub.VerdictKinds() {
		if slices.Contains(notOfProducers, kind) {
			continue
		}
		p := f.register(i, "own "+string(kind), nil)
		require.NoError(f, p.End(f.ctx, streamhub.Verdict{Kind: kind}))
		require.Equal(f, kind, f.verdict(p).Kind)
		r := f.start(i, "token "+string(kind), nil)
		v, err := r.End(f.ctx, streamhub.Verdict{Kind: kind})
		require.NoError(f, err)
		require.Equal(f, kind, v.Kind)
		for _, other := range notOfProducers {
			_, err = r.End(f.ctx, streamhub.Verdict{Kind: other})
			require.ErrorIs(f, err, streamhub.ErrInvalidArgument, other)
		}
	}
}

// noText: what JSON cannot hold is refused, and never kept as another text. The producer goes on.
func noText(f *fixture) {
	i := f.open(nil)
	const no, yes = "no\xff", "\ufffd \\ufffd"
	type titled struct{ Title any }
	for _, o := range []live.RegisterOptions{{By: no}, {Metadata: no}, {Metadata: titled{map[string][]string{"a": {no}}}}, {Metadata: map[string]int{no: 1}}} {
		_, _, err := i.Register(f.ctx, "chat", &o)
		require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	}
	p := f.register(i, "chat", &live.RegisterOptions{Metadata: titled{yes}})
	require.ErrorIs(f, p.SetMetadata(f.ctx, &titled{no}), streamhub.ErrInvalidArgument)
	stream := f.get(i, "chat")
	_, err := stream.Cancel(f.ctx, &live.CancelOptions{By: no})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = stream.Cancel(f.ctx, &live.CancelOptions{Reason: no})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	_, err = stream.Send(f.ctx, nil, &live.SendOptions{By: no})
	require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	require.ErrorIs(f, p.Fail(f.ctx, errors.New(no)), streamhub.ErrInvalidArgument)
	require.ErrorIs(f, p.Done(f.ctx, []any{no}), streamhub.ErrInvalidArgument)
	var got titled
	_, err = stream.Metadata(f.ctx, &got)
	require.NoError(f, err)
	require.Equal(f, titled{yes}, got)
	f.publish(p, "1")
	require.NoError(f, p.Done(f.ctx, yes))
	texts, v := f.read(p, nil)
	require.Equal(f, []string{"1"}, texts)
	require.JSONEq(f, `"\ufffd \\ufffd"`, string(v.Output))
}

func fail(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	f.publish(p, "1")
	require.ErrorIs(f, p.Fail(f.ctx, nil), streamhub.ErrInvalidArgument)
	require.NoError(f, p.Fail(f.ctx, errors.New("no quota")))
	texts, v := f.read(p, nil)
	require.Equal(f, []string{"1"}, texts)
	require.Equal(f, streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "no quota"}, v)
	// The end of a context is cancelled only if a caller asked for that.
	p = f.register(i, "chat", nil)
	require.NoError(f, p.Fail(f.ctx, context.Canceled))
	require.Equal(f, streamhub.VerdictFailed, f.verdict(p).Kind)
}

func closeWithoutResult(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	require.NoError(f, p.Publish(f.ctx, []byte("1")))
	require.NoError(f, p.Close(f.ctx))
	require.NoError(f, p.Close(f.ctx))
	texts, v := f.read(p, nil)
	require.Equal(f, []string{"1"}, texts)
	require.Equal(f, streamhub.VerdictFailed, v.Kind)
	f.register(i, "chat", nil)
}

// closeLate closes a producer as a deferred call does: after the end of its context.
func closeLate(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	require.NoError(f, p.Publish(f.ctx, []byte("1")))
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	require.NoError(f, p.Close(ctx))
	require.NoError(f, p.Close(ctx), "it is closed already")
	texts, v := f.read(p, nil)
	require.Equal(f, []string{"1"}, texts)
	require.Equal(f, streamhub.VerdictFailed, v.Kind)
}

// endRace has one verdict win, and everybody sees that one.
func endRace(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	for range 10 {
		p := f.register(a, "chat", nil)
		f.publish(p, "1")
		s, r := f.get(b, "chat"), f.reader(f.get(b, "chat"))
		var racing sync.WaitGroup
		var done, took error
		racing.Go(func() { done = p.Done(f.ctx, nil) })
		racing.Go(func() {
			if q, _, err := b.Register(f.ctx, "chat", &live.RegisterOptions{Takeover: true}); err != nil || q == nil {
				took = errors.Join(err, errors.New("no takeover"))
			} else {
				took = q.Close(f.ctx)
			}
		})
		racing.Wait()
		require.NoError(f, took)
		v := f.verdict(s)
		switch v.Kind {
		case streamhub.VerdictDone:
			require.NoError(f, done)
		case streamhub.VerdictSuperseded:
			require.ErrorIs(f, done, streamhub.ErrFenced)
		default:
			f.Fatalf("verdict %+v", v)
		}
		require.Equal(f, []string{"1"}, r.ends(v.Kind))
		require.Equal(f, v, f.verdict(p))
	}
}

// endOverOutage can be called again where the first time did not succeed.
func endOverOutage(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	f.publish(p, "1")
	i.fate.dead.Store(true)
	ctx, cancel := context.WithTimeout(f.ctx, 200*time.Millisecond)
	defer cancel()
	require.Error(f, p.Done(ctx, "answer"))
	i.fate.dead.Store(false)
	require.NoError(f, p.Done(f.ctx, "answer"))
	texts, v := f.read(p, nil)
	require.Equal(f, []string{"1"}, texts)
	require.JSONEq(f, `"answer"`, string(v.Output))
}

// endUnderWay has others wait for what comes of a verdict that is being written.
func endUnderWay(f *fixture) {
	i := f.open(nil)
	p := f.register(i, "chat", nil)
	under := func(ctx context.Context) <-chan error {
		i.fate.dead.Store(true)
		// A chunk that cannot be stored holds the verdict back: one that was sent could still be written after the caller gave up.
		require.NoError(f, p.Publish(f.ctx, []byte("before")))
		end := make(chan error, 1)
		go func() { end <- p.Done(ctx, "answer") }()
		f.eventually("a chunk has to wait", func() bool {
			ctx, cancel := context.WithTimeout(f.ctx, time.Millisecond)
			defer cancel()
			err := p.Publish(ctx, []byte("before"))
			require.True(f, err == nil || errors.Is(err, context.DeadlineExceeded), err)
			return err != nil
		})
		return end
	}
	later := func(call func() error) <-chan error {
		result := make(chan error, 1)
		go func() { result <- call() }()
		return result
	}
	publish := func() error { return p.Publish(f.ctx, []byte("meanwhile")) }

	ctx, giveUp := context.WithCancel(f.ctx)
	end, chunk := under(ctx), later(publish)
	giveUp()
	require.ErrorIs(f, <-end, context.Canceled)
	require.NoError(f, <-chunk)

	end, chunk = under(f.ctx), later(publish)
	failed := later(func() error { return p.Fail(f.ctx, errors.New("too late")) })
	i.fate.dead.Store(false)
	require.NoError(f, <-end)
	f.closed(<-chunk, streamhub.VerdictDone)
	f.closed(<-failed, streamhub.VerdictDone)
	texts, _ := f.read(p, nil)
	require.Len(f, slices.DeleteFunc(texts, func(s string) bool { return s == "before" }), 1)
}

// endedTTL keeps what has ended for so long and then says that it is gone, not that it is waited for.
func endedTTL(f *fixture) {
	i := f.open(nil)
	const keep = time.Second
	p := f.register(i, "chat", &live.RegisterOptions{EndedTTL: keep})
	f.publish(p, "1")
	f.pass(keep + keep/4) // which does not count before the end
	require.NoError(f, p.Done(f.ctx, nil))
	s := f.get(i, "chat")
	texts, _ := f.read(s, nil)
	require.Equal(f, []string{"1"}, texts)
	status, err := s.Status(f.ctx)
	require.NoError(f, err)
	at := status.Cursor
	f.eventually("the generation is gone", func() bool {
		status, err := i.store.Status(f.ctx, space, s.ID()+"~"+decimal(s.Generation()))
		require.Equal(f, err == nil, status.Verdict != nil)
		return err != nil
	})
	// Nothing is left that says how it had ended, and it had not expired.
	gone := func(err error) {
		require.ErrorIs(f, err, streamhub.ErrNotFound)
		require.NotErrorIs(f, err, streamhub.ErrClosed)
		require.ErrorContains(f, err, "EndedTTL")
	}
	for _, o := range []*live.SubscribeOptions{nil, {Cursor: at}, {Cursor: at, BatchReplay: true}} {
		for c, err := range s.Subscribe(f.ctx, o) {
			require.Zero(f, c)
			gone(err)
		}
	}
	_, err = s.Wait(f.ctx)
	gone(err)
	f.eventually("the id is forgotten", func() bool {
		_, err := i.Get(f.ctx, "chat")
		return errors.Is(err, streamhub.ErrNotFound)
	})
	f.register(i, "chat", &live.RegisterOptions{Once: true})
}

func idleTTL(f *fixture) {
	i := f.open(&fast)
	told, onCancel := onCancel()
	p := f.register(i, "chat", &live.RegisterOptions{IdleTTL: 700 * time.Millisecond, OnCancel: onCancel})
	for range 5 {
		f.publish(p, "busy")
		f.pass(300 * time.Millisecond)
	}
	require.Empty(f, told, "it was not idle")
	require.Equal(f, streamhub.VerdictExpired, f.verdict(p).Kind)
	f.closed(f.called(told), streamhub.VerdictExpired)
	f.closed(p.Publish(f.ctx, []byte("late")), streamhub.VerdictExpired)
}

// segmentDeleted deletes the segment of a generation, as an operator can. Its producer is told what its readers are told.
func segmentDeleted(f *fixture) {
	a := f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	require.NoError(f, a.log.Store(f.store).Delete(f.ctx, space, "chat~"+decimal(p.Generation()), "gone"))
	require.NoError(f, p.Publish(f.ctx, []byte("2")))
	f.closed(p.Flush(f.ctx), streamhub.VerdictDeleted)
	<-p.Context().Done()
	f.closed(p.Publish(f.ctx, []byte("3")), streamhub.VerdictDeleted)
}

func remove(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	f.publish(p, "1")
	r := f.reader(f.get(b, "chat"))
	r.gets("1")
	require.NoError(f, b.Remove(f.ctx, "chat"))
	r.ends(streamhub.VerdictDeleted)
	f.closed(f.called(told), streamhub.VerdictDeleted)
	f.closed(p.Publish(f.ctx, []byte("late")), streamhub.VerdictDeleted)
	_, err := a.Get(f.ctx, "chat")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.Equal(f, streamhub.VerdictDeleted, f.verdict(p).Kind)
	require.NoError(f, b.Remove(f.ctx, "chat"))
	_, err = r.f.get(b, f.register(a, "chat", nil).ID()).Status(f.ctx)
	require.NoError(f, err)
}

// managerCloses tells everybody at once what would be found out in a while.
func managerCloses(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	r := f.reader(f.get(b, "chat"))
	require.NoError(f, p.Publish(f.ctx, []byte("1")))
	require.NoError(f, a.close())
	require.ErrorIs(f, f.called(told), streamhub.ErrShutdown)
	require.Equal(f, []string{"1"}, r.ends(streamhub.VerdictLost))
	f.closed(p.Publish(f.ctx, []byte("late")), streamhub.VerdictLost)
	_, _, err := a.Register(f.ctx, "other", nil)
	require.ErrorIs(f, err, streamhub.ErrShutdown)
	f.register(b, "chat", nil)
	p, _, err = b.Register(f.ctx, "other", nil)
	require.NoError(f, err)
	require.NotNil(f, p, "a registration that was refused has left a producer")
}

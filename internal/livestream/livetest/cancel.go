package livetest

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var cancelCases = []namedCase{
	{"Cancel", cancel},
	{"CancelWithFarewell", cancelWithFarewell},
	{"CancelIgnored", cancelIgnored},
	{"CancelNoWait", cancelNoWait},
	{"CancelOften", cancelOften},
	{"CancelBeforeRepeat", cancelBeforeRepeat},
	{"CancelEnded", cancelEnded},
	{"CancelWhileDead", cancelWhileDead},
}

func cancel(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	f.publish(p, "1")
	var producer sync.WaitGroup
	producer.Go(func() {
		<-p.Context().Done()
		if err := p.Fail(f.ctx, context.Cause(p.Context())); err != nil {
			f.Error(err)
		}
	})
	v, err := f.get(b, "chat").Cancel(f.ctx, &live.CancelOptions{By: "anna", Reason: "wrong question"})
	producer.Wait()
	require.NoError(f, err)
	require.Equal(f, streamhub.Verdict{Kind: streamhub.VerdictCancelled, Reason: "anna: wrong question"}, v)
	var reason *live.CancelError
	require.ErrorAs(f, f.called(told), &reason)
	require.Equal(f, live.CancelError{By: "anna", Reason: "wrong question"}, *reason)
	require.Equal(f, v, f.verdict(p))
	require.Empty(f, told)
	f.register(b, "chat", nil)
}

// cancelWithFarewell lets the producer end as it likes, within the grace.
func cancelWithFarewell(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", &live.RegisterOptions{})
	f.publish(p, "1")
	var producer sync.WaitGroup
	producer.Go(func() {
		<-p.Context().Done()
		err := errors.Join(p.Publish(f.ctx, []byte("[stopped]")), p.Done(f.ctx, "a part"))
		if err != nil {
			f.Error(err)
		}
	})
	v, err := f.get(b, "chat").Cancel(f.ctx, nil)
	producer.Wait()
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictDone, v.Kind)
	texts, _ := f.read(p, nil)
	require.Equal(f, []string{"1", "[stopped]"}, texts)
}

// cancelIgnored ends what does not end by itself.
func cancelIgnored(f *fixture) {
	o := &live.Options{CancelGrace: 300 * time.Millisecond}
	a, b := f.open(o), f.open(o)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	begin := time.Now()
	v, err := f.get(b, "chat").Cancel(f.ctx, &live.CancelOptions{By: "anna"})
	require.NoError(f, err)
	require.Equal(f, streamhub.Verdict{Kind: streamhub.VerdictCancelled, Reason: "anna"}, v)
	require.GreaterOrEqual(f, time.Since(begin), o.CancelGrace)
	_ = f.called(told)
	f.closed(cmp.Or(p.Publish(f.ctx, []byte("late")), p.Flush(f.ctx)), streamhub.VerdictCancelled)
	require.Empty(f, told)
}

// cancelNoWait returns at once, and the producer is told all the same.
func cancelNoWait(f *fixture) {
	o := &live.Options{CancelGrace: 300 * time.Millisecond}
	a, b := f.open(o), f.open(o)
	p := f.register(a, "chat", nil)
	for _, long := range []live.CancelOptions{{By: strings.Repeat("x", 257)}, {Reason: strings.Repeat("x", 64<<10+1)}} {
		_, err := f.get(b, "chat").Cancel(f.ctx, &long)
		require.ErrorIs(f, err, streamhub.ErrTooLarge)
	}
	_, err := f.get(b, "chat").Send(f.ctx, nil, &live.SendOptions{By: strings.Repeat("x", 257)})
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	v, err := f.get(b, "chat").Cancel(f.ctx, &live.CancelOptions{NoWait: true})
	require.NoError(f, err)
	require.Empty(f, v.Kind)
	require.Equal(f, streamhub.VerdictCancelled, f.verdict(p).Kind)
	<-p.Context().Done()
	require.ErrorAs(f, context.Cause(p.Context()), new(*live.CancelError))
	for _, reason := range []string{"", "another"} {
		v, err = f.get(b, "chat").Cancel(f.ctx, &live.CancelOptions{NoWait: true, Reason: reason})
		require.NoError(f, err)
		require.Equal(f, streamhub.VerdictCancelled, v.Kind, "asked again, it has ended")
	}
}

// cancelOften asks from everywhere; the producer is told once.
func cancelOften(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	var all sync.WaitGroup
	for n := range 20 {
		i := []*instance{a, b}[n%2]
		all.Go(func() {
			v, err := f.get(i, "chat").Cancel(f.ctx, &live.CancelOptions{By: decimal(uint64(n % 5))})
			if err != nil || v.Kind != streamhub.VerdictCancelled {
				f.Errorf("%+v, %v", v, err)
			}
		})
	}
	_ = f.called(told)
	f.pass(50 * time.Millisecond)
	require.NoError(f, p.Close(f.ctx))
	all.Wait()
	require.Empty(f, told, "OnCancel was called twice")
}

// cancelBeforeRepeat asks while a registration, whose answer was lost, is made again.
func cancelBeforeRepeat(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	const key = "0123456789abcdefABCDEF"
	unheard := f.register(a, "chat", &live.RegisterOptions{Key: key})
	_, err := f.get(b, "chat").Cancel(f.ctx, &live.CancelOptions{By: "anna", NoWait: true})
	require.NoError(f, err)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{Key: key, OnCancel: onCancel})
	require.Equal(f, unheard.Generation(), p.Generation())
	var reason *live.CancelError
	require.ErrorAs(f, f.called(told), &reason)
	require.Equal(f, "anna", reason.By)
	require.NoError(f, p.Close(f.ctx))
	require.Equal(f, streamhub.VerdictCancelled, f.verdict(p).Kind)
	require.NoError(f, unheard.Close(f.ctx))
}

func cancelEnded(f *fixture) {
	i := f.open(nil)
	told, onCancel := onCancel()
	p := f.register(i, "chat", &live.RegisterOptions{OnCancel: onCancel})
	require.NoError(f, p.Done(f.ctx, nil))
	for _, noWait := range []bool{false, true} {
		v, err := p.Cancel(f.ctx, &live.CancelOptions{NoWait: noWait})
		require.NoError(f, err)
		require.Equal(f, streamhub.VerdictDone, v.Kind)
	}
	require.Empty(f, told)
	require.NoError(f, i.Remove(f.ctx, "chat"))
	v, err := p.Cancel(f.ctx, nil)
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictDeleted, v.Kind)
	_, err = i.Get(f.ctx, "chat")
	require.ErrorIs(f, err, streamhub.ErrNotFound, "the cancellation has left something")
}

// cancelWhileDead has an end although the producer never hears of it.
func cancelWhileDead(f *fixture) {
	o := &live.Options{CancelGrace: 200 * time.Millisecond}
	a, b := f.open(o), f.open(o)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	a.fate.dead.Store(true)
	v, err := f.get(b, "chat").Cancel(f.ctx, nil)
	require.NoError(f, err)
	require.Equal(f, streamhub.VerdictCancelled, v.Kind)
	texts, _ := f.read(f.get(b, "chat"), nil)
	require.Equal(f, []string{"1"}, texts)
	a.fate.dead.Store(false)
}

package livetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/live"
)

var registerCases = []namedCase{
	{"RegisterHeld", registerHeld},
	{"RegisterAgain", registerAgain},
	{"RegisterOnce", registerOnce},
	{"RegisterRace", registerRace},
	{"RegisterByKey", registerByKey},
	{"Takeover", takeover},
	{"TakeoverOfPending", takeoverOfPending},
	{"TakeoverRace", takeoverRace},
	{"TakeoverUnheard", takeoverUnheard},
	{"Names", names},
	{"RefusedOptions", refusedOptions},
	{"Metadata", metadata},
	{"Active", active},
	{"Await", await},
	{"SpacesAndStoresDoNotMeet", apart},
}

func registerHeld(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "one")
	for _, i := range []*instance{a, b} {
		none, q, err := i.Register(f.ctx, "chat", nil)
		require.NoError(f, err)
		require.Nil(f, none)
		require.Equal(f, p.Generation(), q.Generation())
		f.reader(q).gets("one")
	}
	require.NoError(f, p.Done(f.ctx, nil))
}

// registerAgain begins the next generation when the first has ended, which stays what it was.
func registerAgain(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	first := f.register(a, "chat", nil)
	f.publish(first, "old")
	require.NoError(f, first.Done(f.ctx, "answer"))
	second := f.register(b, "chat", nil)
	require.Greater(f, second.Generation(), first.Generation())
	f.publish(second, "new")
	require.Equal(f, second.Generation(), f.get(a, "chat").Generation())

	texts, v := f.read(first, nil)
	require.Equal(f, []string{"old"}, texts)
	require.Equal(f, streamhub.VerdictDone, v.Kind)
	require.JSONEq(f, `"answer"`, string(v.Output))
	f.closed(first.Publish(f.ctx, []byte("late")), streamhub.VerdictDone)
	require.NoError(f, second.Done(f.ctx, nil))
	texts, _ = f.read(f.get(a, "chat"), nil)
	require.Equal(f, []string{"new"}, texts)
}

func registerOnce(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	once := &live.RegisterOptions{Once: true}
	p := f.register(a, "job", once)
	require.NoError(f, p.Done(f.ctx, nil))
	none, q, err := b.Register(f.ctx, "job", once)
	require.NoError(f, err)
	require.Nil(f, none)
	require.Equal(f, p.Generation(), q.Generation())
	require.Equal(f, streamhub.VerdictDone, f.verdict(q).Kind)
	require.NoError(f, b.Remove(f.ctx, "job"))
	f.register(b, "job", once)
}

// registerByKey goes on with the generation that the key has begun, after the chunks that it has.
func registerByKey(f *fixture) {
	i := f.open(nil)
	o := &live.RegisterOptions{Key: "thisisakeyforoneregistration"}
	first := f.register(i, "chat", o)
	f.publish(first, "1", "2")
	second := f.register(i, "chat", o)
	require.Equal(f, first.Generation(), second.Generation())
	f.publish(second, "3")
	require.NoError(f, second.Done(f.ctx, nil))
	texts, _ := f.read(f.get(i, "chat"), nil)
	require.Equal(f, []string{"1", "2", "3"}, texts)

	// Each of them is served for itself, also when the other one is over.
	a, b := f.open(&fast), f.open(nil)
	told, onCancel := onCancel()
	o.OnCancel = onCancel
	first = f.register(a, "job", o)
	second = f.register(a, "job", o)
	_, _, err := first.HandOver(f.ctx)
	require.NoError(f, err)
	f.publish(second, "4")
	require.NoError(f, a.close())
	require.ErrorIs(f, f.called(told), streamhub.ErrShutdown)
	require.Equal(f, streamhub.VerdictLost, f.verdict(f.get(b, "job")).Kind)
}

// registerRace has one winner each time, also where a generation has just ended.
func registerRace(f *fixture) {
	instances := []*instance{f.open(nil), f.open(nil), f.open(nil)}
	var last uint64
	for range 20 {
		var (
			racing sync.WaitGroup
			mu     sync.Mutex
			won    []live.Producer
			lost   []live.Stream
		)
		for _, i := range instances {
			racing.Go(func() {
				p, current, err := i.Register(f.ctx, "race", nil)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					f.Error(err)
				case p != nil:
					won = append(won, p)
				default:
					lost = append(lost, current)
				}
			})
		}
		racing.Wait()
		require.Len(f, won, 1)
		require.Greater(f, won[0].Generation(), last)
		last = won[0].Generation()
		for _, s := range lost {
			require.Equal(f, last, s.Generation())
		}
		f.publish(won[0], "mine")
		require.NoError(f, won[0].Done(f.ctx, nil))
		texts, _ := f.read(won[0], nil)
		require.Equal(f, []string{"mine"}, texts)
	}
}

func takeover(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	told, f1 := onCancel()
	first := f.register(a, "chat", &live.RegisterOptions{OnCancel: f1, Metadata: "old"})
	f.publish(first, "1", "2")
	old := f.reader(f.get(b, "chat"))
	old.gets("1", "2")

	second := f.register(b, "chat", &live.RegisterOptions{Takeover: true})
	require.Greater(f, second.Generation(), first.Generation())
	require.Equal(f, []string{"1", "2"}, old.ends(streamhub.VerdictSuperseded))
	f.fenced(f.called(told), second.Generation(), first.Generation())
	require.Error(f, first.Context().Err())
	f.fenced(first.Publish(f.ctx, []byte("late")), second.Generation(), first.Generation())
	f.fenced(first.Done(f.ctx, nil), second.Generation(), first.Generation())
	f.fenced(first.SetMetadata(f.ctx, "late"), second.Generation(), first.Generation())
	require.NoError(f, first.Close(f.ctx))

	var text string
	had, err := second.Metadata(f.ctx, &text)
	require.NoError(f, err)
	require.False(f, had, "the metadata %q is the other one's", text)
	f.publish(second, "3")
	require.NoError(f, second.Done(f.ctx, nil))
	texts, _ := f.read(f.get(a, "chat"), nil)
	require.Equal(f, []string{"3"}, texts)
	texts, v := f.read(first, nil)
	require.Equal(f, []string{"1", "2"}, texts)
	require.Equal(f, streamhub.VerdictSuperseded, v.Kind)
	require.Empty(f, told, "OnCancel was called twice")
}

// takeoverOfPending: a verdict waits for chunks that no generation takes any more, and so ends with the reason.
func takeoverOfPending(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	for range 20 {
		first := f.register(a, "chat", &live.RegisterOptions{Takeover: true})
		second := f.register(b, "chat", &live.RegisterOptions{Takeover: true})
		_ = first.Publish(f.ctx, []byte("late"))
		f.fenced(first.Done(f.ctx, nil), second.Generation(), first.Generation())
	}
}

// takeoverUnheard ends the generation before at once, though the answer that named it was lost.
func takeoverUnheard(f *fixture) {
	a := f.open(&live.Options{Heartbeat: time.Hour})
	other := f.register(a, "other", nil)
	first := f.register(a, "chat", nil)
	f.publish(first, "old")
	conn := f.connect(f.T)
	f.eventually("the instance has said what it produces", func() bool {
		said, err := conn.HMGet(f.ctx, hotlog.Key(f.store, space, "lr"), "b").Result()
		return err == nil && said[0] != nil
	})
	a.fate.silent.Store(true)
	second := f.register(a, "chat", &live.RegisterOptions{Takeover: true})
	require.False(f, a.fate.silent.Load())
	_ = first.Publish(f.ctx, []byte("more"))
	f.fenced(first.Flush(f.ctx), second.Generation(), first.Generation())
	texts, v := f.read(first, nil)
	require.Equal(f, []string{"old"}, texts)
	require.Equal(f, streamhub.VerdictSuperseded, v.Kind)
	require.NoError(f, second.Done(f.ctx, nil))
	require.NoError(f, other.Done(f.ctx, nil))
}

// takeoverRace lets everybody take over while everybody publishes. All but the last producer are
// refused, and no generation holds what another one published.
func takeoverRace(f *fixture) {
	instances := []*instance{f.open(nil), f.open(nil)}
	var (
		racing    sync.WaitGroup
		mu        sync.Mutex
		producers []live.Producer
	)
	for _, i := range instances {
		racing.Go(func() {
			for range 10 {
				p, _, err := i.Register(f.ctx, "chat", &live.RegisterOptions{Takeover: true})
				if err != nil {
					f.Error(err)
					return
				}
				if p == nil {
					continue // the other one took over from it before it had begun
				}
				mu.Lock()
				producers = append(producers, p)
				mu.Unlock()
				if p.Publish(f.ctx, fmt.Append(nil, p.Generation())) == nil {
					_ = p.Flush(f.ctx) // refused or not
				}
			}
		})
	}
	racing.Wait()
	slices.SortFunc(producers, func(p, q live.Producer) int { return cmp.Compare(p.Generation(), q.Generation()) })
	last := producers[len(producers)-1]
	require.Equal(f, last.Generation(), f.get(instances[0], "chat").Generation())
	for _, p := range producers[:len(producers)-1] {
		var v streamhub.Verdict
		var texts []string
		texts, v = f.read(p, nil)
		require.Equal(f, streamhub.VerdictSuperseded, v.Kind)
		require.LessOrEqual(f, len(texts), 1)
		for _, text := range texts {
			require.Equal(f, fmt.Sprint(p.Generation()), text)
		}
		// Publish may come before its process has heard of it, Flush may not.
		require.ErrorIs(f, cmp.Or(p.Publish(f.ctx, []byte("late")), p.Flush(f.ctx)), streamhub.ErrFenced)
	}
	require.NoError(f, last.Done(f.ctx, nil))
	texts, _ := f.read(last, nil)
	require.Equal(f, []string{fmt.Sprint(last.Generation())}, texts)
}

func names(f *fixture) {
	i := f.open(nil)
	ids := []string{
		"a", "A", "a~1", "a~1~b", "~", "~~", "a:b", "{a}", "}", "a b", "%61", "\x00", "\xff", "ä", "a\nb",
		strings.Repeat("x", live.MaxIDLength), strings.Repeat("}", live.MaxIDLength),
	}
	producers := map[string]live.Producer{}
	for _, id := range ids {
		producers[id] = f.register(i, id, &live.RegisterOptions{Metadata: []byte(id)})
		f.publish(producers[id], id)
	}
	running, err := i.Active(f.ctx, ids)
	require.NoError(f, err)
	for _, id := range ids {
		require.True(f, running[id], "%q", id)
		var text []byte // in JSON not as text, which the id need not be
		_, err := f.get(i, id).Metadata(f.ctx, &text)
		require.NoError(f, err)
		require.Equal(f, id, string(text))
		require.NoError(f, producers[id].Done(f.ctx, nil))
		texts, _ := f.read(f.get(i, id), nil)
		require.Equal(f, []string{id}, texts)
	}
	for _, id := range []string{"", strings.Repeat("x", live.MaxIDLength+1)} {
		_, _, err := i.Register(f.ctx, id, nil)
		require.ErrorIs(f, err, streamhub.ErrInvalidName)
		_, err = i.Get(f.ctx, id)
		require.ErrorIs(f, err, streamhub.ErrInvalidName)
		_, err = i.Active(f.ctx, []string{id})
		require.ErrorIs(f, err, streamhub.ErrInvalidName)
		require.ErrorIs(f, i.Remove(f.ctx, id), streamhub.ErrInvalidName)
		_, err = i.Generation(id, 1)
		require.ErrorIs(f, err, streamhub.ErrInvalidName)
	}
	_, err = i.Get(f.ctx, "nobody")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

func refusedOptions(f *fixture) {
	i := f.open(nil)
	for _, o := range []*live.RegisterOptions{
		{Once: true, Takeover: true},
		{Metadata: func() {}}, {Metadata: json.RawMessage("\"\xff\"")},
	} {
		_, _, err := i.Register(f.ctx, "chat", o)
		require.ErrorIs(f, err, streamhub.ErrInvalidArgument)
	}
	_, _, err := i.Register(f.ctx, "chat", &live.RegisterOptions{Metadata: strings.Repeat("x", 65<<10)})
	require.ErrorIs(f, err, streamhub.ErrTooLarge)
	_, _, err = i.manager.Streams(f.store, "").Register(f.ctx, "chat", nil)
	require.ErrorIs(f, err, streamhub.ErrInvalidName)
	_, err = i.Get(f.ctx, "chat")
	require.ErrorIs(f, err, streamhub.ErrNotFound, "what was refused has left something")
}

func metadata(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	type title struct{ Title string }
	p := f.register(a, "chat", &live.RegisterOptions{Metadata: title{"first"}})
	var got title
	had, err := f.get(b, "chat").Metadata(f.ctx, &got)
	require.NoError(f, err)
	require.True(f, had)
	require.Equal(f, title{"first"}, got)
	require.NoError(f, p.SetMetadata(f.ctx, title{"second"}))
	require.ErrorIs(f, p.SetMetadata(f.ctx, strings.Repeat("x", 65<<10)), streamhub.ErrTooLarge)
	status, err := f.get(b, "chat").Status(f.ctx)
	require.NoError(f, err)
	require.JSONEq(f, `{"Title":"second"}`, string(status.Metadata))
	require.NoError(f, p.Done(f.ctx, nil))
	f.closed(p.SetMetadata(f.ctx, title{"third"}), streamhub.VerdictDone)
	_, err = f.get(b, "chat").Metadata(f.ctx, &got)
	require.NoError(f, err)
	require.Equal(f, title{"second"}, got, "it is kept with what has ended")
}

func active(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.register(a, "running", nil)
	require.NoError(f, f.register(a, "over", nil).Done(f.ctx, nil))
	running, err := b.Active(f.ctx, []string{"running", "over", "never"})
	require.NoError(f, err)
	require.Equal(f, map[string]bool{"running": true, "over": false, "never": false}, running)
	none, err := b.Active(f.ctx, nil)
	require.NoError(f, err)
	require.Empty(f, none)
	require.NoError(f, p.Done(f.ctx, nil))
	running, err = b.Active(f.ctx, []string{"running"})
	require.NoError(f, err)
	require.False(f, running["running"])
}

func apart(f *fixture) {
	i := f.open(nil)
	others := []live.Streams{i.manager.Streams(f.store, "other"), i.manager.Streams(uuid.New(), space)}
	p := f.register(i, "chat", nil)
	for _, o := range others {
		_, err := o.Get(f.ctx, "chat")
		require.ErrorIs(f, err, streamhub.ErrNotFound)
		q, _, err := o.Register(f.ctx, "chat", nil)
		require.NoError(f, err)
		require.NotNil(f, q)
		require.NoError(f, q.Done(f.ctx, nil))
		require.NoError(f, o.Remove(f.ctx, "chat"))
	}
	f.publish(p, "still there")
	require.NoError(f, p.Done(f.ctx, nil))
}

// await waits for streams that are registered later, elsewhere, and for no others.
func await(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	type found struct {
		stream live.Stream
		err    error
	}
	wait := func(ctx context.Context, id string) <-chan found {
		c := make(chan found, 1)
		go func() {
			s, err := b.Await(ctx, id)
			c <- found{s, err}
		}()
		return c
	}
	never, giveUp := context.WithCancel(f.ctx)
	gone := wait(never, "never")
	first, second, other := wait(f.ctx, "soon"), wait(f.ctx, "soon"), wait(f.ctx, "other")
	p := f.register(a, "soon", nil)
	for _, c := range []<-chan found{first, second} {
		r := <-c
		require.NoError(f, r.err)
		require.Equal(f, p.Generation(), r.stream.Generation())
	}
	f.publish(p, "one")
	s, err := b.Await(f.ctx, "soon") // it is there
	require.NoError(f, err)
	f.reader(s).gets("one")
	require.Empty(f, other)
	giveUp()
	require.ErrorIs(f, (<-gone).err, context.Canceled)

	// An instance that cannot reach Redis waits on.
	b.fate.dead.Store(true)
	q := f.register(a, "other", nil)
	f.pass(300 * time.Millisecond)
	require.Empty(f, other)
	b.fate.dead.Store(false)
	r := <-other
	require.NoError(f, r.err)
	require.Equal(f, q.Generation(), r.stream.Generation())

	gone = wait(f.ctx, "never")
	f.eventually("it waits", func() bool { return b.manager.Waiting() == 1 })
	require.NoError(f, b.close())
	require.ErrorIs(f, (<-gone).err, streamhub.ErrShutdown)
	_, err = b.Await(f.ctx, "never")
	require.ErrorIs(f, err, streamhub.ErrShutdown)
	_, err = a.Await(f.ctx, "")
	require.ErrorIs(f, err, streamhub.ErrInvalidName)
}

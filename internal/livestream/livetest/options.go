package livetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var optionCases = []namedCase{
	{"OptionsOfRegister", optionsOfRegister},
	{"OptionsOfReaders", optionsOfReaders},
}

// A choice makes calls with an option or without it, and returns an answer in which that shows.
type choice[O any] struct {
	with func(*O)
	call func(i *instance, id string, o *O) string
}

// elsewhere are the options that a case of their own holds over every transport, because they take time, or that no
// transport has.
var elsewhere = map[string]string{
	"RegisterOptions.CancelUnwatched": "CancelUnwatched",
	"RegisterOptions.IdleTTL":         "IdleTTL",
	"SubscribeOptions.Buffer":         "", // it is the capacity of a channel of the process
	"ListOptions.AfterID":             "List",
	"ListOptions.AfterGeneration":     "List",
}

// named are the names of all cases.
var named = map[string]bool{}

func init() {
	for _, c := range slices.Concat(groups...) {
		named[c.name] = true
	}
}

// options makes the calls of each choice without the option, twice, and with it, and demands that only that answer is
// another one. Every exported field of O has a choice, or is held elsewhere.
func options[O any](f *fixture, i *instance, choices map[string]choice[O]) {
	f.Helper()
	typ := reflect.TypeFor[O]()
	var fields []string
	for _, field := range reflect.VisibleFields(typ) {
		fields = append(fields, field.Name)
		name, held := elsewhere[typ.Name()+"."+field.Name]
		require.NotEqual(f, held, choices[field.Name].call != nil, "%v.%s needs a choice, or a case of its own", typ, field.Name)
		if name != "" {
			require.True(f, named[name] && !inside[name], "%s is a case that every transport has", name)
		}
	}
	require.Subset(f, fields, slices.Collect(maps.Keys(choices)))
	for name, c := range choices {
		if slices.Contains(f.skip, typ.Name()+"."+name) {
			continue
		}
		id := strings.ToLower(fmt.Sprint(typ.Name(), "-", name))
		var o O
		c.with(&o)
		without := c.call(i, id+"-without", new(O))
		require.Equal(f, without, c.call(i, id+"-again", new(O)), "%v.%s", typ, name)
		require.NotEqual(f, without, c.call(i, id+"-with", &o), "%v.%s has no effect", typ, name)
	}
}

// key is one that registrations and messages may have.
const key = "0123456789abcdefABCDEF"

// whose says what a registration found: nothing in its way, another producer, or an error.
func whose(p live.Producer, current live.Stream, err error) string {
	return fmt.Sprint(p != nil, current != nil, streamhub.CodeOf(err))
}

func optionsOfRegister(f *fixture) {
	// Registered, described, and registered once more with some of the options.
	described := func(i *instance, id string, o *live.RegisterOptions) string {
		p := f.register(i, id, o)
		defer func() { require.NoError(f, p.Close(f.ctx)) }()
		status, err := f.get(i, id).Status(f.ctx)
		require.NoError(f, err)
		again, current, err := i.Register(f.ctx, id, &live.RegisterOptions{Key: o.Key, ContentType: o.ContentType})
		return fmt.Sprint(status.By, string(status.Metadata), whose(again, current, err))
	}
	ended := func(i *instance, id string, o *live.RegisterOptions) string {
		require.NoError(f, f.register(i, id, nil).Done(f.ctx, nil))
		return whose(i.Register(f.ctx, id, o))
	}
	choices := map[string]choice[live.RegisterOptions]{
		"Takeover": {func(o *live.RegisterOptions) { o.Takeover = true }, func(i *instance, id string, o *live.RegisterOptions) string {
			f.register(i, id, nil)
			return whose(i.Register(f.ctx, id, o))
		}},
		"Once":     {func(o *live.RegisterOptions) { o.Once = true }, ended},
		"Metadata": {func(o *live.RegisterOptions) { o.Metadata = "some" }, described},
		"By":       {func(o *live.RegisterOptions) { o.By = "anna" }, described},
		"Key":      {func(o *live.RegisterOptions) { o.Key = key }, described},
		"ContentType": {func(o *live.RegisterOptions) { o.ContentType = "text/plain" }, func(i *instance, id string, o *live.RegisterOptions) string {
			f.register(i, id, &live.RegisterOptions{Key: key})
			own := *o
			own.Key = key
			return whose(i.Register(f.ctx, id, &own)) // it is no repeat then
		}},
		"OnCancel": {func(o *live.RegisterOptions) { o.OnCancel = func(error) {} }, func(i *instance, id string, o *live.RegisterOptions) string {
			told, onCancel := onCancel()
			if o.OnCancel != nil {
				o.OnCancel = onCancel
			}
			p := f.register(i, id, o)
			_, err := p.Cancel(f.ctx, &live.CancelOptions{NoWait: true})
			require.NoError(f, err)
			answer := ""
			if o.OnCancel != nil {
				answer = fmt.Sprint(f.called(told))
			}
			require.NoError(f, p.Close(f.ctx))
			return answer
		}},
		"EndedTTL": {func(o *live.RegisterOptions) { o.EndedTTL = 200 * time.Millisecond }, func(i *instance, id string, o *live.RegisterOptions) string {
			require.NoError(f, f.register(i, id, o).Done(f.ctx, nil))
			if o.EndedTTL != 0 {
				f.eventually("it is forgotten", func() bool {
					_, err := i.Get(f.ctx, id)
					return err != nil
				})
			}
			_, err := i.Get(f.ctx, id)
			return string(streamhub.CodeOf(err))
		}},
	}
	i := f.open(nil)
	options(f, i, choices)
}

func optionsOfReaders(f *fixture) {
	i := f.open(nil)
	// published is a stream with two chunks that has ended.
	published := func(id string) live.Stream {
		p := f.register(i, id, nil)
		f.publish(p, "1", "2")
		require.NoError(f, p.Done(f.ctx, nil))
		return f.get(i, id)
	}
	subscribed := func(_ *instance, id string, o *live.SubscribeOptions) (answer string) {
		s := published(id)
		own := *o
		if own.Cursor != "" {
			status, err := s.Status(f.ctx)
			require.NoError(f, err)
			own.Cursor = status.Cursor
		}
		for c, err := range s.Subscribe(f.ctx, &own) {
			answer += fmt.Sprintln(string(c.Data), c.Replayed, errors.Is(err, streamhub.ErrClosed))
		}
		return answer
	}
	options(f, i, map[string]choice[live.SubscribeOptions]{
		"Cursor":      {func(o *live.SubscribeOptions) { o.Cursor = "that of the last chunk" }, subscribed},
		"BatchReplay": {func(o *live.SubscribeOptions) { o.BatchReplay = true }, subscribed},
	})
	followed := func(_ *instance, id string, o *live.FollowOptions) (answer string) {
		published(id)
		again := published(id)
		own, enough := *o, 2
		if own.Cursor != "" {
			for u, err := range i.Follow(f.ctx, []string{id}, nil) {
				require.NoError(f, err)
				own.Cursor = u.Cursor
				break
			}
		}
		for u, err := range i.Follow(f.ctx, []string{id}, &own) {
			require.NoError(f, err)
			answer += fmt.Sprintln(string(u.Data), u.Generation == again.Generation())
			if enough--; enough == 0 {
				break
			}
		}
		return answer
	}
	options(f, i, map[string]choice[live.FollowOptions]{
		"Cursor":      {func(o *live.FollowOptions) { o.Cursor = "that of the first chunk" }, followed},
		"Generations": {func(o *live.FollowOptions) { o.Generations = true }, followed},
	})
	sent := func(i *instance, id string, o *live.SendOptions) (answer string) {
		p := f.register(i, id, nil)
		s := f.get(i, id)
		for _, text := range []string{"a", "a", "b"} {
			sequence, err := s.Send(f.ctx, []byte(text), o)
			answer += fmt.Sprintln(sequence, streamhub.CodeOf(err))
		}
		for m, err := range p.Messages(f.ctx, 0) {
			require.NoError(f, err)
			answer += fmt.Sprintln(m.By, m.Once)
			break
		}
		require.NoError(f, p.Done(f.ctx, nil))
		return answer
	}
	options(f, i, map[string]choice[live.SendOptions]{
		"By":   {func(o *live.SendOptions) { o.By = "anna" }, sent},
		"Once": {func(o *live.SendOptions) { o.Once = "question" }, sent},
		"Key":  {func(o *live.SendOptions) { o.Key = key }, sent},
	})
	cancelled := func(i *instance, id string, o *live.CancelOptions) string {
		p := f.register(i, id, nil)
		own := *o
		asked := make(chan string, 1)
		go func() {
			<-p.Context().Done()
			asked <- fmt.Sprint(context.Cause(p.Context()))
			if !own.NoWait {
				_ = p.Close(f.ctx)
			}
		}()
		v, err := f.get(i, id).Cancel(f.ctx, &own)
		require.NoError(f, err)
		answer := fmt.Sprint(v.Kind, <-asked)
		require.NoError(f, p.Close(f.ctx))
		return answer
	}
	options(f, i, map[string]choice[live.CancelOptions]{
		"By":     {func(o *live.CancelOptions) { o.By = "anna" }, cancelled},
		"Reason": {func(o *live.CancelOptions) { o.Reason = "enough" }, cancelled},
		"NoWait": {func(o *live.CancelOptions) { o.NoWait = true }, cancelled},
	})
	options(f, i, map[string]choice[live.ListOptions]{})
}

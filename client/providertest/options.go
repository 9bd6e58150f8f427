package providertest

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// A choice is one option of a call: with it the answer differs from that without it, so a transport that drops it
// is found. Where base is nil, all other options are at their zero values.
type choice[O any] struct {
	base, with func(*O)
}

// unseen are the options whose effect no answer shows, by "<type>.<field>", with the reason.
var unseen = map[string]string{
	"AppendOptions.Durability.Timeout": "it shows in how long an append waits; internal/wire#TestCarried carries it",
	"CreateOptions.Origin":             "clients of a gateway do not see it; internal/wire#TestCarried carries it",
}

// options makes a call without and with each option, in a space of its own. Without it the answer is the same each time.
func options[O any](t *testing.T, call func(space string, o *O) string, choices map[string]choice[O]) {
	t.Helper()
	for field, c := range choices {
		answer := func(name string, more func(*O)) string {
			o := new(O)
			if c.base != nil {
				c.base(o)
			}
			if more != nil {
				more(o)
			}
			return call(field+" "+name, o)
		}
		without := answer("without", nil)
		require.Equal(t, without, answer("without again", nil), field)
		require.NotEqual(t, without, answer("with", c.with), "%s has no effect", field)
	}
}

// covered checks that every exported field of O, and of the structs of options that it points to, has a choice or a
// reason why it has none.
func covered[O any](t *testing.T, choices map[string]choice[O]) {
	t.Helper()
	typ := reflect.TypeFor[O]()
	fields := fieldsOf(typ, "")
	for _, field := range fields {
		_, has := choices[field]
		require.NotEqual(t, has, unseen[typ.Name()+"."+field] != "", "%v.%s needs a choice, or a reason", typ, field)
	}
	require.Subset(t, fields, slices.Collect(maps.Keys(choices)))
}

func fieldsOf(typ reflect.Type, prefix string) (names []string) {
	for _, f := range reflect.VisibleFields(typ) {
		if !f.IsExported() {
			continue
		}
		if f.Type == reflect.TypeFor[*streamhub.Producer]() || f.Type == reflect.TypeFor[*streamhub.Durability]() {
			names = append(names, fieldsOf(f.Type.Elem(), prefix+f.Name+".")...)
			continue
		}
		names = append(names, prefix+f.Name)
	}
	return names
}

func testAppendOptions(t *testing.T, s streamhub.Store) {
	// The options twice, because some show in a repeat, and then others.
	appends := func(space, segment string, o *streamhub.AppendOptions, one func(o *streamhub.AppendOptions) (streamhub.AppendResult, error)) (answer string) {
		if !o.MustExist {
			_, err := s.Append(ctx(t), space, segment, records("1", "2"), &streamhub.AppendOptions{StreamSeq: "m"})
			require.NoError(t, err)
		}
		later := &streamhub.AppendOptions{Generation: o.Generation}
		if o.Producer != nil {
			later.Producer = &streamhub.Producer{ID: "p"}
		}
		for _, o := range []*streamhub.AppendOptions{o, o, later} {
			r, err := one(o)
			answer += fmt.Sprintln(streamhub.CodeOf(err), r.First, r.Last, r.Repeated, r.Created, r.Closed, r.Generation, r.TRX.ID == o.TRX)
		}
		status, err := s.Status(ctx(t), space, segment)
		return answer + fmt.Sprintln(streamhub.CodeOf(err), status.LastSequence, status.Verdict, status.Generation, status.ContentType)
	}
	named := func(o *streamhub.AppendOptions) { o.Producer = &streamhub.Producer{ID: "p"} }
	choices := map[string]choice[streamhub.AppendOptions]{
		"ExpectedSequence": {with: func(o *streamhub.AppendOptions) { o.ExpectedSequence = 2 }},
		"Generation":       {with: func(o *streamhub.AppendOptions) { o.Generation = 7 }},
		"Producer.ID":      {base: named, with: func(o *streamhub.AppendOptions) { o.Producer.ID = "q" }},
		"Producer.Epoch":   {base: named, with: func(o *streamhub.AppendOptions) { o.Producer.Epoch = 2 }},
		"Producer.Seq":     {base: named, with: func(o *streamhub.AppendOptions) { o.Producer.Seq = 5 }},
		"TRX":              {with: func(o *streamhub.AppendOptions) { o.TRX = uuid.New() }},
		"Close":            {with: func(o *streamhub.AppendOptions) { o.Close = &streamhub.Verdict{Kind: streamhub.VerdictDone} }},
		"ContentType":      {with: func(o *streamhub.AppendOptions) { o.ContentType = "text/plain" }},
		"StreamSeq":        {with: func(o *streamhub.AppendOptions) { o.StreamSeq = "a" }},
		"MustExist":        {with: func(o *streamhub.AppendOptions) { o.MustExist = true }},
		"Incarnation":      {with: func(o *streamhub.AppendOptions) { o.Incarnation = 1 }},
		"CheckOnly":        {with: func(o *streamhub.AppendOptions) { o.CheckOnly = true }},
		"Durability.Replicas": {
			base: func(o *streamhub.AppendOptions) { o.Durability = &streamhub.Durability{Timeout: time.Millisecond} },
			with: func(o *streamhub.AppendOptions) { o.Durability.Replicas = 1 },
		},
		"Durability.Fsync": {
			base: func(o *streamhub.AppendOptions) { o.Durability = &streamhub.Durability{Timeout: time.Millisecond} },
			with: func(o *streamhub.AppendOptions) { o.Durability.Fsync = true },
		},
	}
	covered(t, choices)
	options(t, func(space string, o *streamhub.AppendOptions) string {
		return appends(space, "seg", o, func(o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
			return s.Append(ctx(t), space, "seg", records("3"), o)
		})
	}, choices)
	options(t, func(space string, o *streamhub.AppendOptions) string {
		return appends(space, "all", o, func(o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
			results, errs := s.AppendAll(ctx(t), []streamhub.Append{{Space: space, Segment: "all", Records: records("3"), Options: o}})
			return results[0], errs[0]
		})
	}, choices)
	delete(choices, "Close") // which the call says itself, and that the segment exists
	delete(choices, "MustExist")
	options(t, func(space string, o *streamhub.AppendOptions) string {
		return appends(space, "close", o, func(o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
			return s.CloseSegment(ctx(t), space, "close", streamhub.Verdict{Kind: streamhub.VerdictFailed}, o)
		})
	}, choices)
}

func testCreateOptions(t *testing.T, s streamhub.Store) {
	one := uint64(1)
	fork := func(o *streamhub.CreateOptions) { o.ForkOf = "parent" }
	choices := map[string]choice[streamhub.CreateOptions]{
		"ContentType":     {with: func(o *streamhub.CreateOptions) { o.ContentType = "text/plain" }},
		"TTL":             {with: func(o *streamhub.CreateOptions) { o.TTL = time.Hour }},
		"ExpiresAt":       {with: func(o *streamhub.CreateOptions) { o.ExpiresAt = time.Now().Add(time.Hour) }},
		"Closed":          {with: func(o *streamhub.CreateOptions) { o.Closed = &streamhub.Verdict{Kind: streamhub.VerdictDone} }},
		"Generation":      {with: func(o *streamhub.CreateOptions) { o.Generation = 7 }},
		"Records":         {with: func(o *streamhub.CreateOptions) { o.Records = records("1") }},
		"ForkOf":          {with: fork},
		"ForkAt":          {base: fork, with: func(o *streamhub.CreateOptions) { o.ForkAt = &one }},
		"ForkIncarnation": {base: fork, with: func(o *streamhub.CreateOptions) { o.ForkIncarnation = 1 }},
	}
	covered(t, choices)
	options(t, func(space string, o *streamhub.CreateOptions) string {
		add(t, s, space, "parent", "1", "2")
		status, created, err := s.Create(ctx(t), space, "seg", o)
		return fmt.Sprintln(streamhub.CodeOf(err), created, status.ContentType, status.TTL, status.ExpiresAt, status.Verdict, status.Generation,
			status.LastSequence, status.Parent, status.ForkedAt)
	}, choices)
}

func testReadOptions(t *testing.T, s streamhub.Store) {
	// The entries are the same for every choice: bounds name them.
	add(t, s, "space", "seg", "1")
	add(t, s, "space", "seg", "2")
	add(t, s, "space", "seg", "3")
	entries := all(t, s.ConsumeSegment(ctx(t), "space", "seg", nil))
	first := entries[0]
	along := all(t, s.ConsumeSpace(ctx(t), "space", nil))[0]
	answer := func(entries []streamhub.Entry, err error) string {
		return fmt.Sprintln(payloads(entries), streamhub.CodeOf(err))
	}
	bounds := map[string]choice[streamhub.ReadOptions]{
		"Cursor":       {with: func(o *streamhub.ReadOptions) { o.Cursor = first.Cursor() }},
		"FromSequence": {with: func(o *streamhub.ReadOptions) { o.FromSequence = 2 }},
		"ToSequence":   {with: func(o *streamhub.ReadOptions) { o.ToSequence = 2 }},
		"After":        {with: func(o *streamhub.ReadOptions) { o.After = entries[2].Timestamp }},
		"Until":        {with: func(o *streamhub.ReadOptions) { o.Until = first.Timestamp.Add(-time.Millisecond) }},
		"Limit":        {with: func(o *streamhub.ReadOptions) { o.Limit = 1 }},
	}
	covered(t, bounds)
	options(t, func(_ string, o *streamhub.ReadOptions) string {
		return answer(upTo(s.ConsumeSegment(ctx(t), "space", "seg", o), 10))
	}, bounds)
	bounds["Cursor"] = choice[streamhub.ReadOptions]{with: func(o *streamhub.ReadOptions) { o.Cursor = along.Cursor() }}
	options(t, func(_ string, o *streamhub.ReadOptions) string {
		return answer(upTo(s.ConsumeSpace(ctx(t), "space", o), 10))
	}, bounds)
	options(t, func(_ string, o *streamhub.ReadOptions) string {
		return answer(upTo(s.Consume(ctx(t), map[string]streamhub.Cursor{"space": ""}, o), 10))
	}, bounds)
}

func testFollowOptions(t *testing.T, s streamhub.Store) {
	// Each follower ends after two entries. One of what comes needs entries to come.
	follow := func(space string, o *streamhub.FollowOptions, along bool) string {
		add(t, s, space, "seg", "1", "2", "3")
		ctx := ctx(t)
		if o.Cursor != "" {
			entries := all(t, s.ConsumeSegment(ctx, space, "seg", nil))
			if along {
				entries = all(t, s.ConsumeSpace(ctx, space, nil))
			}
			o.Cursor = entries[0].Cursor()
		}
		items := s.FollowSegment(ctx, space, "seg", o)
		if along {
			items = s.FollowSpace(ctx, space, o)
		}
		seen := make(chan string, 1)
		go func() {
			entries, err := upTo(items, 2)
			seen <- fmt.Sprintln(payloads(entries), streamhub.CodeOf(err))
		}()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case answer := <-seen:
				return answer
			case <-tick.C:
				if o.Live {
					add(t, s, space, "seg", "later")
				}
			}
		}
	}
	begins := map[string]choice[streamhub.FollowOptions]{
		"Cursor":       {with: func(o *streamhub.FollowOptions) { o.Cursor = "that of the first entry" }},
		"FromSequence": {with: func(o *streamhub.FollowOptions) { o.FromSequence = 2 }},
		"Live":         {with: func(o *streamhub.FollowOptions) { o.Live = true }},
		"Limit":        {with: func(o *streamhub.FollowOptions) { o.Limit = 1 }},
	}
	covered(t, begins)
	options(t, func(space string, o *streamhub.FollowOptions) string { return follow(space, o, false) }, begins)
	options(t, func(space string, o *streamhub.FollowOptions) string { return follow(space+" along", o, true) }, begins)
}

// upTo collects n items at most, or up to an error.
func upTo[T any](items iter.Seq2[T, error], n int) (list []T, err error) {
	for item, err := range items {
		if err != nil {
			return list, err
		}
		if list = append(list, item); len(list) == n {
			break
		}
	}
	return list, nil
}

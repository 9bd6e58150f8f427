package livetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/live"
)

var severalCases = []namedCase{
	{"Several", several},
	{"SeveralResume", severalResume},
	{"SeveralEarly", severalEarly},
	{"SeveralGenerations", severalGenerations},
	{"SeveralSuperseded", severalSuperseded},
	{"SeveralRefused", severalRefused},
	{"SeveralEnough", severalEnough},
	{"SeveralUnreadable", severalUnreadable},
	{"SeveralShutdown", severalShutdown},
	{"List", list},
}

// A seen is what a reader of several streams got: for each id its chunks, and its verdicts after them.
type seen struct {
	texts  map[string][]string
	ends   map[string][]streamhub.VerdictKind
	cursor streamhub.Cursor
}

// several reads until the end, or until enough says so.
func (f *fixture) several(s live.Streams, o *live.FollowOptions, enough func(*seen) bool, ids ...string) *seen {
	f.Helper()
	got := &seen{texts: map[string][]string{}, ends: map[string][]streamhub.VerdictKind{}}
	last := map[string]uint64{}
	for u, err := range s.Follow(f.ctx, ids, o) {
		require.NoError(f, err)
		require.NoError(f, u.Err)
		require.Contains(f, ids, u.ID)
		key := fmt.Sprint(u.ID, "~", u.Generation)
		if u.Verdict != nil {
			got.ends[u.ID] = append(got.ends[u.ID], u.Verdict.Kind)
		} else {
			if before := last[key]; before != 0 {
				require.Equal(f, before+1, u.Sequence, "chunks of %s without gap and repeat", key)
			}
			last[key] = u.Sequence
			require.NotEqual(f, got.cursor, u.Cursor)
			got.cursor = u.Cursor
			got.texts[u.ID] = append(got.texts[u.ID], string(u.Data))
		}
		if enough != nil && enough(got) {
			break
		}
	}
	return got
}

// several gives what is stored of some streams and what comes, and nothing of others.
func several(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p, q, other := f.register(a, "p", nil), f.register(b, "q~1", nil), f.register(a, "other", nil)
	f.publish(p, "p1", "p2")
	f.publish(other, "no")
	f.publish(q, "q1")
	done := make(chan *seen)
	go func() {
		step := 0
		done <- f.several(b, nil, func(s *seen) bool {
			if step == 0 && len(s.texts["p"]) == 2 && len(s.texts["q~1"]) == 1 {
				step = 1
				go func() {
					_ = p.Publish(f.ctx, []byte("p3"))
					_ = other.Publish(f.ctx, []byte("no"))
					_ = q.Publish(f.ctx, []byte("q2"))
					_ = p.Done(f.ctx, nil)
					_ = q.Fail(f.ctx, errors.New("broken"))
				}()
			}
			return false
		}, "p", "q~1")
	}()
	got := <-done
	require.Equal(f, map[string][]string{"p": {"p1", "p2", "p3"}, "q~1": {"q1", "q2"}}, got.texts)
	require.Equal(f, map[string][]streamhub.VerdictKind{"p": {streamhub.VerdictDone}, "q~1": {streamhub.VerdictFailed}}, got.ends)
	// All of it again, now that it is stored.
	again := f.several(a, nil, nil, "p", "q~1")
	require.Equal(f, got.texts, again.texts)
	require.Equal(f, got.ends, again.ends)
	require.NoError(f, other.Done(f.ctx, nil))
}

// severalResume stops a reader after every number of updates, on another instance each time.
func severalResume(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p, q := f.register(a, "p", nil), f.register(b, "q", nil)
	var want []string
	for n := range 6 {
		f.publish(p, fmt.Sprint("p", n))
		f.publish(q, fmt.Sprint("q", n), fmt.Sprint("q", n, "'"))
		want = append(want, fmt.Sprint("p", n), fmt.Sprint("q", n), fmt.Sprint("q", n, "'"))
	}
	require.NoError(f, p.Done(f.ctx, nil))
	var got []string
	cursor := streamhub.Cursor("")
	for n := 1; len(got) < len(want); n++ {
		where := []*instance{a, b}[n%2]
		left := n%3 + 1
		for u, err := range where.Follow(f.ctx, []string{"p", "q"}, &live.FollowOptions{Cursor: cursor}) {
			require.NoError(f, err)
			if u.Verdict != nil {
				require.Equal(f, "p", u.ID)
				continue
			}
			got, cursor = append(got, string(u.Data)), u.Cursor
			if left--; left == 0 || len(got) == len(want) {
				break
			}
		}
	}
	require.Equal(f, want, got, "in the order of the space")
	require.NoError(f, q.Done(f.ctx, nil))
	rest := f.several(b, &live.FollowOptions{Cursor: cursor}, nil, "p", "q")
	require.Empty(f, rest.texts)
	require.Equal(f, []streamhub.VerdictKind{streamhub.VerdictDone}, rest.ends["q"])
}

// severalEarly waits for streams that have not begun. One ends without a chunk.
func severalEarly(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	done := make(chan *seen)
	go func() { done <- f.several(b, nil, nil, "early", "empty") }()
	p := f.register(a, "early", nil)
	f.publish(p, "1", "2")
	require.NoError(f, p.Done(f.ctx, nil))
	require.NoError(f, f.register(a, "empty", nil).Close(f.ctx))
	got := <-done
	require.Equal(f, map[string][]string{"early": {"1", "2"}}, got.texts)
	require.Equal(f, map[string][]streamhub.VerdictKind{"early": {streamhub.VerdictDone}, "empty": {streamhub.VerdictFailed}}, got.ends)
}

// severalGenerations gives all generations that are kept and those that come.
func severalGenerations(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	for n := range 3 {
		p := f.register(a, "chat", nil)
		f.publish(p, fmt.Sprint(n, "a"), fmt.Sprint(n, "b"))
		require.NoError(f, p.Done(f.ctx, nil))
	}
	only := f.several(b, nil, nil, "chat")
	require.Equal(f, []string{"2a", "2b"}, only.texts["chat"], "without the option only the current one")
	began := false
	got := f.several(b, &live.FollowOptions{Generations: true}, func(s *seen) bool {
		if len(s.ends["chat"]) == 3 && !began {
			began = true
			p := f.register(a, "chat", nil)
			f.publish(p, "3a")
			require.NoError(f, p.Done(f.ctx, nil))
		}
		return len(s.ends["chat"]) == 4
	}, "chat")
	require.Equal(f, "0a 0b 1a 1b 2a 2b 3a", strings.Join(got.texts["chat"], " "))
}

// severalSuperseded goes on with the generation that took over.
func severalSuperseded(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	f.publish(f.register(a, "chat", nil), "old")
	took := false
	got := f.several(b, nil, func(s *seen) bool {
		if !took {
			took = true
			p := f.register(a, "chat", &live.RegisterOptions{Takeover: true})
			f.publish(p, "new")
			require.NoError(f, p.Done(f.ctx, nil))
		}
		return false
	}, "chat")
	require.Equal(f, []string{"old", "new"}, got.texts["chat"])
	require.ElementsMatch(f, []streamhub.VerdictKind{streamhub.VerdictSuperseded, streamhub.VerdictDone}, got.ends["chat"])
}

func severalRefused(f *fixture) {
	a := f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	refused := func(want error, o *live.FollowOptions, ids ...string) {
		f.Helper()
		for _, err := range a.Follow(f.ctx, ids, o) {
			require.ErrorIs(f, err, want)
			return
		}
		f.Fatal("it was not refused")
	}
	refused(streamhub.ErrInvalidArgument, nil)
	refused(streamhub.ErrInvalidArgument, nil, make([]string, live.MaxFollowed+1)...)
	refused(streamhub.ErrInvalidName, nil, "chat", "")
	refused(streamhub.ErrInvalidName, nil, strings.Repeat("x", live.MaxIDLength+1))
	refused(streamhub.ErrInvalidCursor, &live.FollowOptions{Cursor: "nonsense"}, "chat")
	for c, err := range f.get(a, "chat").Subscribe(f.ctx, nil) {
		require.NoError(f, err)
		refused(streamhub.ErrInvalidCursor, &live.FollowOptions{Cursor: c.Position.Cursor()}, "chat")
		break
	}
	require.NoError(f, p.Done(f.ctx, nil))
}

// severalEnough is left by its caller, or by the end of its context.
func severalEnough(f *fixture) {
	a := f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	got := f.several(a, nil, func(*seen) bool { return true }, "chat")
	require.Equal(f, []string{"1"}, got.texts["chat"])
	ctx, cancel := context.WithCancel(f.ctx)
	for u, err := range a.Follow(ctx, []string{"chat"}, nil) {
		if err != nil {
			require.ErrorIs(f, err, context.Canceled)
			break
		}
		require.Equal(f, "1", string(u.Data))
		cancel()
	}
	cancel()
	require.NoError(f, p.Done(f.ctx, nil))
}

// severalUnreadable is told that a stream which it waits for cannot be read.
func severalUnreadable(f *fixture) {
	a := f.open(nil)
	told := make(chan error, 1)
	go func() {
		for _, err := range a.Follow(f.ctx, []string{"chat"}, nil) {
			told <- err
			return
		}
		told <- nil
	}()
	f.eventually("it is waited for", func() bool { return a.manager.Waiting() == 1 })
	require.NoError(f, f.connect(f.T).HSet(f.ctx, hotlog.Key(f.store, space, "ls:chat"), "g", "no number").Err())
	select {
	case err := <-told:
		require.ErrorIs(f, err, streamhub.ErrCorrupt)
	case <-f.ctx.Done():
		f.Fatal("it waits for ever")
	}
}

// severalShutdown is told that the instance ends, and not that its streams did.
func severalShutdown(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	p := f.start(b, "chat", nil)
	_, err := p.Publish(f.ctx, 1, chunks("1"))
	require.NoError(f, err)
	ids := []string{"chat"}
	if a.manager != nil {
		ids = append(ids, "another") // chunks come from the watcher, which is still open
	}
	var last error
	for u, err := range a.Follow(f.ctx, ids, nil) {
		if err == nil {
			require.NoError(f, u.Err)
			require.Equal(f, "1", string(u.Data))
			require.NoError(f, a.close())
		}
		last = err
	}
	require.ErrorIs(f, last, streamhub.ErrShutdown)
}

// list gives each stream once, with its generation.
func list(f *fixture) {
	a, b := f.open(nil), f.open(nil)
	want := map[string]uint64{}
	for n := range 300 {
		id := fmt.Sprint("s", n)
		if n%3 == 0 {
			id += "~7" // looks like a generation
		}
		p := f.start(a, id, nil)
		if n%50 == 0 {
			p = f.start(a, id, &live.RegisterOptions{Takeover: true})
		}
		want[id] = p.Generation()
	}
	got := map[string]uint64{}
	for s, err := range b.List(f.ctx, nil) {
		require.NoError(f, err)
		require.NotContains(f, got, s.ID())
		got[s.ID()] = s.Generation()
	}
	require.Equal(f, want, got)
	// A page at a time.
	paged := map[string]uint64{}
	o := &live.ListOptions{}
	for more := true; more; {
		more = false
		n := 0
		for s, err := range b.List(f.ctx, o) {
			require.NoError(f, err)
			require.NotContains(f, paged, s.ID())
			paged[s.ID()] = s.Generation()
			o.AfterID, o.AfterGeneration = s.ID(), s.Generation()
			if n++; n == 70 {
				more = true
				break
			}
		}
	}
	require.Equal(f, want, paged)
	for _, err := range b.List(f.ctx, &live.ListOptions{AfterID: strings.Repeat("x", live.MaxIDLength+1)}) {
		require.ErrorIs(f, err, streamhub.ErrInvalidName)
	}
}

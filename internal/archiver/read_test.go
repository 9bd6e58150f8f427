package archiver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/tier"
)

// answers are what every way of reading says.
func (w *world) answers() []string {
	w.Helper()
	var all []string
	note := func(what string, entries []streamhub.Entry, err error) {
		text := what + ":"
		for _, e := range entries {
			text += fmt.Sprintf(" %s/%d/%d/%v/%s/%v/%s", e.Segment, e.Sequence, e.Timestamp.UnixMilli(), e.TRX, e.Payload, e.Metadata, e.Cursor())
		}
		all = append(all, fmt.Sprint(text, " ", err))
	}
	names, err := w.Segments(w.ctx, space, "", 100)
	require.NoError(w, err)
	for _, name := range names {
		entries, err := w.tryRead(name, nil)
		note(name, entries, err)
		for i, e := range entries {
			for _, o := range []streamhub.ReadOptions{
				{Cursor: e.Cursor()}, {FromSequence: e.Sequence, Limit: 3}, {FromSequence: e.Sequence, ToSequence: e.Sequence + 4},
				{After: e.Timestamp}, {After: e.Timestamp.Add(-time.Millisecond), Until: e.Timestamp.Add(3 * time.Millisecond)}, {Until: e.Timestamp},
			} {
				if i%3 != 0 && o.Cursor == "" {
					continue
				}
				got, err := w.tryRead(name, &o)
				note(fmt.Sprintf("%s %v", name, o), got, err)
			}
		}
		e, err := w.Peek(w.ctx, space, name)
		note(fmt.Sprint("peek ", name), []streamhub.Entry{e}, err)
		status, err := w.Status(w.ctx, space, name)
		text, _ := json.Marshal(status)
		all = append(all, fmt.Sprint(string(text), status.Cursor(), err))
		for after := (streamhub.Position{}); ; {
			page, err := w.ReadPage(w.ctx, space, name, after, true)
			require.NoError(w, err)
			note("page", page.Entries, nil)
			if after = page.Next(after); !page.More {
				break
			}
		}
	}
	entries, err := w.tryReadSpace(nil)
	note("space", entries, err)
	for _, e := range entries {
		got, err := w.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor(), Limit: 20})
		note("space after", got, err)
		got, err = w.tryReadSpace(&streamhub.ReadOptions{After: e.Timestamp.Add(-time.Millisecond), Until: e.Timestamp.Add(2 * time.Millisecond)})
		note("space at", got, err)
	}
	var merged []streamhub.Entry
	for e, err := range w.Consume(w.ctx, map[string]streamhub.Cursor{space: ""}, nil) {
		require.NoError(w, err)
		merged = append(merged, e)
	}
	note("consume", merged, nil)
	end, err := w.SpaceEnd(w.ctx, space)
	require.NoError(w, err)
	return append(all, string(end.Cursor()))
}

// same requires that two lists of answers are the same, and shows the first that is not.
func (w *world) same(want, got []string) {
	w.Helper()
	if !slices.Equal(want, got) {
		for i := range want {
			require.Equal(w, want[i], got[i])
		}
		require.Len(w, got, len(want))
	}
}

// TestReadThrough asks everything before and after history has left, by and by.
func TestReadThrough(t *testing.T) {
	t.Parallel()
	for _, keep := range []uint64{0, 1, 5} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			t.Parallel()
			w := newUserWorld(t, everything(keep))
			w.history(1, 20)
			for round := range 3 {
				_, err := w.CloseSegment(w.ctx, space, fmt.Sprint("s/", round), streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
				require.NoError(t, err)
				want := w.answers()
				w.move()
				for i := range 6 {
					require.Less(t, w.hot(fmt.Sprint("s/", i)), keep+4, "the rest of a frame may stay")
				}
				w.same(want, w.answers())
				w.same(want, w.another(tier.Options{}).answers())
				for i := range 5 {
					w.append(fmt.Sprint("s/", 3+i%3), "more", fmt.Sprint(round))
				}
			}
		})
	}
}

// A meddler does something once, just before a page of frames is read.
type meddler struct{ meddle func() }

func (m *meddler) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		m.at(cmd)
		return next(ctx, cmd)
	}
}

func (m *meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		m.at(cmds...)
		return next(ctx, cmds)
	}
}

func (m *meddler) at(cmds ...redis.Cmder) {
	for _, cmd := range cmds {
		// Of a log.
		if args := cmd.Args(); m.meddle != nil && cmd.Name() == "xrange" && strings.Contains(fmt.Sprint(args[1]), "}:e:") {
			meddle := m.meddle
			m.meddle = nil
			meddle()
			return
		}
	}
}

// TestMovedMeanwhile moves history between a reader's look at the meta and its read of the log.
func TestMovedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*world) []streamhub.Entry{
		"segment": func(w *world) []streamhub.Entry { return w.read("s/1", nil) },
		"space":   func(w *world) []streamhub.Entry { return w.readSpace(nil) },
		"time": func(w *world) []streamhub.Entry {
			return w.read("s/1", &streamhub.ReadOptions{After: time.UnixMilli(1), Until: time.UnixMilli(math.MaxInt64 / 2)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, everything(0))
			w.history(1, 20)
			want := prints(read(w))
			require.NotEmpty(t, want)
			m := &meddler{}
			v := w.another(everything(0), m)
			done := false
			m.meddle = func() { w.move(); done = true }
			w.same(want, prints(read(v)))
			require.True(t, done, "nothing moved meanwhile")
		})
	}
}

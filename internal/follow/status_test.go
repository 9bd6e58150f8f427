package follow

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func (w *world) segmentStatus(by *Watcher, space, segment string) *puller[streamhub.Status] {
	return pull(w.t, w.t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return by.SubscribeSegment(ctx, w.store, space, segment)
	})
}

func (w *world) spaceStatus(by *Watcher, space string) *puller[streamhub.Status] {
	return pull(w.t, w.t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return by.SubscribeSpace(ctx, w.store, space)
	})
}

func TestSubscribeSegment(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never})
		p := w.segmentStatus(by, "a", "b")
		p.ask() // nothing there
		until(t, "the feed", func() bool {
			by.mu.Lock()
			f := by.feeds[w.key("a", "b")]
			by.mu.Unlock()
			if f == nil {
				return false
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.served == f.asked && len(f.readers) == 1
		})
		p.silent()
		w.append("a", "b", 1)
		s := p.take(soon).value
		require.EqualValues(t, 1, s.LastSequence)
		require.Equal(t, streamhub.StateOpen, s.State)
		w.append("a", "b", 1)
		require.EqualValues(t, 2, p.next(soon).LastSequence)
		// What comes faster than it is taken is one.
		w.append("a", "b", 100)
		w.close("a", "b")
		for s = p.next(soon); s.State == streamhub.StateOpen; {
			last := s.LastSequence
			s = p.next(soon)
			require.GreaterOrEqual(t, s.LastSequence, last)
		}
		require.EqualValues(t, 102, s.LastSequence)
		require.Equal(t, &done, s.Verdict)
		late := w.segmentStatus(by, "a", "b")
		require.Equal(t, s, late.next(soon), "the snapshot")
		require.NoError(t, w.store.Delete(t.Context(), "a", "b", ""))
		for _, p := range []*puller[streamhub.Status]{p, late} {
			s := p.next(soon)
			require.Equal(t, streamhub.StateDeleted, s.State)
			require.EqualValues(t, 102, s.LastSequence)
		}
		_, _, err := w.store.Create(t.Context(), "a", "b", nil)
		require.NoError(t, err)
		s = p.next(soon)
		require.Equal(t, streamhub.StateOpen, s.State)
		require.Zero(t, s.LastSequence)
	})
}

func TestSubscribeSpace(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never})
		names := []string{"A", "B/c", "a b", "aa", "z", "ä"}
		for i := range names {
			w.append("a", names[len(names)-1-i], i+1)
		}
		one, two := w.spaceStatus(by, "a"), w.spaceStatus(by, "a")
		for _, p := range []*puller[streamhub.Status]{one, two} {
			for i, name := range names {
				s := p.next(soon)
				require.Equal(t, name, s.Segment)
				require.EqualValues(t, len(names)-i, s.LastSequence)
			}
		}
		one.ask()
		w.append("a", "new", 1)
		require.Equal(t, "new", one.take(soon).value.Segment)
		// two takes nothing while much happens; it gets the last of each, in the order of that.
		w.append("a", "z", 50)
		require.NoError(t, w.store.Delete(t.Context(), "a", "aa", ""))
		w.append("a", "A", 50)
		w.close("a", "A")
		last := map[string]streamhub.Status{}
		seen := func(p *puller[streamhub.Status], want int) (n int) {
			last = map[string]streamhub.Status{}
			for {
				s := p.next(soon)
				n++
				require.GreaterOrEqual(t, s.LastSequence, last[s.Segment].LastSequence)
				last[s.Segment] = s
				if a := last["A"]; a.State == streamhub.StateClosed {
					require.Len(t, last, want)
					require.EqualValues(t, 56, a.LastSequence)
					require.EqualValues(t, 52, last["z"].LastSequence)
					require.Equal(t, streamhub.StateDeleted, last["aa"].State)
					return n
				}
			}
		}
		seen(one, 3)
		require.Equal(t, 4, seen(two, 4))
	})
}

// TestSubscribeSpaceForgets: what came and went is not kept.
func TestSubscribeSpaceForgets(t *testing.T) {
	w := onRedis(t)
	by := w.watch(&Options{Recheck: 50 * time.Millisecond})
	w.append("a", "b", 1)
	p := w.spaceStatus(by, "a")
	p.next(soon)
	for i := range 300 {
		name := fmt.Sprint("short ", i)
		_, _, err := w.store.Create(t.Context(), "a", name, nil)
		require.NoError(t, err)
		require.Equal(t, streamhub.StateOpen, p.next(soon).State)
		require.NoError(t, w.store.Delete(t.Context(), "a", name, ""))
		require.Equal(t, streamhub.StateDeleted, p.next(soon).State)
	}
	f := by.feeds[w.key("a", "")]
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Less(t, len(f.items), 100)
	require.Less(t, len(f.changes), 300)
}

func TestSubscribeRefuses(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	require.ErrorIs(t, w.segmentStatus(by, "a", "").end(soon), streamhub.ErrInvalidName)
	require.ErrorIs(t, w.spaceStatus(by, "").end(soon), streamhub.ErrInvalidName)
}

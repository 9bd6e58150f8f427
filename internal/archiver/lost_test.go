package archiver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// newRealWorld is a world on a server that can lose its newest history.
func newRealWorld(t *testing.T, o tier.Options) (*world, *testredis.Server) {
	t.Helper()
	server := testredis.Start(t, nil)
	w := &world{T: t, ctx: t.Context(), server: redis.Options{Addr: server.Addr()}, backend: archive.NewMemory()}
	return w.with(uuid.New(), o), server
}

// saved is what the server comes back with after it was killed.
func (w *world) saved() {
	w.Helper()
	require.NoError(w, w.conn.Do(w.ctx, "save").Err())
}

// pages reads the space as a follower does.
func (w *world) pages(after streamhub.Position) []streamhub.Entry {
	w.Helper()
	var all []streamhub.Entry
	for {
		entries, next, more, err := w.ReadSpacePage(w.ctx, space, after, nil)
		require.NoError(w, err)
		if all = append(all, entries...); !more {
			return all
		}
		after = next
	}
}

// TestLostUnderReaders lets Redis lose history that was archived, and go on, under processes that
// have read it.
func TestLostUnderReaders(t *testing.T) {
	t.Parallel()
	w, server := newRealWorld(t, everything(2))
	w.history(1, 6)
	w.move()
	readers := []*world{w.another(everything(2)), w.another(tier.Options{CacheBytes: 1})}
	for round := range uint64(3) {
		w.saved()
		w = w.another(everything(2)) // the former writer is told of its lost appends
		kept := w.readSpace(nil)
		w.history(10+round, 8) // this is lost
		w.another(everything(round % 3)).move()
		lost := w.readSpace(nil)
		for _, v := range readers {
			v.same(prints(lost), prints(v.readSpace(nil)))
			v.same(prints(lost), prints(v.pages(streamhub.Position{})))
		}
		server.Kill()
		server.Restart()
		for _, v := range readers { // the archive still has what was lost
			v.same(prints(kept), prints(v.readSpace(nil)))
		}
		w = w.another(everything(2))
		w.history(20+round, 6)
		if round%2 == 1 {
			readers[0].same(prints(w.readSpace(nil)), prints(readers[0].readSpace(nil)))
		}
		w.endLease()
		w.another(everything(round % 3)).move()
		want := prints(w.another(tier.Options{}).readSpace(nil))
		require.Greater(t, len(want), len(kept))
		for _, v := range readers {
			v.same(want, prints(v.readSpace(nil)))
			v.same(want, prints(v.pages(streamhub.Position{})))
			for n, e := range lost {
				_, err := v.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
				_, _, _, pageErr := v.ReadSpacePage(v.ctx, space, e.Position, nil)
				_, segmentErr := v.tryRead(e.Segment, &streamhub.ReadOptions{Cursor: segmentCursor(&e)})
				if n < len(kept) {
					require.NoError(t, errors.Join(err, pageErr, segmentErr))
					continue
				}
				require.ErrorIs(t, err, streamhub.ErrHistoryLost)
				require.ErrorIs(t, pageErr, streamhub.ErrHistoryLost)
				require.ErrorIs(t, segmentErr, streamhub.ErrHistoryLost)
			}
		}
	}
	for _, v := range readers {
		v.same(w.another(tier.Options{}).answers(), v.answers())
	}
	w.whole()
}

func segmentCursor(e *streamhub.Entry) streamhub.Cursor {
	p := e.Position
	p.Timeline = streamhub.TimelineID{}
	return p.Cursor()
}

// TestLostDuringRead lets Redis lose history between the pages of one read: it ends with an error, or
// with everything that there was when it began.
func TestLostDuringRead(t *testing.T) {
	t.Parallel()
	for _, archived := range []bool{false, true} {
		for _, after := range []int{1, 150, 400} {
			t.Run(fmt.Sprint("archived ", archived, " after ", after), func(t *testing.T) {
				t.Parallel()
				w, server := newRealWorld(t, everything(0))
				w.history(1, 30)
				w.move()
				w.saved()
				kept := len(w.readSpace(nil))
				w.history(2, 60)
				if archived {
					w.another(everything(0)).move()
				}
				want := prints(w.readSpace(nil))
				v := w.another(tier.Options{})
				var got []streamhub.Entry
				var failed error
				for e, err := range v.ConsumeSpace(v.ctx, space, nil) {
					if failed = err; err != nil {
						break
					}
					if got = append(got, e); len(got) == after {
						server.Kill()
						server.Restart()
						w.another(everything(0)).history(3, 40)
						w.endLease()
						w.another(everything(0)).move()
					}
				}
				w.same(want[:len(got)], prints(got))
				if failed == nil {
					require.Len(t, got, len(want))
				} else {
					require.ErrorIs(t, failed, streamhub.ErrHistoryLost)
				}
				require.Greater(t, len(want), kept)
				require.Greater(t, len(v.readSpace(nil)), kept)
			})
		}
	}
}

// TestLostBehindManySegments lets Redis lose an entry between the commit of a window in the archive and that in
// Redis, which takes two runs of the script: the first one finds nothing amiss. The window is dropped then, and what
// only it holds must stay in Redis.
func TestLostBehindManySegments(t *testing.T) {
	t.Parallel()
	o := tier.Options{Policy: tier.Policy{Age: 1}, Recent: 1}
	w, server := newRealWorld(t, o)
	w.append("first", "x")
	w.move()
	const segments = 70
	for i := range segments {
		w.append(fmt.Sprintf("s%02d", i), "kept")
	}
	last := fmt.Sprintf("s%02d", segments-1)
	manifests := 0
	sabotaged := *w
	sabotaged.backend = &archivetest.Faulty{Backend: w.backend, Before: func(op string) error {
		if op != "set manifest" {
			return nil
		}
		switch manifests++; manifests {
		case 1: // the claim
			w.saved()
			w.append(last, "lost")
		case 2: // the window
			server.Kill()
			server.Restart()
		}
		return nil
	}}
	a := sabotaged.another(o)
	require.ErrorIs(t, a.runner.Space(a.ctx, a.Store, space), streamhub.ErrHistoryLost)
	require.Equal(t, 2, manifests)
	all := func(v *world, payload string) {
		t.Helper()
		for i := range segments {
			require.Equal(t, payload, v.payloads(fmt.Sprintf("s%02d", i), nil))
		}
	}
	v := w.another(o)
	all(v, "kept")
	hot, _, err := v.HotSegments(v.ctx, space, "", 2, false)
	require.NoError(t, err)
	require.Equal(t, "s00", hot[0].Segment)
	require.Zero(t, hot[0].Archived, "the place of its window was not committed")
	w.endLease()
	v = w.another(o)
	v.move()
	all(v, "kept")
	v.whole()
	require.Zero(t, v.hot("s00"), "it was archived again, and has left")
	v.append("s00", "more")
	v.move()
	require.Equal(t, "kept more", v.payloads("s00", nil))
	v.whole()
}

// TestLostDelete lets Redis lose the deletion of a segment after a window was written without the entries of that
// segment. They are not archived, so they stay in Redis, whatever is archived later.
func TestLostDelete(t *testing.T) {
	t.Parallel()
	o := tier.Options{Policy: tier.Policy{Age: 1}, Recent: 1, WindowBytes: 1}
	w, server := newRealWorld(t, o)
	w.append("first", "x")
	w.move()
	w.append("back", "1")
	w.append("back", "2")
	for range 60 { // more than one window
		w.append("other", "x")
	}
	manifests := 0
	sabotaged := *w
	sabotaged.backend = &archivetest.Faulty{Backend: w.backend, Before: func(op string) error {
		if op != "set manifest" {
			return nil
		}
		switch manifests++; manifests {
		case 1: // the claim
			w.saved()
			require.NoError(t, w.Delete(w.ctx, space, "back", ""))
		case 2: // the window, which ends before the deletion
			server.Kill()
			server.Restart()
		}
		return nil
	}}
	a := sabotaged.another(o)
	_ = a.runner.Space(a.ctx, a.Store, space)
	w.endLease()
	v := w.another(o)
	v.move()
	v.append("back", "3")
	v.move()
	require.Equal(t, "1 2 3", v.payloads("back", nil))
	require.EqualValues(t, 3, v.hot("back"))
	v.whole()
}

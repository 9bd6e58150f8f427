package archiver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

func (w *world) payloads(segment string, o *streamhub.ReadOptions) string {
	w.Helper()
	var texts []string
	for _, e := range w.read(segment, o) {
		texts = append(texts, string(e.Payload))
	}
	return strings.Join(texts, " ")
}

func (w *world) trim(segment string, upTo, kept uint64) {
	w.Helper()
	first, err := w.Trim(w.ctx, space, segment, upTo)
	require.NoError(w, err)
	require.Equal(w, kept, first)
	status, err := w.Status(w.ctx, space, segment)
	require.NoError(w, err)
	require.Equal(w, kept, status.FirstSequence)
}

// chunks counts those that the archive has of a segment.
func (w *world) chunks(segment string) int {
	w.Helper()
	items, err := w.backend.List(w.ctx, archive.SpaceID{Store: w.ID(), Space: space}, "s!"+archive.EncodeName(segment)+"!", "", 1000)
	require.NoError(w, err)
	return len(items)
}

func TestTrim(t *testing.T) {
	t.Parallel()
	o := everything(2)
	o.ChunkBytes = 1 // a chunk for each frame
	w := newUserWorld(t, o)
	for i := range 10 {
		w.append("s", fmt.Sprint(2*i+1), fmt.Sprint(2*i+2))
		if i == 5 {
			w.move()
		}
	}
	w.move()
	require.EqualValues(t, 2, w.hot("s"))
	cursors := w.read("s", nil)
	w.trim("s", 3, 3) // inside a frame
	w.trim("s", 5, 5)
	require.Equal(t, "5 6 7", w.payloads("s", &streamhub.ReadOptions{Limit: 3}))
	w.trim("s", 6, 7)
	w.trim("s", 2, 7)
	_, err := w.tryRead("s", &streamhub.ReadOptions{Cursor: cursors[4].Cursor()})
	var trimmed *streamhub.TrimmedError
	require.ErrorAs(t, err, &trimmed)
	require.EqualValues(t, 7, trimmed.FirstKept)
	require.Len(t, w.read("s", &streamhub.ReadOptions{Cursor: cursors[5].Cursor()}), 14)
	forged := cursors[5].Position
	forged.Proof++
	_, err = w.tryRead("s", &streamhub.ReadOptions{Cursor: forged.Cursor()})
	require.ErrorIs(t, err, streamhub.ErrHistoryLost)
	require.Len(t, w.readSpace(nil), 14)
	before := w.chunks("s")
	w.append("s", "21")
	w.move()
	require.Less(t, w.chunks("s"), before+1, "what was trimmed leaves the archive")

	w.trim("s", 18, 19) // up to the border and after it
	require.Equal(t, "19 20 21", w.payloads("s", nil))
	w.trim("s", 20, 21)
	w.trim("s", 30, 22)
	require.Empty(t, w.read("s", nil))
	w.append("s", "22")
	w.move()
	w.append("s", "23", "24")
	require.Equal(t, "22 23 24", w.payloads("s", nil))
	w.move()
	w.whole()
}

func TestDelete(t *testing.T) {
	t.Parallel()
	w := newUserWorld(t, everything(0))
	for range 3 {
		w.append("s", "a", "b")
		w.append("t", "x")
	}
	w.move()
	require.Positive(t, w.chunks("s"))
	require.NoError(t, w.Delete(w.ctx, space, "s", ""))
	_, err := w.tryRead("s", nil)
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	require.Len(t, w.readSpace(nil), 3)
	w.append("t", "y")
	w.move()
	require.Zero(t, w.chunks("s"), "it leaves the archive too")
	_, _, err = w.Create(w.ctx, space, "s", nil)
	require.NoError(t, err)
	w.append("s", "new")
	w.move()
	require.Equal(t, "new", w.payloads("s", nil))
	require.Len(t, w.readSpace(nil), 5)
	w.append("s", "newer")
	require.NoError(t, w.Delete(w.ctx, space, "t", ""))
	w.move()
	require.Equal(t, "new newer", w.payloads("s", nil))
	w.whole()
}

func TestForks(t *testing.T) {
	t.Parallel()
	w := newUserWorld(t, everything(0))
	w.append("p", "1", "2")
	w.append("p", "3", "4")
	w.move()
	at := uint64(3)
	_, _, err := w.Create(w.ctx, space, "f", &streamhub.CreateOptions{ForkOf: "p", ForkAt: &at})
	require.NoError(t, err)
	w.append("f", "own 4")
	w.append("p", "5")
	require.Equal(t, "1 2 3 own 4", w.payloads("f", nil))
	w.move()
	require.Equal(t, "1 2 3 own 4", w.payloads("f", nil))
	require.Equal(t, "1 2 3 4 5", w.payloads("p", nil))
	for _, e := range w.read("f", nil) {
		require.Len(t, w.read("f", &streamhub.ReadOptions{Cursor: e.Cursor()}), int(4-e.Sequence))
	}
	_, err = w.Trim(w.ctx, space, "p", 2)
	require.ErrorIs(t, err, streamhub.ErrConflict, "the fork reads it")
	require.NoError(t, w.Delete(w.ctx, space, "p", ""))
	w.append("f", "own 5")
	w.move()
	require.Equal(t, "1 2 3 own 4 own 5", w.payloads("f", nil))
	require.Positive(t, w.chunks("p"))
	w.restored("f", "1 2 3 own 4 own 5")
}

// restored brings the space back into an empty Redis, and requires that a segment holds this there.
func (w *world) restored(segment, payloads string) *world {
	w.Helper()
	v := newWorld(w.T, everything(0))
	v.backend = w.backend
	v = v.with(w.ID(), everything(0))
	r, err := v.tier.Restore(v.ctx, v.log, archive.SpaceID{Store: w.ID(), Space: space}, nil)
	require.NoError(w, err)
	require.Positive(w, r.Segments)
	require.Equal(w, payloads, v.payloads(segment, nil))
	return v
}

// TestWithoutArchive reads in a process that was not told of the archive.
func TestWithoutArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(1))
	w.append("s", "1")
	first := w.readSpace(nil)
	w.append("s", "2")
	w.append("s", "3")
	w.move()
	log, err := hotlog.Open(w.ctx, w.conn, nil)
	require.NoError(t, err)
	defer log.Close()
	v := *w
	v.Store = log.Store(w.ID())
	_, err = v.tryRead("s", nil)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	_, err = v.tryReadSpace(nil)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	_, err = v.tryReadSpace(&streamhub.ReadOptions{Cursor: first[0].Cursor()})
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	require.Equal(t, "3", v.payloads("s", &streamhub.ReadOptions{FromSequence: 3}))
	e, err := v.Peek(v.ctx, space, "s")
	require.NoError(t, err)
	require.Equal(t, "3", string(e.Payload))
}

func TestRestore(t *testing.T) {
	t.Parallel()
	w := newUserWorld(t, everything(0))
	w.history(1, 15)
	_, _, err := w.Create(w.ctx, space, "typed", &streamhub.CreateOptions{ContentType: "text/plain", TTL: time.Hour})
	require.NoError(t, err)
	_, err = w.CloseSegment(w.ctx, space, "s/1", streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "so"}, nil)
	require.NoError(t, err)
	w.append("gone", "x")
	require.NoError(t, w.Delete(w.ctx, space, "gone", ""))
	_, err = w.Append(w.ctx, space, "s/0", []streamhub.Record{{Payload: []byte("first")}}, &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}, Generation: 7})
	require.NoError(t, err)
	_, err = w.Trim(w.ctx, space, "s/2", 3)
	require.NoError(t, err)
	w.move()
	segments := w.readSpace(nil)
	own := w.read("s/0", nil)
	// What comes now is lost.
	lost, err := w.Append(w.ctx, space, "s/0", []streamhub.Record{{}}, &streamhub.AppendOptions{Generation: 8})
	require.NoError(t, err)
	w.append("s/3", "lost")
	later := w.readSpace(nil)

	v := w.restored("s/0", w.payloads("s/0", &streamhub.ReadOptions{ToSequence: own[len(own)-1].Sequence}))
	w.same(prints(segments), prints(v.readSpace(nil)))
	for i := range 6 {
		got := prints(v.read(fmt.Sprint("s/", i), nil))
		w.same(prints(w.read(fmt.Sprint("s/", i), nil))[:len(got)], got)
	}
	_, err = v.tryRead("s/0", &streamhub.ReadOptions{Cursor: lost.Cursor()})
	var history *streamhub.HistoryLostError
	require.ErrorAs(t, err, &history)
	require.Equal(t, lost.Last, history.FirstLost)
	_, err = v.tryReadSpace(&streamhub.ReadOptions{Cursor: later[len(later)-1].Cursor()})
	require.ErrorIs(t, err, streamhub.ErrHistoryLost)
	require.Empty(t, v.read("s/0", &streamhub.ReadOptions{Cursor: own[len(own)-1].Cursor()}))

	status, err := v.Status(v.ctx, space, "s/1")
	require.NoError(t, err)
	require.Equal(t, streamhub.StateClosed, status.State)
	require.Equal(t, "so", status.Verdict.Reason)
	status, err = v.Status(v.ctx, space, "typed")
	require.NoError(t, err)
	require.Equal(t, "text/plain", status.ContentType)
	require.Equal(t, time.Hour, status.TTL)
	_, err = v.Status(v.ctx, space, "gone")
	require.ErrorIs(t, err, streamhub.ErrNotFound)

	_, err = v.Append(v.ctx, space, "s/0", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.ErrorIs(t, err, streamhub.ErrFenced, "the generation is remembered")
	r, err := v.Append(v.ctx, space, "s/0", []streamhub.Record{{Payload: []byte("first")}},
		&streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}, Generation: 7})
	require.NoError(t, err)
	require.True(t, r.Repeated, "so are producers")
	r, err = v.Append(v.ctx, space, "s/0", []streamhub.Record{{Payload: []byte("next")}}, &streamhub.AppendOptions{Generation: 7})
	require.NoError(t, err)
	require.Equal(t, own[len(own)-1].Sequence+1, r.First)
	require.Equal(t, own[len(own)-1].TRX.Number+1, r.TRX.Number)
	v.append("s/3", "goes on")
	require.Len(t, v.readSpace(nil), len(segments)+2)
	_, err = v.tryRead("s/0", &streamhub.ReadOptions{Cursor: lost.Cursor()})
	require.ErrorAs(t, err, &history)
	require.Equal(t, lost.Last, history.FirstLost)

	_, err = v.tier.Restore(v.ctx, v.log, archive.SpaceID{Store: w.ID(), Space: space}, nil)
	require.ErrorIs(t, err, streamhub.ErrConflict, "it is not empty")
	v.move()
	require.Len(t, v.readSpace(nil), len(segments)+2)
	v.whole()
}

func prints(entries []streamhub.Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, fmt.Sprint(e.Segment, e.Sequence, e.Timestamp, e.TRX, string(e.Payload), e.Cursor()))
	}
	return all
}

// TestEmptyRedis must leave the archive alone when Redis comes back without anything.
func TestEmptyRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(0))
	w.history(1, 10)
	w.move()
	want := w.readSpace(nil)
	require.NoError(t, w.conn.FlushAll(w.ctx).Err())
	v := w.another(everything(0))
	v.append("s/0", "new")
	err := v.runner.Space(v.ctx, v.Store, space)
	require.ErrorIs(t, err, streamhub.ErrConflict)
	require.EqualValues(t, 1, v.hot("s/0"), "nothing leaves Redis")
	require.NoError(t, w.conn.FlushAll(w.ctx).Err())
	v = w.another(everything(0))
	_, err = v.tier.Restore(v.ctx, v.log, archive.SpaceID{Store: w.ID(), Space: space}, nil)
	require.NoError(t, err)
	w.same(prints(want), prints(v.readSpace(nil)))
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy tier.Policy
		hot    map[string]uint64
	}{
		{"none", tier.Policy{}, map[string]uint64{"old": 2, "new": 2}},
		{"age", tier.Policy{Age: 30 * time.Minute}, map[string]uint64{"old": 0, "new": 1}},
		{"age and last", tier.Policy{Age: 30 * time.Minute, KeepLast: 1}, map[string]uint64{"old": 1, "new": 1}},
		{"idle", tier.Policy{Idle: 30 * time.Minute, KeepLast: 5}, map[string]uint64{"old": 0, "new": 2}},
		{"too early", tier.Policy{Age: 90 * time.Minute}, map[string]uint64{"old": 2, "new": 2}},
		{"size", tier.Policy{HotBytes: 1}, map[string]uint64{"old": 0, "new": 0}},
		{"much room", tier.Policy{HotBytes: 1 << 30}, map[string]uint64{"old": 2, "new": 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, server := newClockWorld(t, tier.Options{Policy: c.policy})
			now := time.Now()
			for _, name := range []string{"old", "old", "new"} {
				w.append(name, "x")
			}
			server.SetTime(now.Add(time.Hour))
			w.append("new", "y")
			w.move()
			for name, want := range c.hot {
				require.Equal(t, want, w.hot(name), name)
			}
			require.Len(t, w.readSpace(nil), 4)
		})
	}
}

// TestFull lets a space reach its limit.
func TestFull(t *testing.T) {
	t.Parallel()
	w := newUserWorld(t, tier.Options{Policy: tier.Policy{HotBytes: 1, KeepLast: 100}})
	w.append("s", "1")
	w.move()
	v := w.another(tier.Options{})
	for _, p := range []*world{w, v} {
		if p == v { // another process hears of it when it looks
			p.append("s", "2")
			require.NoError(t, p.log.LookFull(p.ctx))
		}
		_, err := p.Append(p.ctx, space, "s", []streamhub.Record{{}}, nil)
		var unavailable *streamhub.UnavailableError
		require.ErrorAs(t, err, &unavailable)
		require.Equal(t, streamhub.ReasonFull, unavailable.Reason)
	}
	require.Equal(t, "1 2", w.payloads("s", nil))
	_, err := w.CloseSegment(w.ctx, space, "s", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(t, err, "verdicts go on")
	w.trim("s", 1, 2)
	roomy := w.another(tier.Options{Policy: tier.Policy{HotBytes: 1 << 20}})
	roomy.move()
	require.NoError(t, w.log.LookFull(w.ctx))
	w.append("t", "there is room")
}

// TestSweptCursor resumes a space whose start was swept before it was archived, at places of segments that
// are gone.
func TestSweptCursor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(1))
	for i := range 8 {
		w.append([]string{"stays", "goes", "late"}[i%3], fmt.Sprint(i))
	}
	all := w.readSpace(nil)
	resumes := func(deleted ...string) {
		t.Helper()
		for i, e := range all {
			var want []streamhub.Entry
			for _, e := range all[i+1:] {
				if !slices.Contains(deleted, e.Segment) {
					want = append(want, e)
				}
			}
			require.Equal(t, want, w.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()}), "after %s %d", e.Segment, e.Sequence)
		}
	}
	require.NoError(t, w.Delete(w.ctx, space, "goes", ""))
	require.NoError(t, w.Sweep(w.ctx))
	resumes("goes")
	w.move()
	resumes("goes")
	require.NoError(t, w.Delete(w.ctx, space, "late", ""))
	require.NoError(t, w.Sweep(w.ctx))
	resumes("goes", "late")
	w.move()
	resumes("goes", "late")
	w.append("new", "x")
	all = append(all, w.readSpace(&streamhub.ReadOptions{Cursor: all[len(all)-1].Cursor()})...)
	w.move()
	resumes("goes", "late")
}

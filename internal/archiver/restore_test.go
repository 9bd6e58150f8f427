package archiver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/memredis"
)

// TestRestoreProducers brings back segments that know more producers than Lua can return at once.
func TestRestoreProducers(t *testing.T) {
	t.Parallel()
	w, _ := newRealWorld(t, everything(0))
	first := &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}}
	meta := hotlog.Key(w.ID(), space, "m:")
	for _, n := range []int{1, 4_100, 20_000} {
		segment := fmt.Sprint("s", n)
		_, err := w.Append(w.ctx, space, segment, []streamhub.Record{{Payload: []byte("x")}}, first)
		require.NoError(t, err)
		row, err := w.conn.HGet(w.ctx, meta+segment, "p:p").Result()
		require.NoError(t, err)
		for i := 1; i < n; i++ {
			pipe := w.conn.Pipeline()
			for ; i < n && pipe.Len() < 1000; i++ {
				pipe.HSet(w.ctx, meta+segment, fmt.Sprint("p:other ", i), row)
			}
			i--
			_, err := pipe.Exec(w.ctx)
			require.NoError(t, err)
		}
	}
	w.move()
	v, _ := newRealWorld(t, everything(0))
	v.backend = w.backend
	v = v.with(w.ID(), everything(0))
	id := archive.SpaceID{Store: w.ID(), Space: space}
	// One that cannot be brought back is named, and does not keep the others away.
	bad := v.conn.HSet(v.ctx, hotlog.Key(w.ID(), space, "m:")+"s4100", "h", "1"+strings.Repeat("0", 42)+"0 0 0 0")
	require.NoError(t, bad.Err())
	r, err := v.tier.Restore(v.ctx, v.log, id, nil)
	require.ErrorIs(t, err, streamhub.ErrConflict)
	require.ErrorContains(t, err, "s4100")
	require.Equal(t, 2, r.Segments)
	require.NoError(t, v.conn.Del(v.ctx, meta+"s4100").Err())
	r, err = v.tier.Restore(v.ctx, v.log, id, nil)
	require.NoError(t, err)
	require.Equal(t, 3, r.Segments)
	for _, n := range []int{1, 4_100, 20_000} {
		segment := fmt.Sprint("s", n)
		rows, err := v.conn.HKeys(v.ctx, meta+segment).Result()
		require.NoError(t, err)
		named := 0
		for _, name := range rows {
			if strings.HasPrefix(name, "p:") {
				named++
			}
		}
		require.Equal(t, n, named)
		got, err := v.Append(v.ctx, space, segment, []streamhub.Record{{Payload: []byte("x")}}, first)
		require.NoError(t, err)
		require.True(t, got.Repeated)
	}
	require.Len(t, v.readSpace(nil), 3)
}

// TestRestoreRepliesLost loses the reply to each script of a restore: once, where it is asked for again, and for good, where the
// restore fails and is repeated. A restore that has succeeded may be repeated, too, as its caller may not have heard of it.
func TestRestoreRepliesLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(0))
	w.history(1, 6)
	w.append("typed", "1")
	w.fork("fork", "typed", 1)
	w.move()
	want := prints(w.readSpace(nil))
	id := archive.SpaceID{Store: w.ID(), Space: space}
	for scripts, step := 2, 0; step < scripts; step++ {
		for _, replies := range []int{1, 2} {
			loss := &memredis.LossHook{}
			v := newWorld(t, everything(0))
			v.backend = w.backend
			v = v.with(w.ID(), everything(0), loss)
			loss.LoseAfter(step, replies, false)
			r, err := v.tier.Restore(v.ctx, v.log, id, nil)
			if replies > 1 {
				require.ErrorIs(t, err, streamhub.ErrUnknownOutcome, step)
			} else {
				require.NoError(t, err, step)
				scripts = r.Segments + 1
			}
			again, err := v.tier.Restore(v.ctx, v.log, id, nil)
			require.NoError(t, err, step)
			require.Equal(t, scripts, again.Segments+1)
			w.same(want, prints(v.readSpace(nil)))
			v.append("typed", "2")
			_, err = v.tier.Restore(v.ctx, v.log, id, nil)
			require.ErrorIs(t, err, streamhub.ErrConflict, "it has changed since")
		}
	}
}

// TestRestoreForks brings back forks of which no entry of their own is archived: some never had one, some lost
// theirs, and forks of such forks.
func TestRestoreForks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(0))
	w.append("p", "1", "2")
	w.append("p", "3", "4")
	w.append("p", "5")
	forks := map[string]uint64{"at0": 0, "at1": 1, "at3": 3, "at4": 4, "at5": 5}
	for name, at := range forks {
		w.fork(name, "p", at)
		w.fork("of "+name, name, at)
	}
	before := map[string]streamhub.Status{}
	for name := range forks {
		for _, name := range []string{name, "of " + name} {
			status, err := w.Status(w.ctx, space, name)
			require.NoError(t, err)
			before[name] = status
		}
	}
	now, err := w.Now(w.ctx)
	require.NoError(t, err)
	_, err = w.ClaimArchive(w.ctx, space, hotlog.ArchiveOwner{Token: 1, Holder: "test"}, true)
	require.NoError(t, err)
	// The window ends before what comes now, but is described after it.
	id := archive.SpaceID{Store: w.ID(), Space: space}
	writer, err := w.tier.Archive().Claim(w.ctx, id, archive.Owner{Token: 1, Holder: "test"})
	require.NoError(t, err)
	for name := range forks {
		w.append(name, "lost", "lost")
		w.append("of "+name, "lost")
	}
	all, err := w.ReadWindow(w.ctx, space, streamhub.TimelineID{}, now+1_000_000, 1<<20)
	require.NoError(t, err)
	window := &archive.Window{}
	for _, c := range all.Changes {
		if c.Segment != "p" && c.Kind == 'a' {
			break
		}
		window.Changes = append(window.Changes, c)
		window.To = c.ID
	}
	var chunks []*archive.Chunk
	for _, g := range all.Segments {
		part := archive.Part{Segment: g.Segment, Incarnation: g.Incarnation, Meta: g.Meta}
		if g.Segment == "p" {
			c := &archive.Chunk{Segment: "p", Incarnation: g.Incarnation, FirstTRX: g.IDs[0][0], LastTRX: g.IDs[len(g.IDs)-1][1]}
			c.Frames = append(c.Frames, g.Frames...)
			part.Proof, part.Chunks = g.Proof, []archive.Range{c.Range()}
			chunks = append(chunks, c)
		}
		window.Parts = append(window.Parts, part)
	}
	require.NoError(t, writer.Write(w.ctx, window, chunks))

	v := w.restored("p", "1 2 3 4 5")
	for name, want := range before {
		got, err := v.Status(v.ctx, space, name)
		require.NoError(t, err)
		want.Position.Lineage, got.Position.Lineage = 0, 0 // a fork without entries has seen nothing of its own
		require.Equal(t, want.Position, got.Position, name)
		require.Equal(t, want.LastTimestamp, got.LastTimestamp, name)
		require.Len(t, v.read(name, nil), int(want.LastSequence))
		if want.LastSequence > 0 {
			require.Empty(t, v.read(name, &streamhub.ReadOptions{Cursor: want.Cursor()}), name)
			entries := v.read(name, &streamhub.ReadOptions{FromSequence: want.LastSequence})
			r := v.append(name, "next")
			require.Equal(t, entries[0].TRX.Number+1, r.TRX.Number, name)
		}
	}
}

// TestRestoreTrimmed brings back a segment all of whose entries were trimmed before they were archived.
func TestRestoreTrimmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(0))
	w.append("s", "1", "2")
	last := w.append("s", "3")
	w.trim("s", 3, 4)
	w.move()
	v := w.restored("s", "")
	require.Empty(t, v.read("s", &streamhub.ReadOptions{Cursor: last.Cursor()}))
	require.EqualValues(t, 4, v.append("s", "4").First)
	v.move()
	require.Equal(t, "4", v.payloads("s", nil))
	v.whole()
}

// TestReplacedWhileRead replaces a segment between the read of its frames and that of its meta.
func TestReplacedWhileRead(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		w := newWorld(t, everything(0))
		w.append("s", "old")
		w.append("other", "x")
		done := false
		a := w.another(everything(0), &tracer{see: func(words string) {
			if done || !strings.HasPrefix(words, "hgetall") {
				return
			}
			done = true
			require.NoError(t, w.Delete(w.ctx, space, "s", ""))
			if again {
				_, _, err := w.Create(w.ctx, space, "s", nil)
				require.NoError(t, err)
				w.append("s", "new")
			}
		}})
		require.NoError(t, a.runner.Space(a.ctx, a.Store, space))
		a.runner.Release(w.ctx)
		require.True(t, done)
		w.restored("other", "x")
		w.append("other", "y")
		w.move()
		v := w.restored("other", "x y")
		if again {
			require.Equal(t, "new", v.payloads("s", nil))
		}
		w.whole()
	}
}

// TestArchiveBeginsLate restores a space that was swept before it had an archive: segments without an entry come back with
// what they were.
func TestArchiveBeginsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tier.Options{})
	create := func(segment string, o *streamhub.CreateOptions) {
		_, _, err := w.Create(w.ctx, space, segment, o)
		require.NoError(t, err)
	}
	create("empty", &streamhub.CreateOptions{ContentType: "text/plain"})
	create("born closed", &streamhub.CreateOptions{Closed: &streamhub.Verdict{Kind: streamhub.VerdictDone}})
	create("closed", nil)
	_, err := w.CloseSegment(w.ctx, space, "closed", streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "why"}, nil)
	require.NoError(t, err)
	w.append("trimmed", "1")
	w.append("trimmed", "2")
	w.trim("trimmed", 1, 2)
	w.trim("trimmed", 2, 3)
	w.append("parent", "1", "2")
	create("fork", &streamhub.CreateOptions{ForkOf: "parent"})
	create("gone", nil)
	require.NoError(t, w.Delete(w.ctx, space, "gone", ""))
	w.append("last", "x")
	before := map[string]streamhub.Status{}
	for _, segment := range []string{"empty", "born closed", "closed", "trimmed", "fork", "parent", "last"} {
		before[segment], err = w.Status(w.ctx, space, segment)
		require.NoError(t, err)
	}
	require.NoError(t, w.Sweep(w.ctx))
	left, err := w.conn.XLen(w.ctx, hotlog.Key(w.ID(), space, "t")).Result()
	require.NoError(t, err)
	require.EqualValues(t, 8, left, "one for each segment, and two for closed")

	a := w.with(w.ID(), everything(0))
	a.move()
	v := a.restored("last", "x")
	for segment, want := range before {
		got, err := v.Status(v.ctx, space, segment)
		require.NoError(t, err, segment)
		require.Equal(t, want.Position.Sequence, got.Position.Sequence, segment)
		require.Equal(t, want.Position.Incarnation, got.Position.Incarnation, segment)
		require.Equal(t, want.Verdict, got.Verdict, segment)
		require.Equal(t, want.ContentType, got.ContentType, segment)
	}
	require.EqualValues(t, 3, v.append("trimmed", "3").First)
}

// TestRestoreAppenders brings back the rows of appenders that a repeat may need, until a day has passed.
func TestRestoreAppenders(t *testing.T) {
	t.Parallel()
	w, server := newClockWorld(t, everything(0))
	now := time.UnixMilli(1_800_000_000_000)
	meta := hotlog.Key(w.ID(), space, "m:a")
	rows := func(w *world) (n int) {
		fields, err := w.conn.HKeys(w.ctx, meta).Result()
		require.NoError(t, err)
		for _, name := range fields {
			if strings.HasPrefix(name, "p:~") {
				n++
			}
		}
		return n
	}
	for i, after := range []time.Duration{0, time.Minute, 11 * time.Minute} {
		server.SetTime(now.Add(after))
		w.another(everything(0)).append("a", fmt.Sprint(i))
	}
	require.Equal(t, 3, rows(w))
	w.move()
	v, server := newClockWorld(t, everything(0))
	server.SetTime(now.Add(12 * time.Minute))
	v.backend = w.backend
	v = v.with(w.ID(), everything(0))
	_, err := v.tier.Restore(v.ctx, v.log, archive.SpaceID{Store: w.ID(), Space: space}, nil)
	require.NoError(t, err)
	require.Equal(t, 2, rows(v), "the first one is older than an append can be in doubt")
	server.SetTime(now.Add(24*time.Hour + 2*time.Minute))
	require.NoError(t, v.Sweep(v.ctx))
	require.Equal(t, 1, rows(v))
	server.SetTime(now.Add(25 * time.Hour))
	require.NoError(t, v.Sweep(v.ctx))
	require.Zero(t, rows(v))
}

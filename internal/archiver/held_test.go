package archiver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
)

func (w *world) fork(segment, of string, at uint64) {
	w.Helper()
	_, _, err := w.Create(w.ctx, space, segment, &streamhub.CreateOptions{ForkOf: of, ForkAt: &at})
	require.NoError(w, err)
}

// TestDeletedParents deletes a segment and a fork of it while a fork of that one reads them, in every order and with
// the archiver at work before, between and after. They are archived, leave Redis and can be restored as long as they
// are read, and leave the archive after that.
func TestDeletedParents(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{
		"move p f move", "move f p move", "p f move", "f p move", "p move f move", "f move p move",
		"move p move f move", "sweep move p sweep move f sweep move", "p sweep move f move", "p f sweep move", "p move f sweep move",
	} {
		for _, restored := range []bool{false, true} {
			t.Run(fmt.Sprint(plan, " restored ", restored), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, everything(0))
				w.append("other", "x")
				w.append("p", "1", "2")
				w.append("p", "3", "4")
				w.fork("f", "p", 3)
				w.append("f", "f4")
				w.append("f", "f5")
				w.append("p", "5")
				w.fork("g", "f", 4)
				w.append("g", "g5")
				for _, step := range strings.Fields(plan) {
					switch step {
					case "move":
						w.append("other", "x")
						w.move()
					case "sweep":
						require.NoError(t, w.Sweep(w.ctx))
					default:
						require.NoError(t, w.Delete(w.ctx, space, step, ""))
					}
					require.Equal(t, "1 2 3 f4 g5", w.payloads("g", nil), step)
				}
				for _, segment := range []string{"p", "f", "g"} {
					require.Positive(t, w.chunks(segment), segment)
					require.Zero(t, w.hot(segment), segment)
				}
				w.whole()
				v := w.restored("g", "1 2 3 f4 g5")
				for _, segment := range []string{"p", "f"} {
					_, err := v.tryRead(segment, nil)
					require.ErrorIs(t, err, streamhub.ErrNotFound)
				}
				names, err := v.Segments(v.ctx, space, "", 10)
				require.NoError(t, err)
				require.Equal(t, []string{"g", "other"}, names)
				w.same(prints(w.readSpace(nil)), prints(v.readSpace(nil)))
				if restored {
					w = v
				}
				w.append("g", "g6")
				w.move()
				require.Equal(t, "1 2 3 f4 g5 g6", w.payloads("g", nil))
				require.NoError(t, w.Delete(w.ctx, space, "g", ""))
				w.move()
				for _, segment := range []string{"p", "f", "g"} {
					require.Zero(t, w.chunks(segment), "nobody reads %s any more", segment)
				}
				_, _, err = w.Create(w.ctx, space, "p", nil)
				require.NoError(t, err)
				w.append("p", "another")
				w.move()
				require.Equal(t, "another", w.payloads("p", nil))
				w.whole()
			})
		}
	}
}

// TestLostForks restores a deleted segment whose forks are lost: nobody reads it any more, so it leaves the archive.
func TestLostForks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(0))
	w.append("other", "x")
	w.append("p", "1")
	w.append("p", "2")
	w.fork("f", "p", 1)
	w.append("f", "f2")
	require.NoError(t, w.Delete(w.ctx, space, "p", ""))
	w.move()
	w.fork("g", "f", 2) // this is lost
	require.NoError(t, w.Delete(w.ctx, space, "f", ""))
	v := w.restored("f", "1 f2")
	require.NoError(t, v.Delete(v.ctx, space, "f", ""))
	v.forgets("p", "f")

	w = newWorld(t, everything(0))
	w.append("other", "x")
	w.append("p", "1")
	w.fork("f", "p", 1)
	w.append("f", "f2")
	w.fork("g", "f", 2)
	require.NoError(t, w.Delete(w.ctx, space, "p", ""))
	require.NoError(t, w.Delete(w.ctx, space, "f", ""))
	w.move()
	require.Positive(t, w.chunks("p"))
	require.NoError(t, w.Delete(w.ctx, space, "g", "")) // its forks let go, and that is lost
	v = w.restored("g", "1 f2")
	require.NoError(t, v.Delete(v.ctx, space, "g", ""))
	v.forgets("p", "f", "g")
}

// forgets requires that nothing is left of segments once the archiver has been there.
func (w *world) forgets(segments ...string) {
	w.Helper()
	require.NoError(w, w.Sweep(w.ctx))
	w.append("other", "y")
	w.move()
	for _, segment := range segments {
		require.Zero(w, w.chunks(segment), segment)
	}
	w.whole()
}

// TestPruneAfterCrash lets an archiver end between the commit of a window that names a deletion and the removal of
// what was deleted from the archive.
func TestPruneAfterCrash(t *testing.T) {
	t.Parallel()
	for step := 1; ; step++ {
		w := newWorld(t, everything(0))
		w.append("s", "a", "b")
		w.append("other", "x")
		w.move()
		require.NoError(t, w.Delete(w.ctx, space, "s", ""))
		w.append("other", "y")
		s := &saboteur{step: step, mode: "dies before"}
		sabotaged := *w
		sabotaged.backend = &archivetest.Faulty{Backend: w.backend, Before: s.before, After: s.after}
		a := sabotaged.another(everything(0), s)
		s.armed = true
		_ = a.runner.Space(a.ctx, a.Store, space)
		s.armed = false
		w.overtake()
		require.Zero(t, w.chunks("s"), "step %d", step)
		w.whole()
		if s.writes < step {
			return
		}
	}
}

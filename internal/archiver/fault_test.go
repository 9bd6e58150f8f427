package archiver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A saboteur stands in the way of everything that one archiver writes, to the archive and to Redis.
type saboteur struct {
	step   int // the write that goes wrong
	mode   string
	meddle func() // for "overtaken"
	armed  bool
	writes int
	dead   bool
}

// The ways in which a step goes wrong: the process ends before or after it, it fails, its reply is
// lost, or it is so late that another archiver has done everything meanwhile.
var modes = []string{"dies before", "dies after", "fails", "reply lost", "overtaken"}

var errSabotage = fmt.Errorf("%w: sabotage", streamhub.ErrUnavailable)

func (s *saboteur) before(string) error {
	if s.dead {
		return errSabotage
	}
	if !s.armed {
		return nil
	}
	if s.writes++; s.writes != s.step {
		return nil
	}
	switch s.mode {
	case "dies before":
		s.dead = true
		return errSabotage
	case "fails":
		return errSabotage
	case "overtaken":
		s.meddle()
	}
	return nil
}

func (s *saboteur) after(string) error {
	if s.writes == s.step && !s.dead {
		switch s.mode {
		case "dies after":
			s.dead = true
			return errSabotage
		case "reply lost":
			s.writes++ // once
			return errSabotage
		}
	}
	return nil
}

func (s *saboteur) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (s *saboteur) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		writes := strings.HasPrefix(cmd.Name(), "eval")
		if !writes {
			return next(ctx, cmd)
		}
		if err := s.before(cmd.Name()); err != nil {
			cmd.SetErr(err)
			return err
		}
		err := next(ctx, cmd)
		if lost := s.after(cmd.Name()); lost != nil && err == nil {
			cmd.SetErr(lost)
			return lost
		}
		return err
	}
}

func (s *saboteur) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// overtake ends the lease of whoever archives, as if its time were over, and archives everything.
func (w *world) overtake() {
	w.Helper()
	w.endLease()
	w.another(everything(0)).move()
}

// whole requires that the archive is in order, and holds nothing that nobody committed.
func (w *world) whole() {
	w.Helper()
	report, err := archive.New(w.backend, nil).Verify(w.ctx, archive.SpaceID{Store: w.ID(), Space: space}, nil)
	require.NoError(w, err)
	require.Empty(w, report.Problems)
	require.Empty(w, report.Orphans)
}

// chain is the history as it must stay: every entry, its TRX and where it stands.
func (w *world) chain() []string {
	w.Helper()
	var all []string
	for _, e := range w.readSpace(nil) {
		all = append(all, fmt.Sprint(e.Segment, e.Sequence, e.TRX, string(e.Payload), e.Cursor()))
	}
	for i := range 6 {
		for n, e := range w.read(fmt.Sprint("s/", i), nil) {
			require.EqualValues(w, n+1, e.Sequence)
			all = append(all, fmt.Sprint(e.Segment, e.Sequence, e.TRX, string(e.Payload), e.Cursor()))
		}
	}
	return all
}

// TestEveryStep lets each write of an archiver go wrong in each way.
func TestEveryStep(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			runs := 0
			for step, more := 1, true; more; step++ {
				t.Run(fmt.Sprint(step), func(t *testing.T) {
					if more = goesWrong(t, mode, step); more {
						runs++
					}
				})
				if t.Failed() {
					return
				}
			}
			require.GreaterOrEqual(t, runs, 18)
		})
	}
}

// goesWrong lets a write of an archiver go wrong, and reports whether there were as many writes.
// Afterwards everything is there once, and the next archiver finishes the work.
func goesWrong(t *testing.T, mode string, step int) bool {
	v := newWorld(t, everything(0))
	v.history(uint64(step), 6)
	if step%2 == 0 { // something is archived already
		v = v.another(everything(2))
		v.move()
		v.history(uint64(step), 6)
	}
	want := v.chain()

	s := &saboteur{step: step, mode: mode, meddle: v.overtake}
	sabotaged := *v
	sabotaged.backend = &archivetest.Faulty{Backend: v.backend, Before: s.before, After: s.after}
	a := sabotaged.another(everything(0), s)
	s.armed = true
	err := a.runner.Space(a.ctx, a.Store, space)
	s.armed = false
	if s.writes < step {
		require.NoError(t, err)
		return false
	}
	v.same(want, v.another(everything(0)).chain())
	v.overtake()
	fresh := v.another(everything(0))
	v.same(want, fresh.chain())
	v.whole()
	for i := range 6 {
		require.Zero(t, fresh.hot(fmt.Sprint("s/", i)), err)
	}
	fresh.append("s/0", "goes on")
	require.Len(t, fresh.readSpace(nil), len(want)/2+1)
	return true
}

// TestTwoArchivers lets several of them work on the same space at once, each without regard to the
// lease, while there are appends and reads.
func TestTwoArchivers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(1))
	random := rand.New(rand.NewPCG(3, 3))
	for round := range 12 {
		w.history(uint64(round), 4)
		want := w.chain()
		done := make(chan error, 3)
		for range 3 {
			v := w.another(everything(random.Uint64N(3)))
			go func() {
				v.endLease()
				done <- v.runner.Space(v.ctx, v.Store, space)
			}()
		}
		for range 3 {
			if err := <-done; err != nil && !errors.Is(err, streamhub.ErrFenced) && !errors.Is(err, streamhub.ErrLeaseLost) {
				require.ErrorIs(t, err, streamhub.ErrHistoryLost) // its place was trimmed by the other one
			}
		}
		w.same(want, w.another(everything(0)).chain())
	}
	w.overtake()
	w.whole()
}

// endLease lets the time of every lease of the archiver be over.
func (w *world) endLease() {
	keys, err := w.conn.Keys(w.ctx, "*archive*:l").Result()
	require.NoError(w, err)
	require.NoError(w, w.conn.Del(w.ctx, append(keys, "none")...).Err())
}

// A tracer calls see before each command that an archiver sends, with the words of the command.
type tracer struct {
	redis.Hook
	see func(words string)
}

func (h *tracer) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *tracer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.see(fmt.Sprint(cmd.Args()...))
		return next(ctx, cmd)
	}
}

func (h *tracer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.see(fmt.Sprint(cmd.Args()...))
		}
		return next(ctx, cmds)
	}
}

// TestSteadyDeletes deletes, replaces or trims segments that come early while the archiver is at them, before each
// command that names them. The segment that comes last leaves Redis all the same.
func TestSteadyDeletes(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"delete", "replace", "trim"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for step := 1; ; step++ {
				w := newWorld(t, everything(0))
				for range 3 {
					w.append("early", "a", "b")
					w.append("z", "c", "d")
				}
				o := everything(0)
				w.another(tier.Options{Policy: tier.Policy{Age: time.Nanosecond, KeepLast: 100}, Recent: 1}).move() // all is archived, nothing moved
				for range 3 {                                                                                       // the end stays, so the place of the cut has to be found
					w.append("early", "e")
					w.append("z", "f")
				}
				o.Policy.KeepLast = 2
				meta, n := hotlog.Key(w.ID(), space, "m:")+"early", 0
				a := w.another(o, &tracer{see: func(words string) {
					if !strings.Contains(words, meta) && !strings.Contains(words, hotlog.Key(w.ID(), space, "e:")+"early") {
						return
					}
					if n++; n != step {
						return
					}
					if how == "trim" {
						_, err := w.Trim(w.ctx, space, "early", 7)
						require.NoError(t, err)
						return
					}
					require.NoError(t, w.Delete(w.ctx, space, "early", ""))
					if how == "replace" {
						_, _, err := w.Create(w.ctx, space, "early", nil)
						require.NoError(t, err)
						w.append("early", "new")
					}
				}})
				require.NoError(t, a.runner.Space(a.ctx, a.Store, space), "step %d", step)
				a.runner.Release(w.ctx)
				require.EqualValues(t, 2, w.hot("z"), "step %d", step)
				require.Equal(t, "c d c d c d f f f", w.payloads("z", nil))
				w.move()
				require.Equal(t, "c d c d c d f f f", w.payloads("z", nil))
				if n < step {
					require.Greater(t, step, 8)
					return
				}
				switch how {
				case "trim":
					require.Equal(t, "e e", w.payloads("early", nil))
				case "replace":
					require.Equal(t, "new", w.payloads("early", nil))
				}
				w.whole()
			}
		})
	}
}

//go:build faults

package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestSlotMoves moves the slot of a space from master to master, key by key, while everything happens in the space that
// can. Nobody gets an error: a call waits until its keys are together. Nothing is lost, and nothing is there twice.
func TestSlotMoves(t *testing.T) {
	for _, archived := range []bool{false, true} {
		t.Run(fmt.Sprintf("archived=%v", archived), func(t *testing.T) { moveSlots(t, archived) })
	}
}

// A slotWorld is a space whose slot moves.
type slotWorld struct {
	*testing.T
	ctx   context.Context
	space string

	group   sync.WaitGroup
	stop    chan struct{}
	rounds  [16]atomic.Int64 // how often each worker has done its work
	workers int
	slowest atomic.Int64

	mu    sync.Mutex
	acked map[string][]string // payloads, by segment
}

// work does something again and again until the world ends. Its errors fail the test.
func (w *slotWorld) work(name string, do func(n int) error) {
	id := w.workers
	w.workers++
	w.group.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-w.stop:
				return
			default:
			}
			begin := time.Now()
			if err := do(n); err != nil {
				w.Errorf("%s, round %d: %v", name, n, err)
				return
			}
			for took := int64(time.Since(begin)); ; {
				if had := w.slowest.Load(); took <= had || w.slowest.CompareAndSwap(had, took) {
					break
				}
			}
			w.rounds[id].Add(1)
		}
	})
}

func (w *slotWorld) append(s *hub.Store, segment string, o *streamhub.AppendOptions) error {
	w.mu.Lock()
	payload := fmt.Sprintf("%s/%d", segment, len(w.acked[segment]))
	w.mu.Unlock()
	_, err := s.Append(w.ctx, w.space, segment, []streamhub.Record{{Payload: []byte(payload)}}, o)
	if err == nil {
		w.mu.Lock()
		w.acked[segment] = append(w.acked[segment], payload)
		w.mu.Unlock()
	}
	return err
}

// progress waits until every worker has worked once more.
func (w *slotWorld) progress(limit time.Duration) {
	w.Helper()
	var before [16]int64
	for i := range w.workers {
		before[i] = w.rounds[i].Load()
	}
	eventually(w.T, limit, func(context.Context) error {
		for i := range w.workers {
			if w.rounds[i].Load() <= before[i]+1 {
				return fmt.Errorf("worker %d does nothing", i)
			}
		}
		return nil
	})
}

func moveSlots(t *testing.T, archived bool) {
	c := testredis.StartCluster(t, 3, 0, nil)
	url := clusterURL(c)
	options := hub.Options{Recheck: 100 * time.Millisecond, SweepEvery: 50 * time.Millisecond}
	if archived {
		options.Archive = archive.NewMemory()
		options.Archiving = tier.Options{Every: 50 * time.Millisecond, Policy: tier.Policy{Age: 100 * time.Millisecond, KeepLast: 10}}
	}
	one, two := open(t, client(t, url), &options), open(t, client(t, url), &options)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &slotWorld{T: t, ctx: ctx, space: "moving", stop: make(chan struct{}), acked: map[string][]string{}}
	s, other := one.Store(testStore), two.Store(testStore)

	for i := range 3 {
		segment := fmt.Sprintf("timed-%d", i)
		_, _, err := s.Create(ctx, w.space, segment, &streamhub.CreateOptions{TTL: time.Hour})
		require.NoError(t, err)
		w.work("append with a time to live", func(int) error { return w.append(s, segment, nil) })
	}
	w.work("append by turns", func(n int) error {
		return w.append([]*hub.Store{s, other}[n%2], "both", nil)
	})
	w.work("named producer", func(n int) error {
		return w.append(other, "named", &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "me", Epoch: 1, Seq: uint64(n)}})
	})
	w.work("create, touch, close, delete", func(n int) error {
		segment := fmt.Sprintf("short-%d", n)
		if _, _, err := s.Create(ctx, w.space, segment, &streamhub.CreateOptions{TTL: time.Minute}); err != nil {
			return err
		}
		for range 2 {
			if _, err := s.Append(ctx, w.space, segment, []streamhub.Record{{Payload: []byte("gone")}}, nil); err != nil {
				return err
			}
		}
		if _, err := s.Touch(ctx, w.space, segment); err != nil {
			return err
		}
		if _, err := s.CloseSegment(ctx, w.space, segment, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); err != nil {
			return err
		}
		return s.Delete(ctx, w.space, segment, "over")
	})
	var cut [2]atomic.Uint64 // how much the followers have seen of what is trimmed
	w.work("trim what the followers have seen", func(int) error {
		r, err := s.Append(ctx, w.space, "cut", []streamhub.Record{{Payload: []byte("gone")}}, nil)
		if err != nil {
			return err
		}
		for i := range cut {
			for begin := time.Now(); cut[i].Load() < r.Last; pause.For(ctx, time.Millisecond) {
				if time.Since(begin) > 30*time.Second {
					return fmt.Errorf("follower %d does not get entry %d", i, r.Last)
				}
			}
		}
		_, err = s.Trim(ctx, w.space, "cut", r.Last)
		return err
	})
	w.work("consume the space", func(int) error {
		seen := 0
		for _, err := range other.ConsumeSpace(ctx, w.space, nil) {
			if err != nil {
				return err
			}
			seen++
		}
		return nil
	})
	w.work("status, peek, list", func(int) error {
		if _, err := other.Status(ctx, w.space, "timed-0"); err != nil {
			return err
		}
		if _, err := other.Peek(ctx, w.space, "timed-0"); err != nil {
			return err
		}
		for _, err := range other.Segments(ctx, w.space) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.work("live stream", func(n int) error {
		streams := s.Live(w.space)
		id := fmt.Sprintf("live-%d", n)
		p, _, err := streams.Register(ctx, id, nil)
		if err != nil {
			return err
		}
		if err := p.Publish(ctx, []byte("x")); err != nil {
			return err
		}
		if err := p.Done(ctx, nil); err != nil {
			return err
		}
		return streams.Remove(ctx, id)
	})

	// Followers of the space see what is appended once and in order, whichever way the slot goes.
	var following sync.WaitGroup
	followed := make([]map[string][]string, 2)
	var counts [2]atomic.Int64
	for i, from := range []*hub.Store{s, other} {
		followed[i] = map[string][]string{}
		following.Go(func() {
			for e, err := range from.FollowSpace(ctx, w.space, nil) {
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("follow the space: %v", err)
					}
					return
				}
				if e.Segment == "cut" {
					cut[i].Store(e.Position.Sequence)
				}
				if string(e.Payload) != "gone" && string(e.Payload) != "x" {
					followed[i][e.Segment] = append(followed[i][e.Segment], string(e.Payload))
					counts[i].Add(1)
				}
			}
		})
	}

	w.progress(30 * time.Second)
	moves, keys := rounds(t, "STREAMHUB_SLOTS", pick(3, 50)), 0 // SLOTS of make slots
	var longest time.Duration
	for n := range moves {
		begin := time.Now()
		to := (c.MasterFor(tagOf(w.space)) + 1 + n%2) % 3
		moved, err := c.MoveSlot(ctx, tagOf(w.space), to, func() {
			pause.For(ctx, time.Millisecond)
		})
		require.NoError(t, err)
		keys += moved
		longest = max(longest, time.Since(begin))
		w.progress(30 * time.Second)
		if t.Failed() {
			break
		}
	}
	close(w.stop)
	w.group.Wait()

	total := 0
	for _, payloads := range w.acked {
		total += len(payloads)
	}
	eventually(t, 30*time.Second, func(context.Context) error {
		for i := range counts {
			if n := counts[i].Load(); n < int64(total) {
				return fmt.Errorf("follower %d has %d of %d", i, n, total)
			}
		}
		return nil
	})
	cancel()
	following.Wait()
	for i := range followed {
		require.Equal(t, w.acked, followed[i], "follower %d", i)
	}
	for segment, want := range w.acked {
		var got []string
		for e, err := range other.ConsumeSegment(t.Context(), w.space, segment, nil) {
			require.NoError(t, err)
			got = append(got, string(e.Payload))
		}
		require.True(t, slices.Equal(want, got), segment)
	}
	if archived {
		require.NoError(t, one.ArchiveNow(t.Context()), "the archiver goes on")
	}
	t.Logf("%d moves, %d keys, the longest took %v; %d appends, the slowest call took %v",
		moves, keys, longest.Round(time.Millisecond), total, time.Duration(w.slowest.Load()).Round(time.Millisecond))
}

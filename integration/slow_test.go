//go:build faults

package integration

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// floodConfig is that of a worker that appends Count entries over Time, ten at once. Each begins
// with the time at which it was sent.
type floodConfig struct {
	base
	Space, Segment string
	Count, Size    int
	Time           time.Duration
}

func init() { roles["flood"] = floodRole }

func floodRole(ctx context.Context, config []byte, lines *bufio.Scanner) error {
	var c floodConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	s, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintln(os.Stderr, "ready")
	lines.Scan()
	const batch = 10
	var slowest time.Duration
	begin := time.Now()
	for n := 0; n < c.Count; n += batch {
		due := time.Duration(float64(c.Time) * float64(n) / float64(c.Count))
		if wait := due - time.Since(begin); wait > 0 && !pause.For(ctx, wait) {
			return ctx.Err()
		}
		r := make([]streamhub.Record, batch)
		for i := range r {
			r[i].Payload = make([]byte, c.Size)
			binary.BigEndian.PutUint64(r[i].Payload, uint64(clock()))
		}
		sent := time.Now()
		if _, err := s.Append(ctx, c.Space, c.Segment, r, nil); err != nil {
			return err
		}
		slowest = max(slowest, time.Since(sent))
	}
	return json.NewEncoder(os.Stdout).Encode(slowest)
}

// lags are how long entries took from their writer to a follower.
type lags []time.Duration

func (l lags) at(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(len(l)-1, int(q*float64(len(l))))].Round(10 * time.Microsecond)
}

// TestSlowFollower has a follower that does not read while very many entries pass. It costs the
// process little memory and the other followers no time, and then gets every entry.
func TestSlowFollower(t *testing.T) {
	const healthy = 3
	count, stall := pick(50_000, 100_000), pick(10*time.Second, time.Minute)
	const size, limit = 1000, 32 << 20
	server := testredis.Start(t, nil)
	s := open(t, client(t, server.URL()), &hub.Options{}).Store(testStore)
	flood := func(segment string, count int, over time.Duration) *worker {
		w := start(t, "flood", "flood", floodConfig{
			base:  base{URL: server.URL(), Store: testStore, Name: "flood"},
			Space: "space", Segment: segment, Count: count, Size: size, Time: over,
		})
		w.tell("go")
		return w
	}
	// follow returns the lags of healthy followers of a segment, when they have had count entries.
	follow := func(ctx context.Context, segment string, count int) func() lags {
		var all lags
		var mu sync.Mutex
		var running sync.WaitGroup
		for range healthy {
			running.Go(func() {
				var own lags
				next := uint64(1)
				for e, err := range s.FollowSegment(ctx, "space", segment, nil) {
					if err != nil || e.Sequence != next {
						t.Errorf("a healthy follower got %d where %d belongs: %v", e.Sequence, next, err)
						return
					}
					own = append(own, time.Duration(clock()-int64(binary.BigEndian.Uint64(e.Payload))))
					if next++; next > uint64(count) {
						break
					}
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, own...)
			})
		}
		return func() lags { running.Wait(); return all }
	}
	ctx := within(t, stall+2*time.Minute)

	// How long it takes without a slow one, at the same rate.
	baseline := follow(ctx, "baseline", count/4)
	sampled := func(w *worker) (most, mostRSS uint64) {
		for running := true; running; {
			select {
			case <-w.ended:
				running = false
			case <-time.After(500 * time.Millisecond):
			}
			most, mostRSS = max(most, heap()), max(mostRSS, rss(os.Getpid()))
		}
		w.wait(time.Minute)
		return most, mostRSS
	}
	sampled(flood("baseline", count/4, stall/4))
	usual := baseline()

	var stalled sync.WaitGroup
	release, received := make(chan struct{}), 0
	var tookAll time.Duration
	stalled.Go(func() {
		next := uint64(1)
		var woke time.Time
		for e, err := range s.FollowSegment(ctx, "space", "segment", nil) {
			if err != nil || e.Sequence != next || len(e.Payload) != size {
				t.Errorf("the slow follower got %d where %d belongs: %v", e.Sequence, next, err)
				return
			}
			if next == 1 {
				select {
				case <-release:
					woke = time.Now()
				case <-ctx.Done():
					return
				}
			}
			received++
			if next++; next > uint64(count) {
				tookAll = time.Since(woke)
				return
			}
		}
	})
	during := follow(ctx, "segment", count)
	start, startRSS := heap(), rss(os.Getpid())
	w := flood("segment", count, stall)
	most, mostRSS := sampled(w)
	lag := during()
	most = max(most, heap())
	close(release)
	stalled.Wait()
	require.Equal(t, count, received)
	var slowest time.Duration
	w.next(&slowest)
	// The lags kept by this test itself are 8 bytes for each entry and follower, with room to grow.
	t.Logf("heap %d KiB, at most %d KiB; RSS %d KiB, at most %d KiB", start>>10, most>>10, startRSS>>10, mostRSS>>10)
	t.Logf("lag of the others: %v median, %v p99, %v at most; without a slow one %v, %v, %v",
		lag.at(.5), lag.at(.99), lag.at(1), usual.at(.5), usual.at(.99), usual.at(1))
	t.Logf("the slowest append took %v", slowest)
	t.Logf("the slow one got %d entries in %v", received, tookAll.Round(time.Millisecond))
	require.Less(t, most, start+limit, "heap in use")
	// An append that the machine held up is late for everybody.
	require.Less(t, lag.at(.5), max(5*usual.at(.5), 20*time.Millisecond), "the others were slowed")
	require.Less(t, lag.at(.99), max(5*usual.at(.99), 250*time.Millisecond+slowest), "the others were slowed")
	require.Less(t, tookAll, 30*time.Second)
}

// heap is what the process has in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// rss is the memory of a process in the eyes of the kernel, 0 where that is not known.
func rss(pid int) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

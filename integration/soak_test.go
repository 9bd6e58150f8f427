//go:build soak

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

const (
	soakWorkers  = 8
	soakNames    = 25 // of the segments of a worker, used again and again: a tombstone stays for a day
	soakEntries  = 20
	soakSamples  = 80
	soakRestarts = 10 // of the hubs; Redis has half as many
)

// A soaker is a mixed load that comes back to where it began.
type soaker struct {
	t     *testing.T
	store uuid.UUID
	hubs  [2]atomic.Pointer[soaked]
	jobs  atomic.Int64 // that ended as they should
	away  atomic.Int64 // calls that ended because a hub or Redis was restarted
}

// A soaked is a hub with its connection, as a process has it.
type soaked struct {
	*hub.Hub
	client redis.UniversalClient
}

func (h *soaked) close() error { return errors.Join(h.Close(), h.client.Close()) }

// TestSoak runs a mixed load for SOAKTIME, with restarts of hubs and of Redis. Heap, goroutines, keys and
// timeline entries do not grow over the last half.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("SOAKTIME"))
	require.NoError(t, err, "SOAKTIME, such as 2h")
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	s := &soaker{t: t, store: uuid.New()}
	open := func() *soaked {
		client, err := hub.NewClient(server.URL())
		require.NoError(t, err)
		h, err := hub.Open(t.Context(), client, &hub.Options{SweepEvery: time.Second, Recheck: time.Second})
		require.NoError(t, err)
		return &soaked{h, client}
	}
	for i := range s.hubs {
		s.hubs[i].Store(open())
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var load sync.WaitGroup
	for worker := range soakWorkers {
		load.Go(func() {
			for job := 0; ctx.Err() == nil; job++ {
				s.job(ctx, worker, job)
			}
		})
	}

	watch := server.Client()
	defer func() { require.NoError(t, watch.Close()) }()
	sample := time.NewTicker(length / soakSamples)
	defer sample.Stop()
	restart := time.NewTicker(length / soakRestarts)
	defer restart.Stop()
	kinds := []string{"heap", "goroutines", "keys", "timeline"}
	slack := map[string]int64{"heap": 8 << 20, "goroutines": 40, "keys": 100, "timeline": 1000}
	samples := map[string][]int64{}
	for restarts := 0; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-restart.C:
			h := open()
			require.NoError(t, s.hubs[restarts%2].Swap(h).close())
			if restarts%2 == 1 {
				server.Kill()
				server.Restart()
			}
			restarts++
		case <-sample.C:
			runtime.GC()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			keys, err := watch.DBSize(ctx).Result()
			if err != nil {
				continue
			}
			var timeline int64
			for worker := range soakWorkers {
				n, _ := watch.XLen(ctx, fmt.Sprintf("sh:{%s.%s}:t", s.store, soakSpace(worker))).Result()
				timeline += n
			}
			for i, n := range []int64{int64(memory.HeapAlloc), int64(runtime.NumGoroutine()), keys, timeline} {
				samples[kinds[i]] = append(samples[kinds[i]], n)
			}
			t.Logf("%d jobs, heap %d KiB, %d goroutines, %d keys, %d timeline entries, %d calls met a restart",
				s.jobs.Load(), memory.HeapAlloc>>10, runtime.NumGoroutine(), keys, timeline, s.away.Load())
		}
	}
	load.Wait()
	for i := range s.hubs {
		require.NoError(t, s.hubs[i].Load().close())
	}
	require.Greater(t, s.jobs.Load(), int64(soakWorkers*soakNames), "jobs that ended as they should")
	for _, kind := range kinds {
		n := samples[kind]
		require.Greater(t, len(n), soakSamples/2)
		third, fourth := median(n[len(n)/2:len(n)*3/4]), median(n[len(n)*3/4:])
		t.Logf("%s: %d in the third quarter, %d in the fourth", kind, third, fourth)
		require.LessOrEqual(t, fourth, third+third/5+slack[kind], kind)
	}
}

func median(n []int64) int64 {
	n = slices.Sorted(slices.Values(n))
	return n[len(n)/2]
}

func soakSpace(worker int) string { return fmt.Sprint("soak-", worker%4) }

// job creates a segment, has it followed while it is written, closes it and lets it go: it is deleted,
// or expires. Beside it the worker appends to a segment that is trimmed, under a lease.
func (s *soaker) job(ctx context.Context, worker, job int) {
	store := s.hubs[job%2].Load().Store(s.store)
	space, name := soakSpace(worker), fmt.Sprintf("%d-%d", worker, job%soakNames)
	ok := func(what string, err error) bool {
		if err == nil {
			return true
		}
		if ctx.Err() == nil && !streamhub.Retryable(err) && !errors.Is(err, streamhub.ErrShutdown) {
			s.t.Errorf("%s %s/%s: %v", what, space, name, err)
		}
		s.away.Add(1)
		return false
	}
	gone := func() bool {
		err := store.Delete(ctx, space, name, "over")
		return errors.Is(err, streamhub.ErrNotFound) || ok("delete", err)
	}
	if !gone() {
		return
	}
	status, _, err := store.Create(ctx, space, name, &streamhub.CreateOptions{TTL: 30 * time.Second})
	if !ok("create", err) {
		return
	}
	var follower sync.WaitGroup
	defer follower.Wait()
	following, end := context.WithCancel(ctx)
	defer end()
	follower.Go(func() {
		want := uint64(1)
		for e, err := range store.FollowSegment(following, space, name, &streamhub.FollowOptions{Cursor: status.Position.Cursor()}) {
			switch {
			case err == nil && e.Sequence == want:
				want++
			case err == nil:
				s.t.Errorf("%s/%s: entry %d, want %d", space, name, e.Sequence, want)
			case errors.Is(err, streamhub.ErrClosed) && want == soakEntries+1:
				s.jobs.Add(1)
			case following.Err() == nil:
				ok("follow", err)
			}
		}
	})
	for i := range soakEntries {
		_, err := store.Append(ctx, space, name, []streamhub.Record{{Payload: fmt.Appendf(nil, "entry %d", i)}}, nil)
		if !ok("append", err) {
			return
		}
	}
	if _, err := store.CloseSegment(ctx, space, name, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); !ok("close", err) {
		return
	}
	follower.Wait()
	if job%2 == 0 && !gone() {
		return
	}
	long, key := fmt.Sprint("long ", worker), fmt.Sprint("lease ", worker)
	if _, err := store.AcquireLeaseAs(ctx, key, "holder", 10*time.Second); !ok("lease", err) {
		return
	}
	r, err := store.Append(ctx, space, long, []streamhub.Record{{Payload: make([]byte, 1000)}}, nil)
	if ok("append", err) && r.Last > 100 {
		_, err := store.Trim(ctx, space, long, r.Last-100)
		ok("trim", err)
	}
	_, err = store.ReleaseLeaseAs(ctx, key, "holder")
	ok("release", err)
}

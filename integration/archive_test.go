//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/pebble"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

const coldSpace = "logs"

// logLine is entry n of a segment: a line of a text log.
func logLine(segment string, n uint64) []byte {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, segment, n)
	r := rand.New(rand.NewPCG(h.Sum64(), n))
	verbs := []string{"GET", "POST", "PUT"}
	paths := []string{"/api/orders", "/api/users", "/health", "/api/orders/search", "/static/app.js"}
	return fmt.Appendf(nil, `{"level":"info","ts":"2026-11-21T%02d:%02d:%02d.%03dZ","host":"web-%d","msg":"request","method":%q,"path":"%s/%d","status":200,"ms":%d}`,
		n/3600000%24, n/60000%60, n/1000%60, n%1000, r.IntN(8), verbs[r.IntN(3)], paths[r.IntN(5)], r.IntN(10000), r.IntN(300))
}

// usedMemory is what the data of a Redis take.
func usedMemory(ctx context.Context, c redis.UniversalClient) (int64, error) {
	info, err := c.Info(ctx, "memory").Result()
	_, text, _ := strings.Cut(info, "used_memory_dataset:")
	text, _, _ = strings.Cut(text, "\r\n")
	// Redis 8 gives a negative number, as one without a sign, where it counts more overhead than memory.
	n, parseErr := strconv.ParseUint(text, 10, 64)
	return int64(n), errors.Join(err, parseErr)
}

// TestArchiveBounded writes far more than Redis may hold, while readers read everywhere. Redis stays
// small, and at the end everything is there, in order and byte for byte.
func TestArchiveBounded(t *testing.T) {
	segments, total := pick(uint64(200), uint64(1000)), pick(uint64(200_000), uint64(1_000_000))
	limit := pick(int64(16<<20), int64(64<<20))
	const readers, frame = 20, 20
	server := testredis.Start(t, nil)
	backend, err := pebble.Open(filepath.Join(t.TempDir(), "cold"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	c := client(t, server.URL())
	s := open(t, c, &hub.Options{
		Archive:   backend,
		Archiving: tier.Options{Policy: tier.Policy{HotBytes: limit, KeepLast: 1}, Every: 20 * time.Millisecond},
	}).Store(testStore)
	ctx := within(t, 15*time.Minute)
	name := func(i uint64) string { return fmt.Sprintf("app-%04d", i) }

	written := make([]atomic.Uint64, segments)
	var raw, full atomic.Int64
	var done atomic.Bool
	var highest int64
	var tasks sync.WaitGroup
	tasks.Go(func() { // the writer
		defer done.Store(true)
		random := rand.New(rand.NewPCG(seedOf(t), 1))
		// It pauses so that an eighth of the limit is more than what it writes between two looks at the size.
		for sum := uint64(0); sum < total && pause.For(ctx, 5*time.Millisecond); {
			var batch []streamhub.Append
			for _, i := range random.Perm(int(segments))[:16] {
				a := streamhub.Append{Space: coldSpace, Segment: name(uint64(i))}
				at := written[i].Load()
				for n := range uint64(frame) {
					line := logLine(a.Segment, at+n+1)
					a.Records = append(a.Records, streamhub.Record{Payload: line})
				}
				batch = append(batch, a)
			}
			_, errs := s.AppendAll(ctx, batch)
			for n, err := range errs {
				var i uint64
				_, _ = fmt.Sscanf(batch[n].Segment, "app-%d", &i)
				var unavailable *streamhub.UnavailableError
				switch {
				case err == nil:
					written[i].Add(frame)
					sum += frame
					for _, r := range batch[n].Records {
						raw.Add(int64(len(r.Payload)))
					}
				case errors.As(err, &unavailable) && unavailable.Reason == streamhub.ReasonFull:
					full.Add(1)
					pause.For(ctx, 10*time.Millisecond)
				default:
					t.Error(err)
					return
				}
			}
		}
	})
	var read atomic.Int64
	for n := range readers {
		tasks.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 2))
			for !done.Load() && pause.For(ctx, 20*time.Millisecond) { // they are not to keep the archiver from its work
				i := random.Uint64N(segments)
				have := written[i].Load()
				if have == 0 {
					continue
				}
				from := 1 + random.Uint64N(have)
				next := from
				for e, err := range s.ConsumeSegment(ctx, coldSpace, name(i), &streamhub.ReadOptions{FromSequence: from, Limit: 500}) {
					if err != nil || e.Sequence != next || string(e.Payload) != string(logLine(name(i), next)) {
						t.Errorf("%s %d: %d %q %v", name(i), next, e.Sequence, e.Payload, err)
						return
					}
					next++
					read.Add(1)
				}
				if next <= min(have, from+499) {
					t.Errorf("%s: read ended before %d of %d", name(i), next, have)
				}
			}
		})
	}
	begin := time.Now()
	for !done.Load() && pause.For(ctx, 50*time.Millisecond) {
		used, err := usedMemory(ctx, c)
		require.NoError(t, err)
		highest = max(highest, used)
	}
	tasks.Wait()
	took := time.Since(begin)

	entries := 0
	next := make([]uint64, segments)
	begin = time.Now()
	for e, err := range s.ConsumeSpace(ctx, coldSpace, nil) {
		require.NoError(t, err)
		var i uint64
		_, _ = fmt.Sscanf(e.Segment, "app-%d", &i)
		next[i]++
		if e.Sequence != next[i] || string(e.Payload) != string(logLine(e.Segment, e.Sequence)) {
			t.Fatalf("%s %d: %d %q", e.Segment, next[i], e.Sequence, e.Payload)
		}
		entries++
	}
	full1 := time.Since(begin)
	for i := range next {
		require.Equal(t, written[i].Load(), next[i], name(uint64(i)))
	}
	m, err := archive.New(backend, nil).Manifest(ctx, archive.SpaceID{Store: testStore, Space: coldSpace})
	require.NoError(t, err)
	perByte := float64(m.Commit.Bytes) / (float64(raw.Load()) * float64(m.Commit.Entries) / float64(entries))
	t.Logf("%d entries, %d of them archived, %.1f MB raw, in %v; %d read meanwhile, %d appends refused; Redis at most %.1f MiB of %d; whole space read in %v; the archive takes %.1f %% of the raw bytes",
		entries, m.Commit.Entries, float64(raw.Load())/1e6, took.Round(time.Millisecond), read.Load(), full.Load(),
		float64(highest)/(1<<20), limit>>20, full1.Round(time.Millisecond), 100*perByte)
	// What is beyond the limit is for a machine on which the archiver did not run for a while.
	require.Less(t, highest, limit+limit/2)
	require.Less(t, perByte, 0.4)
	require.Greater(t, m.Commit.Entries, uint64(entries/2))
}

// counted counts the objects that are read.
type counted struct {
	archive.Backend
	chunks atomic.Int64
}

func (b *counted) Get(ctx context.Context, space archive.SpaceID, key string) ([]byte, error) {
	if strings.HasPrefix(key, "s!") {
		b.chunks.Add(1)
	}
	return b.Backend.Get(ctx, space, key)
}

// TestArchiveSpeed reads a segment hot and cold in turn, and a small range of its time.
func TestArchiveSpeed(t *testing.T) {
	const total, frame, rounds = 200_000, 20, 5
	server := testredis.Start(t, nil)
	dir := filepath.Join(t.TempDir(), "cold")
	inner, err := pebble.Open(dir, nil)
	require.NoError(t, err)
	backend := &counted{Backend: inner}
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	options := &hub.Options{
		Archive:   backend,
		Archiving: tier.Options{Every: -1, CacheBytes: 1, ChunkBytes: 128 << 10, Policy: tier.Policy{Age: time.Nanosecond}},
	}
	h := open(t, client(t, server.URL()), options)
	s := h.Store(testStore)
	ctx := within(t, 10*time.Minute)
	fill := func(space string) (first, last time.Time) {
		var records []streamhub.Record
		for n := uint64(1); n <= total; n++ {
			records = append(records, streamhub.Record{Payload: logLine("s", n)})
			if len(records) == frame {
				r, err := s.Append(ctx, space, "s", records, nil)
				require.NoError(t, err)
				if first.IsZero() {
					first = r.Timestamp
				}
				last, records = r.Timestamp, nil
			}
		}
		return first, last
	}
	first, last := fill("cold")
	require.NoError(t, h.ArchiveNow(ctx))
	fill("hot")
	consume := func(space string, o *streamhub.ReadOptions) (n int, took time.Duration) {
		begin := time.Now()
		for _, err := range s.ConsumeSegment(ctx, space, "s", o) {
			require.NoError(t, err)
			n++
		}
		return n, time.Since(begin)
	}
	var ratios []float64
	for range rounds {
		n, hot := consume("hot", nil)
		require.Equal(t, total, n)
		n, cold := consume("cold", nil)
		require.Equal(t, total, n)
		ratios = append(ratios, float64(hot)/float64(cold))
	}
	slices.Sort(ratios)
	backend.chunks.Store(0)
	_, _ = consume("cold", nil)
	chunks := backend.chunks.Swap(0)
	middle := first.Add(last.Sub(first) / 2)
	n, _ := consume("cold", &streamhub.ReadOptions{After: middle, Until: middle.Add(last.Sub(first) / 100)})
	some := backend.chunks.Load()
	t.Logf("cold at %.2f of the speed of hot (%.2f to %.2f); %d of %d entries by time read %d of %d chunks",
		ratios[rounds/2], ratios[0], ratios[rounds-1], n, total, some, chunks)
	require.Positive(t, n)
	// Those that hold the entries, and a few that the search for the time reads.
	require.LessOrEqual(t, some, int64(n)*chunks/total+8)
}

package hotlog_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// The benchmarks come in pairs: what the log does, and the raw command through the same driver.
// Compare within one run; the machine decides the rest.

func benchStore(b *testing.B) (*hotlog.Store, *redis.Client) {
	server := testredis.Start(b, nil)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: 64})
	b.Cleanup(func() { client.Close() })
	conn, err := redisx.Connect(b.Context(), client)
	if err != nil {
		b.Fatal(err)
	}
	log, err := hotlog.Open(b.Context(), conn, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	return log.Store(uuid.Nil), client
}

// redisTime is how long the server has spent in commands.
func redisTime(b *testing.B, client *redis.Client) time.Duration {
	info, err := client.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	var total time.Duration
	for line := range strings.Lines(info) {
		name, facts, _ := strings.Cut(line, ":")
		if name == "cmdstat_evalsha" || name == "cmdstat_xadd" && !strings.Contains(info, "cmdstat_evalsha") {
			var calls, usec int64
			if _, err := fmt.Sscanf(facts, "calls=%d,usec=%d", &calls, &usec); err != nil {
				b.Fatal(err)
			}
			total += time.Duration(usec) * time.Microsecond
		}
	}
	return total
}

func inParallel(b *testing.B, client *redis.Client, goroutines int, do func(ctx context.Context, worker int) error) {
	defer func(before time.Duration) {
		b.ReportMetric(float64(redisTime(b, client)-before)/float64(b.N), "redis-ns/op")
	}(redisTime(b, client))
	b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
	var workers atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		worker := int(workers.Add(1))
		for pb.Next() {
			if err := do(context.Background(), worker); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	payload := make([]byte, 100)
	records := []streamhub.Record{{Payload: payload}}
	for _, goroutines := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("raw/xadd/callers=%d", goroutines), func(b *testing.B) {
			_, client := benchStore(b)
			inParallel(b, client, goroutines, func(ctx context.Context, worker int) error {
				return client.XAdd(ctx, &redis.XAddArgs{Stream: "s" + strconv.Itoa(worker%64), Values: []any{"d", payload}}).Err()
			})
		})
		for _, segments := range []int{1, 64} {
			b.Run(fmt.Sprintf("log/segments=%d/callers=%d", segments, goroutines), func(b *testing.B) {
				s, client := benchStore(b)
				inParallel(b, client, goroutines, func(ctx context.Context, worker int) error {
					_, err := s.Append(ctx, "bench", "s"+strconv.Itoa(worker%segments), records, nil)
					return err
				})
			})
		}
		b.Run(fmt.Sprintf("log/spaces=64/callers=%d", goroutines), func(b *testing.B) {
			s, client := benchStore(b)
			inParallel(b, client, goroutines, func(ctx context.Context, worker int) error {
				_, err := s.Append(ctx, "bench"+strconv.Itoa(worker%64), "s", records, nil)
				return err
			})
		})
	}
}

func BenchmarkAppendBatch(b *testing.B) {
	records := make([]streamhub.Record, 100)
	for i := range records {
		records[i].Payload = make([]byte, 100)
	}
	perRecord := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
	}
	b.Run("raw/pipelined-xadd", func(b *testing.B) {
		_, client := benchStore(b)
		for b.Loop() {
			_, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
				for i := range records {
					p.XAdd(b.Context(), &redis.XAddArgs{Stream: "s", Values: []any{"d", records[i].Payload}})
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
	b.Run("log", func(b *testing.B) {
		s, _ := benchStore(b)
		for b.Loop() {
			if _, err := s.Append(b.Context(), "bench", "s", records, nil); err != nil {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
}

func BenchmarkRead(b *testing.B) {
	const entries = 100_000
	s, client := benchStore(b)
	pipe := client.Pipeline()
	for i := range entries {
		pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: "raw", ID: strconv.Itoa(i+1) + "-0", Values: []any{"d", make([]byte, 100)}})
		if i%1000 == 999 {
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, frame := range []int{1, 100} {
		records := make([]streamhub.Record, frame)
		for i := range records {
			records[i].Payload = make([]byte, 100)
		}
		appends := make([]streamhub.Append, 0, entries/frame)
		for range entries / frame {
			if frame == 1 && len(appends) == 64 {
				s.AppendAll(b.Context(), appends)
				appends = appends[:0]
			}
			if frame == 1 {
				appends = append(appends, streamhub.Append{Space: "bench", Segment: "frames=1/" + strconv.Itoa(len(appends)), Records: records})
			} else if _, err := s.Append(b.Context(), "bench", "frames=100", records, nil); err != nil {
				b.Fatal(err)
			}
		}
		s.AppendAll(b.Context(), appends)
	}
	for range entries / 100 { // one record a frame, all in one segment
		o := []streamhub.Append{}
		for range 100 {
			o = append(o, streamhub.Append{Space: "single", Segment: "s", Records: []streamhub.Record{{Payload: make([]byte, 100)}},
				Options: &streamhub.AppendOptions{StreamSeq: ""}})
		}
		for _, a := range o {
			a.Options.ExpectedSequence = 0
		}
		s.AppendAll(b.Context(), o)
	}
	b.Run("raw/xrange", func(b *testing.B) {
		for b.Loop() {
			from, n := "-", 0
			for {
				page, err := client.XRangeN(b.Context(), "raw", from, "+", 1000).Result()
				if err != nil {
					b.Fatal(err)
				}
				n += len(page)
				if len(page) < 1000 {
					break
				}
				from = "(" + page[len(page)-1].ID
			}
			if n != entries {
				b.Fatal(n)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/entry")
	})
	read := func(space, segment string) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				seq := s.ConsumeSegment(b.Context(), space, segment, nil)
				if segment == "" {
					seq = s.ConsumeSpace(b.Context(), space, nil)
				}
				for _, err := range seq {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
		}
	}
	b.Run("log/frames=100", read("bench", "frames=100"))
	b.Run("log/shared", read("single", "s"))
	b.Run("space", read("bench", ""))
}

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

func memoryRows() []row {
	const entries = 100_000
	plain := occupied(func(ctx context.Context, b *bed) error {
		client := b.raw()
		defer client.Close()
		payload := random(100)
		for range entries / 100 {
			if err := addPipelined(ctx, client, 100, payload, func(int) string { return "memory" }); err != nil {
				return err
			}
		}
		return nil
	}, entries)
	frames := func(frame int) opening {
		return occupied(func(ctx context.Context, b *bed) error {
			s, done, err := b.hub(ctx)
			if err != nil {
				return err
			}
			return errors.Join(write(ctx, s, "memory", entries, frame), done())
		}, entries)
	}
	return []row{
		{
			name: "Redis memory of an entry of 100 B, one by one", unit: "B/entry", once: true,
			contestants: []contestant{{"go-redis XADD", plain, atMost(1.55)}, {"streamhub", frames(1), target{}}},
		},
		{
			name: "Redis memory of an entry of 100 B, frames of 100", unit: "B/entry", once: true,
			contestants: []contestant{{"go-redis XADD", plain, atMost(1)}, {"streamhub", frames(100), target{}}},
		},
	}
}

func random(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// occupied measures the memory that something leaves in Redis.
func occupied(do func(context.Context, *bed) error, entries int) opening {
	return func(_ context.Context, b *bed) (turn, func() error, error) {
		return func(ctx context.Context) (sample, error) {
			before, err := b.memory(ctx)
			if err != nil {
				return sample{}, err
			}
			if err := do(ctx, b); err != nil {
				return sample{}, err
			}
			after, err := b.memory(ctx)
			return sample{Figure: (after - before) / float64(entries)}, err
		}, nil, nil
	}
}

const manySegments = 100_000

func growthRows() []row {
	compare := func(name string, do operation, small, large contestantOf) row {
		return row{name: name, unit: "µs, p50", contestants: []contestant{
			{small.name, alone(small.prepare, do), atMost(1.3)}, {large.name, alone(large.prepare, do), target{}},
		}}
	}
	var all []row
	for _, op := range []struct {
		name string
		do   operation
	}{{"append", appendOne}, {"tail read", tailRead}} {
		all = append(all,
			compare(op.name+" among 10k segments", op.do, segments(1000), segments(10_000)),
			compare(op.name+" among 100k segments", op.do, segments(1000), segments(manySegments)),
			compare(op.name+" after 10M entries", op.do, entries("1M entries", 1_000_000), entries("10M entries", 10_000_000)),
			compare(op.name+" beside 100 followers", op.do, followers(10), followers(100)),
			compare(op.name+" beside 1,000 followers", op.do, followers(10), followers(1000)),
		)
	}
	return all
}

// A contestantOf prepares a store in which operations go to one of so many segments.
type contestantOf struct {
	name    string
	prepare func(ctx context.Context, s *hub.Store) (segments int, close func(), err error)
}

type operation func(ctx context.Context, s *hub.Store, segment string) error

func appendOne(ctx context.Context, s *hub.Store, segment string) error {
	return appendTo(s, segment)(ctx, make([]byte, 100))
}

func tailRead(ctx context.Context, s *hub.Store, segment string) error {
	_, err := s.Peek(ctx, "bench", segment)
	return err
}

// alone has one caller do one operation after the other, each on a segment at random.
func alone(prepare func(context.Context, *hub.Store) (int, func(), error), do operation) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		n, leave, err := prepare(ctx, s)
		end := func() error {
			if leave != nil {
				leave()
			}
			return done()
		}
		return func(ctx context.Context) (sample, error) {
			return b.timed(ctx, func(ctx context.Context) error {
				return do(ctx, s, strconv.Itoa(rand.IntN(n)))
			})
		}, end, err
	}
}

func segments(n int) contestantOf {
	return contestantOf{strconv.Itoa(n) + " segments", func(ctx context.Context, s *hub.Store) (int, func(), error) {
		return n, nil, touch(ctx, s, n)
	}}
}

// touch makes segments with one entry each.
func touch(ctx context.Context, s *hub.Store, n int) error {
	all := make([]streamhub.Append, n)
	for i := range all {
		all[i] = streamhub.Append{Space: "bench", Segment: strconv.Itoa(i), Records: []streamhub.Record{{Payload: make([]byte, 100)}}}
	}
	_, errs := s.AppendAll(ctx, all)
	return errors.Join(errs...)
}

func entries(name string, n int) contestantOf {
	return contestantOf{name, func(ctx context.Context, s *hub.Store) (int, func(), error) {
		return 1, nil, write(ctx, s, "0", n, 1000)
	}}
}

// followers has as many followers, on 10 segments; operations go to the same ones.
func followers(n int) contestantOf {
	const segments = 10
	return contestantOf{strconv.Itoa(n) + " followers", func(ctx context.Context, s *hub.Store) (int, func(), error) {
		if err := touch(ctx, s, segments); err != nil {
			return 0, nil, err
		}
		following, leave := context.WithCancel(ctx)
		var all sync.WaitGroup
		ready := make(chan struct{}, n)
		for i := range n {
			all.Go(func() {
				for e, err := range s.FollowSegment(following, "bench", strconv.Itoa(i%segments), nil) {
					if err == nil && e.Sequence == 1 {
						ready <- struct{}{}
					}
				}
			})
		}
		for range n {
			<-ready
		}
		return segments, func() { leave(); all.Wait() }, nil
	}}
}

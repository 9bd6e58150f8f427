package main

import (
	"context"
	"strconv"

	"github.com/seed-147127fe/streamhub"
)

// redisCPU makes the time of Redis the figure of a turn.
func redisCPU(open func(context.Context, *bed) (turn, func() error, error)) func(context.Context, *bed) (turn, func() error, error) {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		t, done, err := open(ctx, b)
		return func(ctx context.Context) (sample, error) {
			s, err := t(ctx)
			s.Figure = s.Redis
			return s, err
		}, done, err
	}
}

func cpuRows() []row {
	return []row{
		{
			name: "Redis CPU, 64 spaces of one segment", unit: "µs/append", target: target{atMost: 11},
			contestants: []contestant{{"go-redis XADD, pipelines of 100", redisCPU(pipelinedXadd(100, 100))}, {"streamhub", redisCPU(inSpaces(64))}},
		},
		{
			name: "Redis CPU, ten frames a call or more", unit: "µs/append", target: target{atMost: 5},
			contestants: []contestant{{"go-redis XADD, pipelines of 100", redisCPU(pipelinedXadd(100, 100))}, {"streamhub, 100 segments", redisCPU(appendAll(100))}},
		},
	}
}

// inSpaces has as many callers as spaces: each frame has a timeline and a notice of its own.
func inSpaces(spaces int) func(context.Context, *bed) (turn, func() error, error) {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		records := []streamhub.Record{{Payload: make([]byte, 100)}}
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, spaces, 1, func(ctx context.Context, caller int) error {
				_, err := s.Append(ctx, "bench"+strconv.Itoa(caller), "s", records, nil)
				return err
			})
		}, done, nil
	}
}

func batchRows() []row {
	var all []row
	for _, size := range []int{100, 1024} {
		all = append(all, row{
			name: "append in frames of 100, " + strconv.Itoa(size) + " B", unit: "records/s", target: target{atLeast: 1.8},
			contestants: []contestant{{"go-redis XADD, pipelines of 100", pipelinedXadd(1, size)}, {"streamhub", frames(size)}},
		})
	}
	return all
}

func frames(size int) func(context.Context, *bed) (turn, func() error, error) {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		records := make([]streamhub.Record, 100)
		for i := range records {
			records[i].Payload = make([]byte, size)
		}
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, 1, len(records), func(ctx context.Context, _ int) error {
				_, err := s.Append(ctx, "bench", "batch", records, nil)
				return err
			})
		}, done, nil
	}
}

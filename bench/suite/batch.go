package main

import (
	"context"
	"strconv"

	"github.com/seed-147127fe/streamhub"
)

// redisCPU makes the time of Redis the figure of a turn.
func redisCPU(open opening) opening {
	return figured(open, func(s sample) float64 { return s.Redis })
}

// allCPU makes the time of Redis and of the process the figure of a turn.
func allCPU(open opening) opening {
	return figured(open, func(s sample) float64 { return s.Redis + s.Process })
}

func figured(open opening, figure func(sample) float64) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		t, done, err := open(ctx, b)
		return func(ctx context.Context) (sample, error) {
			s, err := t(ctx)
			s.Figure = figure(s)
			return s, err
		}, done, err
	}
}

func cpuRows() []row {
	return []row{
		{
			name: "Redis CPU, 64 spaces of one segment", unit: "µs/append",
			contestants: []contestant{
				{"go-redis XADD, pipelines of 100", redisCPU(pipelinedXadd(100, 100)), atMost(11)},
				{"streamhub", redisCPU(inSpaces(64)), target{}},
				{handWritten + ", pipelines of 100", redisCPU(pipelinedScript(100, 100)), target{}},
			},
		},
		{
			name: "Redis CPU, ten frames a call or more", unit: "µs/append",
			contestants: []contestant{
				{"go-redis XADD, pipelines of 100", redisCPU(pipelinedXadd(100, 100)), atMost(5)},
				{"streamhub, 100 segments", redisCPU(appendAll(1, 100)), target{}},
				{handWritten + ", pipelines of 100", redisCPU(pipelinedScript(100, 100)), target{}},
			},
		},
	}
}

// inSpaces has as many callers as spaces: each frame has a timeline and a notice of its own.
func inSpaces(spaces int) opening {
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
	for _, of := range []struct {
		size int
		xadd target
	}{{100, atLeast(2.5)}, {1024, atLeast(1.2)}} {
		all = append(all, row{
			name: "append in frames of 100, " + strconv.Itoa(of.size) + " B", unit: "records/s",
			contestants: []contestant{
				{"go-redis XADD, pipelines of 100", pipelinedXadd(1, of.size), of.xadd},
				{"streamhub", frames(of.size), target{}},
				{handWritten + ", pipelines of 100", pipelinedScript(1, of.size), target{}},
			},
		})
	}
	return all
}

func frames(size int) opening {
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

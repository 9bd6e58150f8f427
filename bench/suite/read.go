package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

const (
	replayed = 1_000_000 // entries of a replay in frames
	single   = 200_000   // entries of a replay one by one, which take long to write
	spread   = 1_000     // segments of a space
)

func readRows() []row {
	return []row{
		{
			name: "replay of 1M entries, frames of 100", unit: "entries/s",
			contestants: []contestant{
				{"go-redis XRANGE, pages of 1,000", xrange(replayed), atLeast(3.5)},
				{"streamhub ConsumeSegment", replay(replayed, 100), target{}},
			},
		},
		{
			name: "replay of 200k entries, one by one", unit: "entries/s",
			contestants: []contestant{
				{"go-redis XRANGE, pages of 1,000", xrange(single), atLeast(0.85)},
				{"streamhub ConsumeSegment", replay(single, 1), target{}},
			},
		},
		{
			name: "replay of a space of 1,000 segments", unit: "entries/s",
			contestants: []contestant{
				{"streamhub ConsumeSegment, one after the other", space(false), atLeast(0.5)},
				{"streamhub ConsumeSpace", space(true), target{}},
			},
		},
	}
}

func xrange(entries int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		client := b.raw()
		payload := make([]byte, 100)
		for range entries / 1000 {
			if err := addPipelined(ctx, client, 1000, payload, func(int) string { return "replay" }); err != nil {
				return nil, client.Close, err
			}
		}
		return func(ctx context.Context) (sample, error) {
			return b.pass(ctx, entries, func(ctx context.Context) error {
				from, n := "-", 0
				for {
					page, err := client.XRangeN(ctx, "replay", from, "+", 1000).Result()
					if err != nil {
						return err
					}
					if n += len(page); len(page) < 1000 {
						return complete(n, entries)
					}
					from = "(" + page[len(page)-1].ID
				}
			})
		}, client.Close, nil
	}
}

func complete(got, want int) error {
	if got != want {
		return fmt.Errorf("%d entries of %d", got, want)
	}
	return nil
}

// count reads to the end.
func count(entries iter.Seq2[streamhub.Entry, error]) (n int, err error) {
	for _, err := range entries {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func replay(entries, frame int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		if err := write(ctx, s, "replay", entries, frame); err != nil {
			return nil, done, err
		}
		return func(ctx context.Context) (sample, error) {
			return b.pass(ctx, entries, func(ctx context.Context) error {
				n, err := count(s.ConsumeSegment(ctx, "bench", "replay", nil))
				return errors.Join(err, complete(n, entries))
			})
		}, done, nil
	}
}

// write fills a segment.
func write(ctx context.Context, s *hub.Store, segment string, entries, frame int) error {
	records := make([]streamhub.Record, frame)
	for i := range records {
		records[i].Payload = make([]byte, 100)
	}
	for range entries / frame {
		if _, err := s.Append(ctx, "bench", segment, records, nil); err != nil {
			return err
		}
	}
	return nil
}

// space replays a space that many segments were written to in turn.
func space(whole bool) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		const each = 100
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		all := make([]streamhub.Append, spread)
		for i := range all {
			all[i] = streamhub.Append{Space: "bench", Segment: strconv.Itoa(i), Records: []streamhub.Record{{Payload: make([]byte, 100)}}}
		}
		for range each {
			_, errs := s.AppendAll(ctx, all)
			if err := errors.Join(errs...); err != nil {
				return nil, done, err
			}
		}
		return func(ctx context.Context) (sample, error) {
			return b.pass(ctx, spread*each, func(ctx context.Context) error {
				if whole {
					n, err := count(s.ConsumeSpace(ctx, "bench", nil))
					return errors.Join(err, complete(n, spread*each))
				}
				sum := 0
				for i := range spread {
					n, err := count(s.ConsumeSegment(ctx, "bench", strconv.Itoa(i), nil))
					if err != nil {
						return err
					}
					sum += n
				}
				return complete(sum, spread*each)
			})
		}, done, nil
	}
}

package client

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	hubclient "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/offset"
)

func limitOf(limit uint64) uint64 {
	if limit == math.MaxUint64 {
		return 0
	}
	return limit
}

// bound converts a time bound in Unix milliseconds; 0 or less is the zero Time, which means no bound.
func bound(ms int64) time.Time { return millis.Time(max(ms, 0)) }

func (c *client) ConsumeSegment(ctx context.Context, storeID uuid.UUID, args *ConsumeSegment) Enumerator[*Entry] {
	return read(c, func() iter.Seq2[*Entry, error] {
		if args.MaxSequence > 0 && args.MaxSequence < args.MinSequence {
			return func(func(*Entry, error) bool) {}
		}
		return c.timed(args.Space, args.Segment, c.inner.Store(storeID).ConsumeSegment(ctx, args.Space, args.Segment, &streamhub.ReadOptions{
			FromSequence: args.MinSequence, ToSequence: args.MaxSequence,
			After: bound(args.MinTimestamp), Until: bound(args.MaxTimestamp), Limit: limitOf(args.Limit),
		}))
	})
}

func (c *client) ConsumeSpace(ctx context.Context, storeID uuid.UUID, args *ConsumeSpace) Enumerator[*Entry] {
	return c.consume(ctx, storeID, args.Space, &Consume{
		MinTimestamp: args.MinTimestamp, MaxTimestamp: args.MaxTimestamp, Limit: args.Limit,
		Offsets: map[string]api.LexKey{args.Space: args.Offset},
	})
}

func (c *client) Consume(ctx context.Context, storeID uuid.UUID, args *Consume) Enumerator[*Entry] {
	return c.consume(ctx, storeID, "", args)
}

// consume reads spaces, each after its offset; package offset resolves the offsets.
func (c *client) consume(ctx context.Context, storeID uuid.UUID, name string, args *Consume) Enumerator[*Entry] {
	return read(c, func() iter.Seq2[*Entry, error] {
		return c.timed(name, "", func(yield func(streamhub.Entry, error) bool) {
			s := c.inner.Store(storeID)
			cursors, places := map[string]streamhub.Cursor{}, map[string]offset.Place{}
			for space, key := range args.Offsets {
				if space == "" {
					continue
				}
				place, err := offset.Resolve(lookup{ctx, s}, space, key)
				if err != nil {
					yield(streamhub.Entry{}, err)
					return
				}
				cursors[space], places[space] = place.Cursor, place
			}
			if len(cursors) == 0 {
				return
			}
			n := uint64(0)
			for e, err := range s.Consume(ctx, cursors, &streamhub.ReadOptions{After: bound(args.MinTimestamp), Until: bound(args.MaxTimestamp)}) {
				if place := places[e.Space]; err == nil && !place.Passes(&e) {
					continue
				}
				if !yield(e, err) || err != nil {
					return
				}
				if n++; n == limitOf(args.Limit) {
					return
				}
			}
		})
	})
}

// timed converts entries, and records in the metrics how long the whole read took.
func (c *client) timed(space, segment string, entries iter.Seq2[streamhub.Entry, error]) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if c.metrics != nil {
			start := time.Now()
			defer func() { c.metrics.RecordConsumeLatency(space, segment, time.Since(start)) }()
		}
		for e, err := range entries {
			if errors.Is(err, streamhub.ErrNotFound) {
				return // a segment that keeps nothing gives an empty enumeration, not an error
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(api.EntryOf(&e), nil) {
				return
			}
		}
	}
}

// A lookup reads the entries by which an offset is resolved to a cursor.
type lookup struct {
	ctx   context.Context
	store *hubclient.Store
}

func (l lookup) Between(space string, after, until time.Time, visit func(*streamhub.Entry) bool) error {
	for e, err := range l.store.ConsumeSpace(l.ctx, space, &streamhub.ReadOptions{After: after, Until: until}) {
		if err != nil {
			return err
		}
		if !visit(&e) {
			return nil
		}
	}
	return nil
}

func (l lookup) Status(space, segment string) (streamhub.Status, error) {
	return l.store.Status(l.ctx, space, segment)
}

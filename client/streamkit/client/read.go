package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	hubclient "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

func limitOf(limit uint64) uint64 {
	if limit == math.MaxUint64 {
		return 0
	}
	return limit
}

// bound is a bound of streamkit in milliseconds; 0 and less is none.
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

// consume reads spaces, each after its offset. An offset that names an entry becomes its cursor, which
// notices lost history; what another offset excludes is left out.
func (c *client) consume(ctx context.Context, storeID uuid.UUID, name string, args *Consume) Enumerator[*Entry] {
	return read(c, func() iter.Seq2[*Entry, error] {
		return c.timed(name, "", func(yield func(streamhub.Entry, error) bool) {
			s := c.inner.Store(storeID)
			cursors, filters := map[string]streamhub.Cursor{}, map[string]api.LexKey{}
			for space, offset := range args.Offsets {
				if space == "" {
					continue
				}
				cursor, err := resolve(ctx, s, space, offset)
				if err != nil {
					yield(streamhub.Entry{}, err)
					return
				}
				if cursors[space] = cursor; cursor == "" {
					filters[space] = offset
				}
			}
			if len(cursors) == 0 {
				return
			}
			n := uint64(0)
			for e, err := range s.Consume(ctx, cursors, &streamhub.ReadOptions{After: bound(args.MinTimestamp), Until: bound(args.MaxTimestamp)}) {
				if err == nil && !isAfter(&e, filters[e.Space]) {
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

// timed passes entries on and tells the metrics how long all of them took.
func (c *client) timed(space, segment string, entries iter.Seq2[streamhub.Entry, error]) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if c.metrics != nil {
			start := time.Now()
			defer func() { c.metrics.RecordConsumeLatency(space, segment, time.Since(start)) }()
		}
		for e, err := range entries {
			if errors.Is(err, streamhub.ErrNotFound) {
				return // where nothing is kept there is nothing to read
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

// resolve returns the cursor of the entry that an offset names, "" if it names none that is kept.
func resolve(ctx context.Context, s *hubclient.Store, space string, offset api.LexKey) (streamhub.Cursor, error) {
	rest, ok := bytes.CutPrefix(offset, append(streamhub.Encode("DAT", "SPACES", space), 0))
	// <timestamp> 0 <segment> 0 <sequence>
	if !ok || len(rest) < 8+1+1+1+8 || rest[8] != 0 || rest[len(rest)-9] != 0 {
		return "", nil
	}
	at := int64(binary.BigEndian.Uint64(rest) ^ 1<<63)
	segment, sequence := string(rest[9:len(rest)-9]), binary.BigEndian.Uint64(rest[len(rest)-8:])
	if at <= 0 {
		return "", nil
	}
	for e, err := range s.ConsumeSpace(ctx, space, &streamhub.ReadOptions{After: millis.Time(at - 1), Until: millis.Time(at)}) {
		if errors.Is(err, streamhub.ErrNotFound) || errors.Is(err, streamhub.ErrTrimmed) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if e.Segment == segment && e.Sequence == sequence {
			return e.Cursor(), nil
		}
	}
	return "", nil
}

// isAfter reports whether an entry is after an offset that names none.
func isAfter(e *streamhub.Entry, offset api.LexKey) bool {
	return len(offset) == 0 || bytes.Compare(e.GetSpaceOffset(), offset) > 0
}

package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
)

func (c *client) Produce(ctx context.Context, storeID uuid.UUID, space, segment string, entries Enumerator[*Record]) Enumerator[*SegmentStatus] {
	return read(c, func() iter.Seq2[*SegmentStatus, error] {
		return func(yield func(*SegmentStatus, error) bool) {
			defer c.produced(space, segment)()
			defer entries.Dispose()
			s := c.inner.Store(storeID)
			var first streamhub.Status
			for status, err := range s.Produce(ctx, space, segment, recordsOf(entries)) {
				if err != nil {
					yield(nil, err)
					return
				}
				if first.FirstSequence == 0 {
					// Errors are ignored: a producer without the right to read cannot ask where the segment begins.
					first, _ = s.Status(ctx, space, segment)
				}
				status.FirstSequence, status.FirstTimestamp = first.FirstSequence, first.FirstTimestamp
				if !yield(api.StatusOf(&status), nil) {
					return
				}
			}
		}
	})
}

// recordsOf converts an enumerator of records to an iterator.
func recordsOf(entries Enumerator[*Record]) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for entries.MoveNext() {
			r, err := entries.Current()
			if err == nil && r == nil {
				err = fmt.Errorf("%w: a record is nil", streamhub.ErrInvalidArgument)
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !yield(*r, nil) {
				return
			}
		}
		if err := entries.Err(); err != nil {
			yield(Record{}, err)
		}
	}
}

func (c *client) Publish(ctx context.Context, storeID uuid.UUID, space, segment string, payload []byte, metadata map[string]string) error {
	if c.err != nil {
		return c.err
	}
	defer c.produced(space, segment)()
	_, err := c.inner.Store(storeID).Append(ctx, space, segment, []Record{{Payload: payload, Metadata: metadata}}, nil)
	return err
}

// produced starts a clock; the returned function records the elapsed time in the metrics.
func (c *client) produced(space, segment string) func() {
	if c.metrics == nil {
		return func() {}
	}
	start := time.Now()
	return func() { c.metrics.RecordProduceLatency(space, segment, time.Since(start)) }
}

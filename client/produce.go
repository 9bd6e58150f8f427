package client

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
)

// The limits of one chunk of [Store.Produce].
const (
	chunkRecords = streamhub.MaxFrameRecords
	chunkBytes   = 1 << 20
)

// Produce appends records in chunks, each all or none, and gives the status of the segment after each. Records may name
// their sequences; the segment must then exist. Produce ends with the first error, of records or of an append. The
// records before that error are stored.
func (s *Store) Produce(ctx context.Context, space, segment string, records iter.Seq2[streamhub.Record, error]) iter.Seq2[streamhub.Status, error] {
	return func(yield func(streamhub.Status, error) bool) {
		var chunk []streamhub.Record
		bytes := 0
		store := func() bool {
			if len(chunk) == 0 {
				return true
			}
			r, err := s.Append(ctx, space, segment, chunk, nil)
			chunk, bytes = nil, 0
			if err != nil {
				yield(streamhub.Status{}, err)
				return false
			}
			// The answer to an append does not say where the segment begins, so the status has no first sequence.
			return yield(streamhub.Status{
				Space: space, Segment: segment, LastSequence: r.Last, LastTimestamp: r.Timestamp,
				State: streamhub.StateOpen, Generation: r.Generation, Position: r.Position,
			}, nil)
		}
		for record, err := range records {
			if err != nil {
				yield(streamhub.Status{}, err)
				return
			}
			size := sizeOf(&record)
			if len(chunk) > 0 && (len(chunk) == chunkRecords || bytes+size > chunkBytes) && !store() {
				return
			}
			chunk = append(chunk, record)
			bytes += size
		}
		store()
	}
}

// sizeOf is the approximate size, in bytes, that a record adds to an append.
func sizeOf(r *streamhub.Record) int {
	n := len(r.Payload)
	for k, v := range r.Metadata {
		n += len(k) + len(v)
	}
	return n
}

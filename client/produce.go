package client

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
)

// What a chunk of [Store.Produce] holds at most.
const (
	chunkRecords = streamhub.MaxFrameRecords
	chunkBytes   = 1 << 20
)

// Produce appends records in chunks, each all or none, and gives the status of the segment after
// each. Records may name their sequences; then the segment must be there. It ends with the first
// error, of the records or of an append; the records before it are stored.
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

// sizeOf is what a record adds to an append, but for a few bytes.
func sizeOf(r *streamhub.Record) int {
	n := len(r.Payload)
	for k, v := range r.Metadata {
		n += len(k) + len(v)
	}
	return n
}

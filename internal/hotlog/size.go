package hotlog

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A Size says what Redis holds of a segment.
type Size struct {
	// First is the first entry in Redis, beyond the last one if there is none; those before it that are kept
	// lie in the archive.
	First uint64
	// Bytes is the approximate size of the entries in Redis, from samples that Redis takes; -1 if Redis does not report
	// it.
	Bytes int64
}

// Sizes returns the sizes of some segments of a space in Redis, in their order. It costs three commands for each and
// one more, in two pipelines. A user of Redis that lacks the right for MEMORY USAGE gets no bytes.
func (s *Store) Sizes(ctx context.Context, space string, segments []string) ([]Size, error) {
	if len(segments) == 0 {
		return nil, nil
	}
	k := keysOf(s.id, space)
	escaped := make([]string, len(segments))
	for i, name := range segments {
		escaped[i] = redisx.Escape(name)
	}
	found, err := s.log.archived(ctx, k, escaped)
	if err != nil {
		return nil, s.fail("size", space, "", err)
	}
	pipe := s.log.conn.Pipeline()
	usage := make([]*redis.IntCmd, len(found))
	for i := range found {
		usage[i] = pipe.MemoryUsage(ctx, k.log(escaped[i], found[i].incarnation))
	}
	_, _ = pipe.Exec(ctx) // each command has an answer of its own
	sizes := make([]Size, len(found))
	for i := range found {
		sizes[i] = Size{First: found[i].hot, Bytes: -1}
		if sizes[i].First == 0 {
			sizes[i].First = 1
		}
		switch n, err := usage[i].Result(); {
		case err == nil:
			sizes[i].Bytes = n
		case found[i].hot > found[i].last || found[i].last == 0:
			sizes[i].Bytes = 0
		}
	}
	return sizes, s.fail("size", space, "", ctx.Err())
}

package hotlog

import (
	"context"
	"iter"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Spaces returns up to limit names of spaces beyond after, in byte order. The zero after is the
// start, and an empty page the end. A space is listed from its first append on.
func (s *Store) Spaces(ctx context.Context, after string, limit int) ([]string, error) {
	names, err := s.log.names(ctx, spacesKey(s.id), after, limit)
	return names, s.fail("spaces", "", "", err)
}

// Segments returns up to limit names of segments of a space beyond after, in byte order. A space
// that does not exist has none.
func (s *Store) Segments(ctx context.Context, space, after string, limit int) ([]string, error) {
	// A place needs the name of a segment. Any name will do, because only the keys of the space are used.
	at, err := s.place(space, "-")
	if err != nil {
		return nil, s.fail("segments", space, "", err)
	}
	names, err := s.log.names(ctx, at.inventory(), after, limit)
	return names, s.fail("segments", space, "", err)
}

// names reads a page of a sorted set. All members have the score 0, so ZRANGEBYLEX gives them in byte order.
func (l *Log) names(ctx context.Context, key, after string, limit int) ([]string, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	// At least 1: the driver leaves LIMIT out where the count is 0, and Redis takes a negative one for all.
	names, err := l.conn.ZRangeByLex(ctx, key, &redis.ZRangeBy{Min: from, Max: "+", Count: int64(max(1, limit))}).Result()
	return names, redisx.ReadOutcome(err)
}

// namesPage is how many names one read of AllSpaces and AllSegments brings.
const namesPage = 1000

// AllSpaces lists the spaces of the store in byte order, page by page.
func (s *Store) AllSpaces(ctx context.Context) iter.Seq2[string, error] {
	return names(func(after string) ([]string, error) { return s.Spaces(ctx, after, namesPage) })
}

// AllSegments lists the segments of a space in byte order, page by page.
func (s *Store) AllSegments(ctx context.Context, space string) iter.Seq2[string, error] {
	return names(func(after string) ([]string, error) { return s.Segments(ctx, space, after, namesPage) })
}

// names ranges over pages, each after the last name of the one before, so names that come or go meanwhile do no harm.
// No name is empty: the empty one stands before the first.
func names(page func(after string) ([]string, error)) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after := ""; ; {
			found, err := page(after)
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range found {
				if !yield(name, nil) {
					return
				}
			}
			if len(found) < namesPage {
				return
			}
			after = found[len(found)-1]
		}
	}
}

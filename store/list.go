package store

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Spaces returns up to limit names of spaces behind after, in byte order. The zero after is the
// start, and an empty page the end. A space is listed from its first append on.
func (s *Store) Spaces(ctx context.Context, after string, limit int) ([]string, error) {
	names, err := s.log.names(ctx, spacesKey(s.id), after, limit)
	return names, s.fail("spaces", "", "", err)
}

// Segments returns up to limit names of segments of a space behind after, in byte order. A space
// that does not exist has none.
func (s *Store) Segments(ctx context.Context, space, after string, limit int) ([]string, error) {
	at, err := s.place(space, "-")
	if err != nil {
		return nil, s.fail("segments", space, "", err)
	}
	names, err := s.log.names(ctx, at.inventory(), after, limit)
	return names, s.fail("segments", space, "", err)
}

func (l *Log) names(ctx context.Context, key, after string, limit int) ([]string, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	names, err := l.conn.ZRangeByLex(ctx, key, &redis.ZRangeBy{Min: from, Max: "+", Count: int64(max(1, limit))}).Result()
	return names, redisx.ReadOutcome(err)
}

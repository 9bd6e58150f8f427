package redisx

import (
	"context"
	"iter"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// ByScore yields a sorted set in pages of up to n members, each member once, with its score at the time of the read.
// Scores may rise, and members may be added and removed meanwhile. Each member that exists all the time is yielded. The
// errors are those of the driver.
func (c *Conn) ByScore(ctx context.Context, key string, n int64) iter.Seq2[[]redis.Z, error] {
	return func(yield func([]redis.Z, error) bool) {
		seen := map[any]bool{}
		// The place is the last member that was read: its score, and how many members of that score precede it. Each
		// page begins with that member. If it does not, some of these members have moved and others are in their place,
		// so that score is read from its start.
		var last redis.Z
		from, offset := "-inf", int64(0)
		for anchored := false; ; {
			count := n
			if anchored {
				count++
			}
			found, err := c.ZRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{Min: from, Max: "+inf", Offset: offset, Count: count}).Result()
			if err != nil {
				yield(nil, err)
				return
			}
			if anchored {
				if len(found) == 0 || found[0] != last {
					anchored, offset = false, 0
					continue
				}
				found = found[1:]
			}
			var page []redis.Z
			for _, z := range found {
				if !seen[z.Member] {
					seen[z.Member] = true
					page = append(page, z)
				}
				if at := strconv.FormatFloat(z.Score, 'f', -1, 64); at != from {
					from, offset = at, 0
				} else if anchored {
					offset++
				}
				last, anchored = z, true
			}
			if len(page) > 0 && !yield(page, nil) || int64(len(found)) < n {
				return
			}
		}
	}
}

package livestream

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Forget removes the keys of live streams whose segments were deleted. The keys of streams that had ended expire by
// themselves. Forget may be repeated.
func (m *Manager) Forget(ctx context.Context, store uuid.UUID, space string) error {
	k := spaceKey{store, space}
	for {
		names, err := m.conn.ZRangeByScore(ctx, k.active(), &redis.ZRangeBy{Min: "-inf", Max: "+inf", Count: listPage}).Result()
		if err != nil {
			return redisx.ReadOutcome(err)
		}
		_, err = m.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, name := range names {
				// Members hold escaped ids, so they are parts of keys as they are.
				id := name[:max(strings.LastIndexByte(name, '~'), 0)]
				p.Unlink(ctx, hotlog.Key(store, space, "ls:"+id))
				p.Unlink(ctx, hotlog.Key(store, space, "lw:"+name))
				p.ZRem(ctx, k.active(), name)
			}
			// Each page is removed, so the next page is again at the start. After the last page the keys of the space
			// itself are removed.
			if len(names) < listPage {
				p.Unlink(ctx, k.beats())
				p.Unlink(ctx, k.instances())
			}
			return nil
		})
		if err != nil || len(names) < listPage {
			return redisx.ReadOutcome(err)
		}
	}
}

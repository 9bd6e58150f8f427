package hotlog

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// register lists the spaces of a batch that this process appends to for the first time. It runs
// without the lock.
func (a *appender) register(ctx context.Context, batch []*flight) {
	var fresh []spaceKeys
	a.mu.Lock()
	for _, f := range batch {
		if f.pinned || f.opt.CheckOnly || f.opt.MustExist {
			continue
		}
		if _, ok := a.listed[f.prefix]; !ok {
			if len(a.listed) >= maxTails {
				clear(a.listed)
			}
			a.listed[f.prefix] = struct{}{}
			fresh = append(fresh, f.spaceKeys)
		}
	}
	a.mu.Unlock()
	if len(fresh) == 0 {
		return
	}
	if err := a.log.registerSpaces(ctx, fresh); err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, k := range fresh {
			delete(a.listed, k.prefix)
		}
	}
}

// registerSpaces writes the names that the lists of spaces and stores are made of. It may be
// repeated.
func (l *Log) registerSpaces(ctx context.Context, spaces []spaceKeys) error {
	_, err := l.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range spaces {
			p.ZAdd(ctx, spacesKey(k.store), redis.Z{Member: k.space})
			p.SAdd(ctx, storesKey, k.store.String())
		}
		return nil
	})
	return redisx.ReadOutcome(err)
}

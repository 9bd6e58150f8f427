package hotlogtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// The keys of a space, for cases that do to Redis what no hub does.

func (f *fixture) prefix() string {
	return strings.TrimSuffix(hotlog.SpaceChannel(f.id, space), "t")
}

func (f *fixture) metaKey(segment string) string {
	return f.prefix() + "m:" + redisx.Escape(segment)
}

func (f *fixture) logKey(segment string) string {
	return f.prefix() + "e:" + redisx.Escape(segment) + ":" + fmt.Sprintf("%016x", f.status(segment).Position.Incarnation)
}

func (f *fixture) timelineKey() string { return f.prefix() + "t" }

func (f *fixture) del(keys ...string) {
	f.Helper()
	for _, key := range keys {
		n, err := f.conn.Del(f.ctx, key).Result()
		require.NoError(f, err)
		require.EqualValues(f, 1, n, "key %q", key)
	}
}

// wipe removes everything that the Redis holds.
func (f *fixture) wipe() {
	f.Helper()
	if f.conn.Cluster == nil {
		require.NoError(f, f.conn.FlushAll(f.ctx).Err())
		return
	}
	require.NoError(f, f.conn.Cluster.ForEachMaster(f.ctx, func(ctx context.Context, node *redis.Client) error {
		return node.FlushAll(ctx).Err()
	}))
}

// everything is what the keys of the space hold, in a form to compare.
func (f *fixture) everything() map[string]string {
	f.Helper()
	all := map[string]string{}
	var node redis.UniversalClient
	node, err := f.conn.NodeFor(f.ctx, f.timelineKey())
	require.NoError(f, err)
	it := node.Scan(f.ctx, 0, "*"+f.id.String()+"*", 1000).Iterator()
	for it.Next(f.ctx) {
		key := it.Val()
		kind, err := node.Type(f.ctx, key).Result()
		require.NoError(f, err)
		var value any
		switch kind {
		case "hash":
			value, err = node.HGetAll(f.ctx, key).Result()
		case "stream":
			value, err = node.XRange(f.ctx, key, "-", "+").Result()
		case "zset":
			value, err = node.ZRangeWithScores(f.ctx, key, 0, -1).Result()
		case "set":
			value, err = node.SMembers(f.ctx, key).Result()
		default:
			value = kind
		}
		require.NoError(f, err)
		all[key] = fmt.Sprintf("%q", fmt.Sprint(value))
	}
	require.NoError(f, it.Err())
	return all
}

// A copy is what keys held.
type copied struct {
	streams map[string][]redis.XMessage
	hashes  map[string]map[string]string
}

// copyOf takes what the keys of a segment and the timeline hold, to be put back later: what a
// replica that lags has when it is promoted.
func (f *fixture) copyOf(segment string) copied {
	f.Helper()
	c := copied{map[string][]redis.XMessage{}, map[string]map[string]string{}}
	for _, key := range []string{f.logKey(segment), f.timelineKey()} {
		entries, err := f.conn.XRange(f.ctx, key, "-", "+").Result()
		require.NoError(f, err)
		c.streams[key] = entries
	}
	var err error
	c.hashes[f.metaKey(segment)], err = f.conn.HGetAll(f.ctx, f.metaKey(segment)).Result()
	require.NoError(f, err)
	return c
}

func (f *fixture) putBack(c copied) {
	f.Helper()
	for key, entries := range c.streams {
		require.NoError(f, f.conn.Del(f.ctx, key).Err())
		for _, e := range entries {
			values := []string{}
			for k, v := range e.Values {
				values = append(values, k, v.(string))
			}
			require.NoError(f, f.conn.XAdd(f.ctx, &redis.XAddArgs{Stream: key, ID: e.ID, Values: values}).Err())
		}
	}
	for key, hash := range c.hashes {
		require.NoError(f, f.conn.Del(f.ctx, key).Err())
		require.NoError(f, f.conn.HSet(f.ctx, key, hash).Err())
	}
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

package testredis

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// migrateTime is how long one key may take from server to server, in ms.
const migrateTime = 5000

// MoveSlot moves the slot of key to the master Nodes[to] as an operator does: key by key, while clients use it. It calls
// between, unless that is nil, before the first key, after each key, and when no key is left on the old master, which
// still has the slot then. It returns how many keys it moved.
func (c *Cluster) MoveSlot(ctx context.Context, key string, to int, between func()) (moved int, err error) {
	if between == nil {
		between = func() {}
	}
	from, err := c.masterFor(key)
	if err != nil || from == to {
		return 0, err
	}
	source, target := c.Nodes[from].n.dial(), c.Nodes[to].n.dial()
	defer source.Close()
	defer target.Close()
	slot, err := source.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return 0, err
	}
	setSlot := func(client *redis.Client, rest ...any) {
		if err == nil {
			if err = client.Do(ctx, append([]any{"cluster", "setslot", slot}, rest...)...).Err(); err != nil {
				err = fmt.Errorf("setslot %v: %w", rest, err)
			}
		}
	}
	id := func(client *redis.Client) (id string) {
		if err == nil {
			id, err = client.ClusterMyID(ctx).Result()
		}
		return id
	}
	sourceID, targetID := id(source), id(target)
	setSlot(target, "importing", sourceID)
	setSlot(source, "migrating", targetID)
	host, port, splitErr := net.SplitHostPort(c.Nodes[to].Addr())
	if err == nil {
		err = splitErr
	}
	if err != nil {
		return 0, err
	}
	between()
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, int(slot), 100).Result()
		if err != nil {
			return moved, err
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			args := []any{"migrate", host, port, key, 0, strconv.Itoa(migrateTime)}
			if password := c.Nodes[to].n.password; password != "" {
				args = append(args, "auth", password)
			}
			answer, err := source.Do(ctx, args...).Text()
			if err != nil {
				return moved, fmt.Errorf("migrate %s: %w", key, err)
			}
			if answer == "OK" { // NOKEY: it has gone
				moved++
			}
			between()
		}
	}
	between()
	setSlot(target, "node", targetID)
	setSlot(source, "node", targetID)
	for i, s := range c.Nodes {
		if i == from || i == to || !s.n.serving() || err != nil {
			continue
		}
		other := s.n.dial()
		if setSlot(other, "node", targetID); err != nil {
			err = nil // a replica learns it from its master
		}
		_ = other.Close()
	}
	if err != nil {
		return moved, err
	}
	return moved, poll(formLimit, func(context.Context) error {
		if at, err := c.masterFor(key); err != nil || at != to {
			return fmt.Errorf("the slot is with node %d: %w", at, err)
		}
		return nil
	})
}

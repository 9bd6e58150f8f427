package redisx

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// lineageKey holds the lineage of a server that has no replication id, one for all its clients.
const lineageKey = "sh:lineage"

// A Conn is a Redis and what it can do. It is safe for concurrent use.
type Conn struct {
	redis.UniversalClient
	// Cluster is set where keys live on several nodes.
	Cluster *redis.ClusterClient
	// Version is empty for miniredis.
	Version string
	header  bool // understands "#!lua flags=…"
	lineage string
	loaded  sync.Map // *Script -> sha string
}

// Connect looks at the server behind client. It does not take ownership of client.
func Connect(ctx context.Context, client redis.UniversalClient) (*Conn, error) {
	c := &Conn{UniversalClient: client}
	c.Cluster, _ = client.(*redis.ClusterClient)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, Outcome(err)
	}
	err := client.Eval(ctx, "#!lua\nreturn 1", []string{lineageKey}).Err()
	if c.header = err == nil; !c.header && !isReply(err) {
		return nil, Outcome(err)
	}
	info, err := client.Info(ctx, "replication").Result()
	if err == nil && strings.Contains(info, "master_replid:") {
		if c.Version, err = c.version(ctx); err != nil {
			return nil, Outcome(err)
		}
		return c, nil
	}
	if err != nil && !isReply(err) {
		return nil, Outcome(err)
	}
	id := make([]byte, 8)
	rand.Read(id)
	if err := client.SetNX(ctx, lineageKey, hex.EncodeToString(id), 0).Err(); err != nil {
		return nil, Outcome(err)
	}
	if c.lineage, err = client.Get(ctx, lineageKey).Result(); err != nil {
		return nil, Outcome(err)
	}
	return c, nil
}

func (c *Conn) version(ctx context.Context) (string, error) {
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", errors.New("INFO names no redis_version")
}

// AtLeast reports whether the server is a real Redis of that version or a later one.
func (c *Conn) AtLeast(major, minor int) bool {
	var ma, mi int
	if _, err := fmt.Sscanf(c.Version, "%d.%d", &ma, &mi); err != nil {
		return false
	}
	return ma > major || ma == major && mi >= minor
}

// NodeFor returns the client of the primary that has key: c itself unless it is a cluster.
func (c *Conn) NodeFor(ctx context.Context, key string) (redis.UniversalClient, error) {
	if c.Cluster == nil {
		return c.UniversalClient, nil
	}
	return c.Cluster.MasterForKey(ctx, key)
}

package hub

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// observeTime bounds the commands that are sent to Redis while metrics are collected.
const observeTime = time.Second

// A redisClock estimates the clock of Redis by its offset to the clock of this process. The offset is measured when
// metrics are collected, and is 0 before that.
type redisClock struct{ ahead atomic.Int64 } // nanoseconds

func (c *redisClock) since(t time.Time) time.Duration {
	return time.Since(t) + time.Duration(c.ahead.Load())
}

// look measures the offset. The time that Redis returns is taken as the time at the middle of the call.
func (c *redisClock) look(ctx context.Context, conn *redisx.Conn) {
	before := time.Now()
	if now, err := conn.Time(ctx).Result(); err == nil {
		c.ahead.Store(int64(now.Sub(before.Add(time.Since(before) / 2))))
	}
}

// reached records how old an entry is when it reaches the followers of this process.
func (o *observer) reached(ctx context.Context, appended time.Time) {
	o.delay.Record(ctx, max(0, o.clock.since(appended).Seconds()))
}

// observeRedis registers the metrics whose values are fetched at collection time.
func (h *Hub) observeRedis(client redis.UniversalClient) (err error) {
	m := h.observer.meter
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, failed := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		if err == nil {
			err = failed
		}
		return g
	}
	lag := gauge("streamhub.reader.lag.entries", "", "Entries that the slowest follower of this process has not been given yet")
	listening := gauge("streamhub.redis.pubsub.connected", "", "Whether the Pub/Sub connection is there, or none is needed")
	quota, failed := m.Float64ObservableGauge("streamhub.store.quota.used.ratio", metric.WithDescription("Part of its quota that the fullest store uses, of those that this process appends to; 0 without a quota"))
	if err == nil {
		err = failed
	}
	memory := gauge("streamhub.redis.memory", "By", "Memory that Redis uses; of one node of a cluster")
	pool := gauge("streamhub.redis.pool.connections", "", "Connections to Redis, by state")
	if err != nil {
		return err
	}
	idle, used := metric.WithAttributes(attribute.String("state", "idle")), metric.WithAttributes(attribute.String("state", "used"))
	h.observer.observing, err = m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, observeTime)
		defer cancel()
		h.observer.clock.look(ctx, h.conn)
		o.ObserveInt64(lag, int64(h.watcher.Lag()))
		connected := int64(0)
		if h.watcher.Connected() {
			connected = 1
		}
		o.ObserveInt64(listening, connected)
		o.ObserveFloat64(quota, h.log.QuotaUsed())
		bytes := int64(0)
		if text, err := h.conn.Info(ctx, "memory").Result(); err == nil {
			bytes, _ = strconv.ParseInt(strings.TrimSpace(redisx.ParseInfo(text)["used_memory"]), 10, 64)
		}
		o.ObserveInt64(memory, bytes)
		stats := client.PoolStats()
		o.ObserveInt64(pool, int64(stats.IdleConns), idle)
		o.ObserveInt64(pool, int64(stats.TotalConns)-int64(stats.IdleConns), used)
		return nil
	}, lag, listening, quota, memory, pool)
	return err
}

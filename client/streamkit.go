package client

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
)

// Names that users of streamkit know.
type (
	Entry         = streamhub.Entry
	Record        = streamhub.Record
	SegmentStatus = streamhub.Status
	TRX           = streamhub.TRX
	WorkerInfo    = streamhub.Worker
)

// NewClientWithHandlerTimeout is [NewClient] with [WithHandlerTimeout].
func NewClientWithHandlerTimeout(p streamhub.Provider, timeout time.Duration) *Client {
	return NewClient(p, WithHandlerTimeout(timeout))
}

// NewClientWithRetryPolicy is [NewClient] with [WithRetryPolicy].
func NewClientWithRetryPolicy(p streamhub.Provider, policy RetryPolicy) *Client {
	return NewClient(p, WithRetryPolicy(policy))
}

// NewClientWithMetrics is [NewClient] with [WithMetrics].
func NewClientWithMetrics(p streamhub.Provider, m *ClientMetrics) *Client {
	return NewClient(p, WithMetrics(m))
}

// NewClientWithTracing is [NewClient] with [WithTracing].
func NewClientWithTracing(p streamhub.Provider, tracing trace.TracerProvider) *Client {
	return NewClient(p, WithTracing(tracing))
}

// NewClientWithTracingAndHandlerTimeout is [NewClient] with [WithTracing] and [WithHandlerTimeout].
func NewClientWithTracingAndHandlerTimeout(p streamhub.Provider, tracing trace.TracerProvider, timeout time.Duration) *Client {
	return NewClient(p, WithTracing(tracing), WithHandlerTimeout(timeout))
}

// GetSpaces lists the spaces of a store.
func (c *Client) GetSpaces(ctx context.Context, store uuid.UUID) *Enumerator[string] {
	return NewEnumerator(c.Store(store).Spaces(ctx))
}

// GetSegments lists the segments of a space.
func (c *Client) GetSegments(ctx context.Context, store uuid.UUID, space string) *Enumerator[string] {
	return NewEnumerator(c.Store(store).Segments(ctx, space))
}

// Publish appends one record behind whatever there is.
func (c *Client) Publish(ctx context.Context, store uuid.UUID, space, segment string, payload []byte, metadata map[string]string) error {
	_, err := c.Store(store).Append(ctx, space, segment, []Record{{Payload: payload, Metadata: metadata}}, nil)
	return err
}

// SubscribeSpace is [Store.HandleSpace].
func (c *Client) SubscribeSpace(ctx context.Context, store uuid.UUID, space string, handler StatusHandler) (*Subscription, error) {
	return c.Store(store).HandleSpace(ctx, space, handler)
}

// SubscribeSegment is [Store.HandleSegment].
func (c *Client) SubscribeSegment(ctx context.Context, store uuid.UUID, space, segment string, handler StatusHandler) (*Subscription, error) {
	return c.Store(store).HandleSegment(ctx, space, segment, handler)
}

// SubscribeWorkers is [Store.HandleWorkers].
func (c *Client) SubscribeWorkers(ctx context.Context, store uuid.UUID, handler func(ctx context.Context, workers []WorkerInfo)) (*Subscription, error) {
	return c.Store(store).HandleWorkers(ctx, handler)
}

// WithLease is [Store.WithLease] without waiting for a lease that another has.
func (c *Client) WithLease(ctx context.Context, store uuid.UUID, key string, ttl time.Duration, fn func(ctx context.Context) error) error {
	return c.Store(store).WithLease(ctx, key, ttl, 0, func(ctx context.Context, _ uint64) error { return fn(ctx) })
}

// Produce is [Store.Produce] for an enumerator.
func (c *Client) Produce(ctx context.Context, store uuid.UUID, space, segment string, records iter.Seq2[Record, error]) *Enumerator[SegmentStatus] {
	return NewEnumerator(c.Store(store).Produce(ctx, space, segment, records))
}

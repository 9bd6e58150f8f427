// Package client has the API of streamkit's client package, implemented with package client of this module.
// docs/migrating.md maps each name to the new one. Options that could not be combined in streamkit are fields of
// [Options] here.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"

	"github.com/seed-147127fe/streamhub"
	hubclient "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
)

// The types of package api, under their names in streamkit's client package.
type (
	Entry           = api.Entry
	Record          = api.Record
	SegmentStatus   = api.SegmentStatus
	Consume         = api.Consume
	ConsumeSpace    = api.ConsumeSpace
	ConsumeSegment  = api.ConsumeSegment
	Peek            = api.Peek
	Produce         = api.Produce
	GetSpaces       = api.GetSpaces
	GetSegments     = api.GetSegments
	GetStatus       = api.GetStatus
	Presence        = api.Presence
	WorkerInfo      = api.WorkerInfo
	WorkerInventory = api.WorkerInventory
	Consumable      = api.Consumable
	Routeable       = api.Routeable
	Subscription    = api.Subscription
)

// MaxProduceLocks is streamkit's limit of segments that one client publishes to at the same time. It
// has no effect here.
const MaxProduceLocks = 10_000

// ErrLeaseNotAcquired says that another holder has the lease.
var ErrLeaseNotAcquired = streamhub.ErrLeaseNotAcquired

// An Enumerator steps through items. Current returns the item that the last MoveNext reached, and Err
// the error that ended the enumeration. It is not safe for concurrent use. Enumerators of other
// packages with these methods can be used.
type Enumerator[T any] interface {
	MoveNext() bool
	Current() (T, error)
	Err() error
	Dispose()
}

// A Client is the client interface of streamkit. It is safe for concurrent use.
type Client interface {
	// GetSpaces and GetSegments list names in byte order.
	GetSpaces(ctx context.Context, storeID uuid.UUID) Enumerator[string]
	GetSegments(ctx context.Context, storeID uuid.UUID, space string) Enumerator[string]
	// Peek returns the last entry of a segment. If none is kept, the entry has only the names of the space and the
	// segment.
	Peek(ctx context.Context, storeID uuid.UUID, space, segment string) (*Entry, error)
	// Consume, ConsumeSpace and ConsumeSegment read the entries that are stored now.
	Consume(ctx context.Context, storeID uuid.UUID, args *Consume) Enumerator[*Entry]
	ConsumeSpace(ctx context.Context, storeID uuid.UUID, args *ConsumeSpace) Enumerator[*Entry]
	ConsumeSegment(ctx context.Context, storeID uuid.UUID, args *ConsumeSegment) Enumerator[*Entry]
	// Produce appends records in chunks and gives the status of the segment after each.
	Produce(ctx context.Context, storeID uuid.UUID, space, segment string, entries Enumerator[*Record]) Enumerator[*SegmentStatus]
	// Publish appends one record, whatever the last sequence is.
	Publish(ctx context.Context, storeID uuid.UUID, space, segment string, payload []byte, metadata map[string]string) error
	// SubscribeToSpace and SubscribeToSegment call handler with the current statuses, and then after each change. They
	// continue after lost connections.
	SubscribeToSpace(ctx context.Context, storeID uuid.UUID, space string, handler func(*SegmentStatus)) (Subscription, error)
	SubscribeToSegment(ctx context.Context, storeID uuid.UUID, space, segment string, handler func(*SegmentStatus)) (Subscription, error)
	// SubscribeWorkers calls handler with the workers of a store; with [WithWorkerID] the subscriber is one of them.
	SubscribeWorkers(ctx context.Context, storeID uuid.UUID, handler func(*WorkerInventory), options ...SubscribeWorkersOption) (Subscription, error)
	// GetSubscriptionStatus returns the status of a subscription, or nil if it has ended.
	GetSubscriptionStatus(id string) *SubscriptionStatus
	// WithLease runs fn while it holds the lease on key, or returns [ErrLeaseNotAcquired]. The context of
	// fn ends before the lease does.
	WithLease(ctx context.Context, storeID uuid.UUID, key string, ttl time.Duration, fn func(ctx context.Context) error) error
	// Close ends subscriptions, and the connection of the provider if there is one.
	Close() error
}

// A ClientFactory returns a client.
type ClientFactory interface {
	Get(ctx context.Context) (Client, error)
}

// Options configure [New]; they can be combined freely.
type Options struct {
	// HandlerTimeout bounds a handler; 0 is 30 s.
	HandlerTimeout time.Duration
	// RetryPolicy replaces [DefaultRetryPolicy].
	RetryPolicy *RetryPolicy
	// Metrics measure calls; nil measures none.
	Metrics ClientMetrics
	// Tracing makes a span for each call, with the global provider of OpenTelemetry.
	Tracing bool
}

// New returns a client with options; nil stands for the defaults.
func New(provider api.BidiStreamProvider, o *Options) Client {
	if o == nil {
		o = &Options{}
	}
	c := &client{metrics: o.Metrics}
	p, err := hubOf(provider)
	if err != nil {
		c.err = err
		return c
	}
	options := hubclient.Options{HandlerTimeout: o.HandlerTimeout}
	if m := o.Metrics; m != nil {
		options.OnHandlerFailed = func(status hubclient.SubscriptionStatus, err error) {
			if errors.Is(err, context.DeadlineExceeded) {
				m.RecordHandlerTimeout(status.ID.String())
			} else {
				m.RecordHandlerPanic(status.ID.String())
			}
		}
	}
	if o.RetryPolicy != nil {
		policy := o.RetryPolicy.policy()
		options.Retry = &policy
	}
	if o.Tracing {
		options.TracerProvider = otel.GetTracerProvider()
	}
	c.inner = hubclient.New(p, &options)
	c.closer, _ = provider.(io.Closer)
	return c
}

// hubOf returns the streamhub provider inside a provider of wskit or inprockit.
func hubOf(p api.BidiStreamProvider) (streamhub.Provider, error) {
	if ours, ok := p.(interface {
		Hub() (streamhub.Provider, error)
	}); ok {
		return ours.Hub()
	}
	return nil, fmt.Errorf("%w: a provider of type %T, which neither wskit nor inprockit made", errors.ErrUnsupported, p)
}

// NewClient returns a client with the defaults.
func NewClient(provider api.BidiStreamProvider) Client { return New(provider, nil) }

// NewClientWithHandlerTimeout is [New] with a handler timeout.
func NewClientWithHandlerTimeout(provider api.BidiStreamProvider, timeout time.Duration) Client {
	return New(provider, &Options{HandlerTimeout: timeout})
}

// NewClientWithRetryPolicy is [New] with a retry policy.
func NewClientWithRetryPolicy(provider api.BidiStreamProvider, policy RetryPolicy) Client {
	return New(provider, &Options{RetryPolicy: &policy})
}

// NewClientWithMetrics is [New] with a handler timeout and metrics.
func NewClientWithMetrics(provider api.BidiStreamProvider, timeout time.Duration, metrics ClientMetrics) Client {
	return New(provider, &Options{HandlerTimeout: timeout, Metrics: metrics})
}

// NewClientWithTracing is [New] with tracing.
func NewClientWithTracing(provider api.BidiStreamProvider) Client {
	return New(provider, &Options{Tracing: true})
}

// NewClientWithTracingAndHandlerTimeout is [New] with tracing and a handler timeout.
func NewClientWithTracingAndHandlerTimeout(provider api.BidiStreamProvider, timeout time.Duration) Client {
	return New(provider, &Options{Tracing: true, HandlerTimeout: timeout})
}

type client struct {
	inner   *hubclient.Client
	metrics ClientMetrics
	closer  io.Closer
	err     error // error of the provider; every call returns it

}

func (c *client) Close() error {
	if c.err != nil {
		return nil
	}
	err := c.inner.Close()
	if c.closer != nil {
		err = errors.Join(err, c.closer.Close())
	}
	return err
}

// read makes an enumerator of the items of a store. If the provider has failed, the enumerator has that error.
func read[T any](c *client, items func() iter.Seq2[T, error]) Enumerator[T] {
	if c.err != nil {
		return NewEnumerator(func(yield func(T, error) bool) { yield(*new(T), c.err) })
	}
	return NewEnumerator(items())
}

func (c *client) GetSpaces(ctx context.Context, storeID uuid.UUID) Enumerator[string] {
	return read(c, func() iter.Seq2[string, error] { return c.inner.Store(storeID).Spaces(ctx) })
}

func (c *client) GetSegments(ctx context.Context, storeID uuid.UUID, space string) Enumerator[string] {
	return read(c, func() iter.Seq2[string, error] { return c.inner.Store(storeID).Segments(ctx, space) })
}

func (c *client) Peek(ctx context.Context, storeID uuid.UUID, space, segment string) (*Entry, error) {
	if c.err != nil {
		return nil, c.err
	}
	entry, err := c.inner.Store(storeID).Peek(ctx, space, segment)
	switch {
	case errors.Is(err, streamhub.ErrNotFound):
		return &Entry{Space: space, Segment: segment}, nil
	case err != nil:
		return nil, err
	}
	return api.EntryOf(&entry), nil
}

func (c *client) WithLease(ctx context.Context, storeID uuid.UUID, key string, ttl time.Duration, fn func(ctx context.Context) error) error {
	if c.err != nil {
		return c.err
	}
	return c.inner.Store(storeID).WithLease(ctx, key, max(ttl, time.Second), 0, func(ctx context.Context, _ uint64) error { return fn(ctx) })
}

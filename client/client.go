package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
)

// Defaults of a Client.
const (
	DefaultHandlerTimeout     = 30 * time.Second
	DefaultConcurrentHandlers = 50
)

// A Client makes calls that last. It is safe for concurrent use.
type Client struct {
	provider streamhub.Provider
	opt      options
	tasks    sync.WaitGroup
	handlers chan struct{} // a place for each handler that runs

	mu            sync.Mutex
	closed        bool
	lasting       map[*context.CancelCauseFunc]struct{} // of what Close ends
	subscriptions map[uuid.UUID]*Subscription
}

type options struct {
	retry              RetryPolicy
	handlerTimeout     time.Duration
	handlers           int
	metrics            *ClientMetrics
	tracer             trace.Tracer
	logger             *slog.Logger
	subscriptionFailed func(SubscriptionStatus, error)
}

// An Option configures a Client. Every option goes with every other.
type Option func(*options)

// WithRetryPolicy replaces [DefaultRetryPolicy].
func WithRetryPolicy(p RetryPolicy) Option { return func(o *options) { o.retry = p } }

// WithHandlerTimeout replaces [DefaultHandlerTimeout]. With 0 or less handlers run inline, one after
// the other, for as long as they take.
func WithHandlerTimeout(d time.Duration) Option { return func(o *options) { o.handlerTimeout = d } }

// WithConcurrentHandlers replaces [DefaultConcurrentHandlers], which is for all subscriptions
// together.
func WithConcurrentHandlers(n int) Option { return func(o *options) { o.handlers = max(1, n) } }

// WithMetrics counts calls; see [NewOTelClientMetrics].
func WithMetrics(m *ClientMetrics) Option { return func(o *options) { o.metrics = m } }

// WithTracing makes a span for each call.
func WithTracing(p trace.TracerProvider) Option {
	return func(o *options) { o.tracer = p.Tracer("github.com/seed-147127fe/streamhub/client") }
}

// WithLogger gets what no caller is told; the default discards it.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// OnSubscriptionFailed is called when a subscription ends for good although nobody ended it.
func OnSubscriptionFailed(f func(SubscriptionStatus, error)) Option {
	return func(o *options) { o.subscriptionFailed = f }
}

// NewClient returns a client on a provider, which stays the caller's.
func NewClient(provider streamhub.Provider, opts ...Option) *Client {
	c := &Client{
		provider: provider, lasting: map[*context.CancelCauseFunc]struct{}{}, subscriptions: map[uuid.UUID]*Subscription{},
		opt: options{
			retry: DefaultRetryPolicy(), handlerTimeout: DefaultHandlerTimeout, handlers: DefaultConcurrentHandlers,
			logger: slog.New(slog.DiscardHandler),
		},
	}
	for _, o := range opts {
		o(&c.opt)
	}
	c.handlers = make(chan struct{}, c.opt.handlers)
	return c
}

// Close ends every subscription and membership and waits for the handlers.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	for cancel := range c.lasting {
		(*cancel)(streamhub.ErrShutdown)
	}
	c.mu.Unlock()
	c.tasks.Wait()
	return nil
}

// last returns a context that Close ends with [streamhub.ErrShutdown] as cause, until release is
// called.
func (c *Client) last(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lasting[&cancel] = struct{}{}
	return ctx, func() {
		cancel(context.Canceled)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.lasting, &cancel)
	}
}

// start runs f in a goroutine that Close waits for.
func (c *Client) start(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return streamhub.ErrShutdown
	}
	c.tasks.Go(f)
	return nil
}

// Store returns the part of one store, a tenant. It costs nothing and needs no closing.
func (c *Client) Store(id uuid.UUID) *Store { return &Store{c, c.provider.Store(id)} }

// A Store is one tenant's part of a hub, with calls that last. It is a [streamhub.Store].
type Store struct {
	c     *Client
	inner streamhub.Store
}

var _ streamhub.Store = (*Store)(nil)

// ID returns the id of the store.
func (s *Store) ID() uuid.UUID { return s.inner.ID() }

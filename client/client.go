package client

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/option"
)

// The defaults of [Options.HandlerTimeout] and [Options.ConcurrentHandlers].
const (
	DefaultHandlerTimeout     = 30 * time.Second
	DefaultConcurrentHandlers = 50
)

// A Client makes calls to stores and retries them; see [Options.Retry]. It is safe for concurrent
// use.
type Client struct {
	provider streamhub.Provider
	opt      options
	tasks    sync.WaitGroup
	handlers chan struct{} // one place for each running handler

	// mu guards the fields below, and orders every start of a task before Close waits for tasks.
	mu          sync.Mutex
	closed      bool // Close has begun: no subscription, membership or read can start
	noMoreCalls bool // every task has ended: no call can be made
	// lasting has the contexts that Close ends. The key is a pointer, because functions cannot be compared.
	lasting map[*context.CancelCauseFunc]struct{}
	// subscriptions has the active subscriptions. It keeps failed ones too, so that their status says why they failed.
	subscriptions map[uuid.UUID]*Subscription
}

// Options configure a [Client]; nil stands for the defaults.
type Options struct {
	// Retry says how often a call is attempted; nil is [DefaultRetryPolicy].
	Retry *RetryPolicy
	// HandlerTimeout bounds a handler of a subscription; 0 is [DefaultHandlerTimeout]. With a negative
	// value handlers run inline, one after the other, for as long as they take.
	HandlerTimeout time.Duration
	// ConcurrentHandlers bounds the handlers of all subscriptions together that run at once; 0 is
	// [DefaultConcurrentHandlers].
	ConcurrentHandlers int
	// Metrics count calls, see [NewOTelClientMetrics]; nil counts none.
	Metrics *ClientMetrics
	// TracerProvider records a span for each call; nil records none.
	TracerProvider trace.TracerProvider
	// Logger receives background failures, which no call returns; nil discards them.
	Logger *slog.Logger
	// OnSubscriptionFailed is called when a subscription fails for good, not when the program ends it.
	OnSubscriptionFailed func(SubscriptionStatus, error)
	// OnHandlerFailed is called after a handler panicked, or took longer than HandlerTimeout: then the error is
	// [context.DeadlineExceeded]. It is called in the goroutine of the subscription or of the handler.
	OnHandlerFailed func(SubscriptionStatus, error)
}

// options are the [Options] with their defaults filled in.
type options struct {
	retry              RetryPolicy
	handlerTimeout     time.Duration
	metrics            *ClientMetrics
	tracer             trace.Tracer
	logger             *slog.Logger
	subscriptionFailed func(SubscriptionStatus, error)
	handlerFailed      func(SubscriptionStatus, error)
}

// New returns a client on a provider, which stays the caller's.
func New(provider streamhub.Provider, o *Options) *Client {
	if o == nil {
		o = &Options{}
	}
	c := &Client{
		provider: provider, lasting: map[*context.CancelCauseFunc]struct{}{}, subscriptions: map[uuid.UUID]*Subscription{},
		opt: options{
			retry: DefaultRetryPolicy(), handlerTimeout: cmp.Or(o.HandlerTimeout, DefaultHandlerTimeout), metrics: o.Metrics,
			logger: o.Logger, subscriptionFailed: o.OnSubscriptionFailed, handlerFailed: o.OnHandlerFailed,
		},
	}
	if o.Retry != nil {
		c.opt.retry = *o.Retry
	}
	if o.TracerProvider != nil {
		c.opt.tracer = o.TracerProvider.Tracer("github.com/seed-147127fe/streamhub/client")
	}
	option.Logger(&c.opt.logger)
	handlers := o.ConcurrentHandlers
	if handlers <= 0 {
		handlers = DefaultConcurrentHandlers
	}
	c.handlers = make(chan struct{}, handlers)
	return c
}

// Close ends every subscription, membership and read with [streamhub.ErrShutdown] and waits for the handlers. Calls that begin
// later get ErrShutdown. The provider stays open.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	for cancel := range c.lasting {
		(*cancel)(streamhub.ErrShutdown)
	}
	c.mu.Unlock()
	c.tasks.Wait()
	c.mu.Lock()
	// noMoreCalls is set only now: the tasks that Close ends may make last calls, such as the verdict of a producer.
	c.noMoreCalls = true
	c.mu.Unlock()
	return nil
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *Client) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noMoreCalls
}

// last returns a context that Close cancels with [streamhub.ErrShutdown] as its cause, unless release was called
// before. After Close it returns a cancelled context.
func (c *Client) last(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lasting[&cancel] = struct{}{}
	if c.closed {
		cancel(streamhub.ErrShutdown)
	}
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

// Store returns the store of one tenant. It sends nothing and needs no closing.
func (c *Client) Store(id uuid.UUID) *Store { return &Store{c, c.provider.Store(id)} }

// A Store is a [streamhub.Store] whose calls are retried. It is safe for concurrent use.
type Store struct {
	c     *Client
	inner streamhub.Store
}

var _ streamhub.Store = (*Store)(nil)

// ID returns the id of the store.
func (s *Store) ID() uuid.UUID { return s.inner.ID() }

package redisx

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

const (
	// learnPause is the shortest time between a failed inspection of the server and the next one.
	learnPause = 100 * time.Millisecond
	// learnTime bounds an inspection of the server.
	learnTime = 5 * time.Second
)

// Options configure a [Conn]; nil stands for the defaults.
type Options struct {
	// Wait makes [Open] succeed if Redis cannot serve at the moment.
	Wait bool
	// Check may refuse a server: it is called after each inspection of a server. Its error is final.
	Check func(*Server) error
	// Logger gets a line when Redis cannot serve and one when it can again, while [Conn.Attend] runs.
	Logger *slog.Logger
}

// A Conn is a client of Redis together with the features of the server. It is safe for concurrent use.
//
// The features are derived from the product and version of the server, never from a refused command, which may be
// temporary. They are derived again after a connection was lost.
type Conn struct {
	redis.UniversalClient
	// Cluster is set where keys live on several nodes.
	Cluster *redis.ClusterClient

	opt     Options
	user    string
	heeds   bool // the client honours the deadline of a context
	server  atomic.Pointer[Server]
	stale   atomic.Bool   // the learned features may be out of date
	trouble chan struct{} // wakes Attend; has a buffer of one

	learning chan struct{} // a semaphore of one for inspections
	looked   time.Time     // guarded by learning, as is failed
	failed   error
	final    atomic.Pointer[error] // the last inspection found the server unfit
}

// Connect is [Open] with the defaults. A client that is itself a Conn is returned unchanged, so that packages can share
// one.
func Connect(ctx context.Context, client redis.UniversalClient) (*Conn, error) {
	if c, ok := client.(*Conn); ok {
		return c, nil
	}
	return Open(ctx, client, nil)
}

// Open inspects the server of client. It does not own client. The error is an [streamhub.UnavailableError], or says
// what the server lacks. With Wait it is only an error that waiting does not cure, see [Final].
func Open(ctx context.Context, client redis.UniversalClient, options *Options) (*Conn, error) {
	c := &Conn{UniversalClient: client, user: userOf(client), heeds: heedsDeadlines(client), trouble: make(chan struct{}, 1), learning: make(chan struct{}, 1)}
	c.Cluster, _ = client.(*redis.ClusterClient)
	if options != nil {
		c.opt = *options
	}
	if err := checkClient(client); err != nil {
		return nil, err
	}
	if err := c.Ready(ctx); err != nil && (!c.opt.Wait || Final(err)) {
		return nil, err
	}
	return c, nil
}

// checkClient refuses a client that may read a key from another server than its primary.
func checkClient(client redis.UniversalClient) error {
	switch c := client.(type) {
	case *redis.Ring:
		return fmt.Errorf("%w: a *redis.Ring divides keys among servers that know nothing of each other; take a cluster", streamhub.ErrInvalidArgument)
	case *redis.ClusterClient:
		if c.Options().ReadOnly {
			return fmt.Errorf("%w: the client reads from replicas (ReadOnly, RouteByLatency or RouteRandomly), which may lag; a hub reads from primaries",
				streamhub.ErrInvalidArgument)
		}
	}
	return nil
}

// Server returns the learned features, or nil if the server could not be inspected yet.
func (c *Conn) Server() *Server { return c.server.Load() }

// Ready returns nil once the server was inspected and found fit, even if it cannot serve right now. After a lost
// connection the earlier result counts until [Conn.Attend] or [Conn.Fresh] has inspected the server again. An unfit
// server is inspected again at most every 100 ms.
func (c *Conn) Ready(ctx context.Context) error {
	if c.Known() {
		return nil
	}
	return c.Fresh(ctx)
}

// Known reports whether [Conn.Ready] would return nil at once.
func (c *Conn) Known() bool { return c.server.Load() != nil && c.final.Load() == nil }

// HeedsDeadlines reports whether the client ends a command at the deadline of its context (ContextTimeoutEnabled). It
// is also false for a client of an unknown type.
func (c *Conn) HeedsDeadlines() bool { return c.heeds }

func heedsDeadlines(client redis.UniversalClient) bool {
	switch c := client.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	}
	return false
}

// Fresh is like Ready, for callers that rely on the features of the server: after a lost connection it inspects the
// server before it returns.
func (c *Conn) Fresh(ctx context.Context) error {
	if c.server.Load() != nil && !c.stale.Load() {
		return c.judged()
	}
	select {
	case c.learning <- struct{}{}:
	case <-ctx.Done():
		return opening(ctx.Err())
	}
	defer func() { <-c.learning }()
	// Another caller may have inspected the server while this one waited.
	if c.server.Load() != nil && !c.stale.Load() {
		return c.judged()
	}
	if c.failed == nil || time.Since(c.looked) >= learnPause {
		c.stale.Store(false) // set first, so that a connection lost meanwhile makes it stale again
		c.look(ctx)
	}
	if c.failed != nil {
		return c.failed
	}
	return c.judged()
}

// judged returns the error of every call while the server is unfit, or nil.
func (c *Conn) judged() error {
	if final := c.final.Load(); final != nil {
		return *final
	}
	return nil
}

// look inspects the server. The caller holds the semaphore learning.
func (c *Conn) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	server, err := c.learn(ctx)
	if err == nil && c.opt.Check != nil {
		err = c.opt.Check(server)
	}
	c.looked, c.failed = time.Now(), err
	switch {
	case err == nil:
		c.server.Store(server)
		c.final.Store(nil)
		return
	case Final(err):
		c.final.Store(&err)
	}
	c.stale.Store(true)
	c.wake()
}

// Observe takes the error of a command. If it means that a connection was lost, the server may be another one, so it is
// inspected again.
func (c *Conn) Observe(err error) {
	if err != nil && cutOff(err) {
		c.Doubt()
	}
	if c.Cluster != nil && Moving(err) {
		c.Cluster.ReloadState(context.Background()) //nolint:contextcheck // it starts a reload and does not wait for it
	}
}

// Doubt marks the learned features as out of date, so that Attend and Fresh inspect the server again.
func (c *Conn) Doubt() {
	c.stale.Store(true)
	c.wake()
}

func (c *Conn) wake() {
	select {
	case c.trouble <- struct{}{}:
	default:
	}
}

// NodeFor returns the client of the primary that has key: c itself if it is not a cluster.
func (c *Conn) NodeFor(ctx context.Context, key string) (redis.UniversalClient, error) {
	if c.Cluster == nil {
		return c.UniversalClient, nil
	}
	return c.Cluster.MasterForKey(ctx, key)
}

// each calls do for every primary.
func (c *Conn) each(ctx context.Context, do func(context.Context, redis.UniversalClient) error) error {
	if c.Cluster == nil {
		return do(ctx, c.UniversalClient)
	}
	return c.Cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return do(ctx, node) })
}

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
	// learnPause is how long after a failed look at the server the next one may be.
	learnPause = 100 * time.Millisecond
	// learnTime bounds a look.
	learnTime = 5 * time.Second
)

// Options configure a [Conn]; nil stands for the defaults.
type Options struct {
	// Wait makes [Open] succeed where Redis cannot serve at the moment.
	Wait bool
	// Check refuses a server; it is called for each server that was learned. Its error is final.
	Check func(*Server) error
	// Logger gets a line when Redis cannot serve and one when it can again, while [Conn.Attend] runs.
	Logger *slog.Logger
}

// A Conn is a Redis and what it can do. It is safe for concurrent use.
//
// What it can do is learned from what it is, never from what it refuses at the moment, and learned
// again when a connection was lost.
type Conn struct {
	redis.UniversalClient
	// Cluster is set where keys live on several nodes.
	Cluster *redis.ClusterClient

	opt     Options
	user    string
	heeds   bool // the client heeds the deadline of a context
	server  atomic.Pointer[Server]
	stale   atomic.Bool   // what was learned may be out of date
	trouble chan struct{} // wakes Attend; holds one

	learning chan struct{} // holds one while a caller looks at the server
	looked   time.Time     // guarded by learning, as is failed
	failed   error
	final    atomic.Pointer[error] // no use of this server: the last look found it unfit
}

// Connect is [Open] with the defaults. A client that is a Conn is returned as it is: packages that
// share one are given it as their client.
func Connect(ctx context.Context, client redis.UniversalClient) (*Conn, error) {
	if c, ok := client.(*Conn); ok {
		return c, nil
	}
	return Open(ctx, client, nil)
}

// Open looks at the server behind client. It does not own client. The error is an
// [streamhub.UnavailableError], and with Wait only one that waiting does not cure, see [Final]; or
// it says what the server lacks.
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

// checkClient refuses a client that would look for a key elsewhere than on the primary that has it.
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

// Server is what was learned; nil if nothing could be learned yet.
func (c *Conn) Server() *Server { return c.server.Load() }

// Ready reports whether commands can be made: once the server was learned they can, whatever state
// it is in. What was learned before a connection was lost does until [Conn.Attend] or [Conn.Fresh] has
// looked again; a server that was unfit is looked at again, at most every 100 ms.
func (c *Conn) Ready(ctx context.Context) error {
	if c.Known() {
		return nil
	}
	return c.Fresh(ctx)
}

// Known reports whether [Conn.Ready] would return nil at once.
func (c *Conn) Known() bool { return c.server.Load() != nil && c.final.Load() == nil }

// HeedsDeadlines reports whether the client ends a command when the deadline of its context is over
// (ContextTimeoutEnabled). False may mean that nothing is known of the client.
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

// Fresh is Ready for those who rely on what the server can do: after a connection was lost it looks at
// the server before it returns.
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
	// Another caller may have looked while this one waited.
	if c.server.Load() != nil && !c.stale.Load() {
		return c.judged()
	}
	if c.failed == nil || time.Since(c.looked) >= learnPause {
		c.stale.Store(false) // first: what is lost meanwhile makes it stale again
		c.look(ctx)
	}
	if c.failed != nil {
		return c.failed
	}
	return c.judged()
}

// judged is the error of every call while the server is unfit.
func (c *Conn) judged() error {
	if final := c.final.Load(); final != nil {
		return *final
	}
	return nil
}

// look learns the server. The caller is the one who looks.
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

// Observe tells c what came of a command. After a lost connection the server may be another one.
func (c *Conn) Observe(err error) {
	if err != nil && cutOff(err) {
		c.Doubt()
	}
	if c.Cluster != nil && Moving(err) {
		c.Cluster.ReloadState(context.Background()) //nolint:contextcheck // it starts a reload and does not wait for it
	}
}

// Doubt has the server looked at again before the next command.
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

// NodeFor returns the client of the primary that has key: c itself unless it is a cluster.
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

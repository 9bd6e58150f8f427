package hubtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/memredis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// TB is what this package needs of a test; [testing.TB] has it.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Fatalf(format string, args ...any)
}

// Options configure an [Env]; nil stands for the defaults.
type Options struct {
	// Hub are the options of every hub. Where they are zero, RetryFor is 100 ms and Recheck 20 ms, so that
	// faults show soon, and nothing is swept but by [Env.Sweep].
	Hub hub.Options
	// Gateway are the options of the gateway; nil stands for its defaults.
	Gateway *wsgateway.Options
	// Now is what the clock of Redis says at first; the default is noon of January 1, 2030, in UTC.
	Now time.Time
}

// An Env is a hub with a Redis and a gateway of its own. Its methods may be called from any goroutine,
// save that only one at a time moves the clock or asks for faults.
type Env struct {
	// ID is a store to use; any other id is a store too.
	ID uuid.UUID

	ctx   context.Context
	opt   Options
	redis *memredis.Server
	link  *memredis.Link
	hub   *hub.Hub
	proxy *faultproxy.Proxy

	mu      sync.Mutex
	closers []func() error // guarded by mu
}

// Open starts an Env that ends with the test.
func Open(tb TB, options ...*Options) *Env {
	tb.Helper()
	var o *Options
	if len(options) > 0 {
		o = options[0]
	}
	e, err := Start(tb.Context(), o)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Fatalf("hubtest: close: %v", err)
		}
	})
	return e
}

// Start starts an Env, which the caller closes. ctx lends its values; its end means nothing afterwards.
func Start(ctx context.Context, o *Options) (_ *Env, err error) {
	e := &Env{ID: uuid.New(), ctx: context.WithoutCancel(ctx), link: &memredis.Link{}}
	if o != nil {
		e.opt = *o
	}
	e.opt.Hub.RetryFor = cmp.Or(e.opt.Hub.RetryFor, 100*time.Millisecond)
	e.opt.Hub.Recheck = cmp.Or(e.opt.Hub.Recheck, 20*time.Millisecond)
	e.opt.Hub.SweepEvery = cmp.Or(e.opt.Hub.SweepEvery, -1)
	if e.opt.Now.IsZero() {
		e.opt.Now = time.Date(2030, time.January, 1, 12, 0, 0, 0, time.UTC)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.redis, err = memredis.Start(e.opt.Now); err != nil {
		return nil, err
	}
	e.later(func() error { e.redis.Close(); return nil })
	if e.hub, err = e.NewHub(); err != nil {
		return nil, err
	}
	gateway, err := wsgateway.New(e.ctx, e.hub, e.opt.Gateway)
	if err != nil {
		return nil, err
	}
	server := httptest.NewServer(gateway)
	e.later(func() error {
		ctx, cancel := context.WithTimeout(e.ctx, goodbye)
		defer cancel()
		defer server.Close()
		return gateway.Shutdown(ctx)
	})
	if e.proxy, err = faultproxy.New(strings.TrimPrefix(server.URL, "http://"), 1, faultproxy.Faults{}); err != nil {
		return nil, err
	}
	e.later(e.proxy.Close)
	return e, nil
}

// goodbye is how long the gateway may take to end.
const goodbye = 10 * time.Second

func (e *Env) later(f func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closers = append(e.closers, f)
}

// Close ends every fault, and everything that the Env has opened. It may be called twice.
func (e *Env) Close() (err error) {
	if e.proxy != nil {
		e.Resume()
	}
	e.mu.Lock()
	closers := e.closers
	e.closers = nil
	e.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		err = errors.Join(err, closers[i]())
	}
	return err
}

// Hub is the hub that the gateway is of. It ends with the Env.
func (e *Env) Hub() *hub.Hub { return e.hub }

// NewHub opens one more hub on the same Redis, as another process would. It ends with the Env; the caller
// may close it before.
func (e *Env) NewHub() (*hub.Hub, error) {
	conn := e.redis.Client(e.link)
	o := e.opt.Hub
	h, err := hub.Open(e.ctx, conn, &o)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	e.later(func() error { return errors.Join(h.Close(), conn.Close()) })
	return h, nil
}

// NewClient returns one more client of the gateway, as another process would have. It ends with the Env.
// Give it to [client.New] for calls that are retried.
func (e *Env) NewClient(o *client.WebSocketOptions) (streamhub.Provider, error) {
	p, err := client.NewWebSocketProvider(e.ctx, []string{e.URL()}, o)
	if err != nil {
		return nil, err
	}
	e.later(p.Close)
	return p, nil
}

// Client is [Env.NewClient] with its defaults.
func (e *Env) Client() streamhub.Provider {
	p, err := e.NewClient(nil)
	if err != nil {
		panic(fmt.Sprintf("hubtest: %v", err)) // the address is ours
	}
	return p
}

// URL is the address of the gateway for clients, ws://host:port. Faults of connections are on it.
func (e *Env) URL() string { return "ws://" + e.proxy.Addr() }

// Now is what the clock of Redis says.
func (e *Env) Now() time.Time { return e.redis.Now() }

// Advance moves the clock of Redis. What has expired then is gone for every caller, swept or not.
func (e *Env) Advance(d time.Duration) { e.redis.Advance(d) }

// Sweep clears away what has expired in every store, as each hub does once in a while.
func (e *Env) Sweep(ctx context.Context) (err error) {
	client := e.redis.Client()
	defer func() { err = errors.Join(err, client.Close()) }()
	conn, err := redisx.Connect(ctx, client)
	if err != nil {
		return err
	}
	log, err := hotlog.Open(ctx, conn, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	ids, err := log.Stores(ctx)
	for i := 0; i < len(ids) && err == nil; i++ {
		err = log.Store(ids[i]).Sweep(ctx)
	}
	return err
}

// LoseReplies has the next n changes made without a reply to the hub. Zero ends it. The hub retries, so
// one lost reply shows only as a repeat that was recognised. With a number that outlasts
// [hub.Options.RetryFor], such as 1,000, the caller gets [streamhub.ErrUnknownOutcome].
func (e *Env) LoseReplies(n int) { e.link.Lose(n, false) }

// LoseRequests loses the next n changes on the way to Redis: they are not made. Zero ends it.
func (e *Env) LoseRequests(n int) { e.link.Lose(n, true) }

// StopRedis takes Redis out of reach. It keeps what it holds.
func (e *Env) StopRedis() { e.redis.Stop() }

// StartRedis ends [Env.StopRedis].
func (e *Env) StartRedis() error { return e.redis.Continue() }

// A Mark is a state of Redis.
type Mark struct{ saved any }

// Mark notes the state of Redis for [Env.LoseHistory].
func (e *Env) Mark() Mark { return Mark{e.redis.Save()} }

// LoseHistory loses what Redis took since the mark, as after a restart from a backup. Cursors, writers
// and followers that have seen more are told [streamhub.ErrHistoryLost].
func (e *Env) LoseHistory(m Mark) { e.redis.Rewind(m.saved) }

// Promote has Redis begin another lineage and lose nothing, as after a failover that went well. No reader
// or writer notices.
func (e *Env) Promote() { e.redis.Promote() }

// Cut cuts the connections of clients to the gateway and returns how many there were.
func (e *Env) Cut() int { return e.proxy.CutAll() }

// Stall keeps from clients what the gateway sends, until [Env.Resume].
func (e *Env) Stall() { e.proxy.Set(faultproxy.Faults{ToClient: faultproxy.Flow{Hold: true}}) }

// Resume ends [Env.Stall].
func (e *Env) Resume() { e.proxy.Set(faultproxy.Faults{}) }

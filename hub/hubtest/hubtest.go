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

// TB is the part of [testing.TB] that this package uses.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Fatalf(format string, args ...any)
}

// Options configure an [Env]; nil stands for the defaults.
type Options struct {
	// Hub are the options of every hub. The defaults differ: RetryFor is 500 ms and Recheck 20 ms, so that
	// faults show soon, and only [Env.Sweep] sweeps.
	Hub hub.Options
	// Gateway are the options of the gateway; nil stands for its defaults.
	Gateway *wsgateway.Options
	// Now is the first time of the clock of Redis; the default is noon of January 1, 2030, in UTC.
	Now time.Time
}

// An Env is a hub with its own Redis and gateway. Its methods are safe for concurrent use, except that
// only one goroutine at a time may move the clock or ask for faults.
type Env struct {
	// ID is the id of a store for the test; any other id works too.
	ID uuid.UUID

	ctx    context.Context
	opt    Options
	redis  *memredis.Server
	losses *memredis.LossHook
	hub    *hub.Hub
	proxy  *faultproxy.Proxy

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

// Start starts an Env, which the caller closes. The Env uses the values of ctx, and ignores its end.
func Start(ctx context.Context, o *Options) (_ *Env, err error) {
	e := &Env{ID: uuid.New(), ctx: context.WithoutCancel(ctx), losses: &memredis.LossHook{}}
	if o != nil {
		e.opt = *o
	}
	e.opt.Hub.RetryFor = cmp.Or(e.opt.Hub.RetryFor, 500*time.Millisecond)
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
		ctx, cancel := context.WithTimeout(e.ctx, shutdownTime)
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

// shutdownTime bounds the shutdown of the gateway.
const shutdownTime = 10 * time.Second

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

// Hub returns the hub that the gateway serves. The Env closes it.
func (e *Env) Hub() *hub.Hub { return e.hub }

// NewHub opens another hub on the same Redis, as another process would. The Env closes it, unless the
// caller has.
func (e *Env) NewHub() (*hub.Hub, error) {
	conn := e.redis.Client(e.losses)
	o := e.opt.Hub
	h, err := hub.Open(e.ctx, conn, &o)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	e.later(func() error { return errors.Join(h.Close(), conn.Close()) })
	return h, nil
}

// NewClient returns another client of the gateway, as another process would have. The Env closes it.
// Pass it to [client.New] for calls that are retried.
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
		panic(fmt.Sprintf("hubtest: %v", err)) // cannot happen: the address is valid
	}
	return p
}

// URL returns the address of the gateway for clients, ws://host:port. Connection faults apply to
// it.
func (e *Env) URL() string { return "ws://" + e.proxy.Addr() }

// Now returns the time of the clock of Redis.
func (e *Env) Now() time.Time { return e.redis.Now() }

// Advance moves the clock of Redis forward. What has expired by then is gone for every caller, swept or not.
func (e *Env) Advance(d time.Duration) { e.redis.Advance(d) }

// Sweep removes the expired segments of every store, as hubs do at [hub.Options.SweepEvery].
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

// LoseReplies loses the replies to the next n changes, which Redis makes. With n 0 the fault ends. The hub retries, so
// the caller does not notice one lost reply. With an n that outlasts [hub.Options.RetryFor], such as 1,000, the caller
// gets [streamhub.ErrUnknownOutcome].
func (e *Env) LoseReplies(n int) { e.losses.Lose(n, false) }

// LoseRequests loses the next n changes before they reach Redis, which does not make them. With n 0 the fault ends.
func (e *Env) LoseRequests(n int) { e.losses.Lose(n, true) }

// StopRedis makes Redis unreachable until [Env.StartRedis]. Redis keeps its data.
func (e *Env) StopRedis() { e.redis.Stop() }

// StartRedis ends [Env.StopRedis].
func (e *Env) StartRedis() error { return e.redis.Continue() }

// A Mark is a state of Redis.
type Mark struct{ saved any }

// Mark saves the state of Redis for [Env.LoseHistory].
func (e *Env) Mark() Mark { return Mark{e.redis.Save()} }

// LoseHistory makes Redis lose every change since the mark, as after a restart from a backup. Cursors,
// writers and followers that have seen more get [streamhub.ErrHistoryLost].
func (e *Env) LoseHistory(m Mark) { e.redis.Rewind(m.saved) }

// Promote gives Redis a new lineage without any loss, as after a clean failover. No reader or writer
// notices.
func (e *Env) Promote() { e.redis.Promote() }

// Cut cuts the connections of clients to the gateway and returns how many there were.
func (e *Env) Cut() int { return e.proxy.CutAll() }

// Stall holds back everything that the gateway sends to clients, until [Env.Resume].
func (e *Env) Stall() { e.proxy.Set(faultproxy.Faults{ToClient: faultproxy.Flow{Hold: true}}) }

// Resume ends [Env.Stall].
func (e *Env) Resume() { e.proxy.Set(faultproxy.Faults{}) }

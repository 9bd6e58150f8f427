package model

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/memredis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// A Way is a store as programs reach it, with a Redis of its own to be done things to.
type Way interface {
	// Store is the store as a writer, 0 or 1, sees it.
	Store(by int) streamhub.Store
	// Reader is the store for followers of a writer. Those of writer 1 go on by themselves after a cut.
	Reader(by int) streamhub.Store
	// Remote says that there is a network between.
	Remote() bool
	// Process says which process remembers what the next call of the writer does.
	Process(by int) int
	// Sweep runs a sweep over the store.
	Sweep(ctx context.Context) error
	// Advance lets time pass for Redis.
	Advance(d time.Duration)
	// Save, Rewind and Promote: see [Model.Save].
	Save() any
	Rewind(saved any)
	Promote()
	// Lose loses the replies to the next n batches with scripts, or what is sent if drop is set. With
	// 0 it loses nothing any more.
	Lose(n int, drop bool)
	// Cut cuts the connections of programs to their gateways, and returns when they have others.
	Cut(ctx context.Context) error
	// Deafen loses notifications from now on, or no more.
	Deafen(deaf bool)
	// Close ends it.
	Close() error
}

// A Kind is a kind of way.
type Kind string

// The kinds.
const (
	InProcess   Kind = "in process"
	OneGateway  Kind = "one gateway"
	TwoGateways Kind = "two gateways"
)

// Kinds are all of them.
var Kinds = []Kind{InProcess, OneGateway, TwoGateways}

// Open makes a way on a miniredis of its own, whose clock says now.
func Open(ctx context.Context, kind Kind, now time.Time) (Way, error) {
	w := &memory{kind: kind, ctx: ctx, now: now, id: uuid.New(), link: &memredis.Link{}}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("open: %w", fmt.Errorf("%w, %w", err, w.Close()))
	}
	return w, nil
}

// memory is a way on miniredis.
type memory struct {
	kind    Kind
	ctx     context.Context
	redis   *memredis.Server
	now     time.Time
	id      uuid.UUID
	link    *memredis.Link
	stores  []streamhub.Store
	readers []streamhub.Store
	sweeper *hotlog.Store
	proxies []*faultproxy.Proxy
	closers []func() error
}

func (w *memory) later(f func() error) { w.closers = append(w.closers, f) }

func (w *memory) open() error {
	var err error
	if w.redis, err = memredis.Start(w.now); err != nil {
		return err
	}
	w.later(func() error { w.redis.Close(); return nil })
	log, err := w.log()
	if err != nil {
		return err
	}
	w.sweeper = log.Store(w.id)
	var providers []streamhub.Provider
	for range 2 {
		h, err := hub.Open(w.ctx, w.client(w.link), &hub.Options{SweepEvery: -1, Recheck: 20 * time.Millisecond, RetryFor: retryFor})
		if err != nil {
			return err
		}
		w.later(h.Close)
		if w.kind == InProcess {
			providers = append(providers, h.Provider())
			continue
		}
		p, err := w.dial(h)
		if err != nil {
			return err
		}
		providers = append(providers, p)
	}
	if w.kind == OneGateway {
		providers[1] = providers[0]
	}
	for _, p := range providers {
		w.stores = append(w.stores, p.Store(w.id))
	}
	w.readers = append(w.readers, w.stores[0], w.stores[1])
	if w.Remote() {
		w.readers[1] = client.New(providers[1], nil).Store(w.id)
	}
	return nil
}

// retryFor is how long a hub retries: longer than a few lost replies take.
const retryFor = 60 * time.Millisecond

// client is a connection to the Redis of the way.
func (w *memory) client(hooks ...redis.Hook) redis.UniversalClient {
	c := w.redis.Client(hooks...)
	w.later(c.Close)
	return c
}

func (w *memory) log() (*hotlog.Log, error) {
	conn, err := redisx.Connect(w.ctx, w.client())
	if err != nil {
		return nil, err
	}
	log, err := hotlog.Open(w.ctx, conn, nil)
	if err == nil {
		w.later(log.Close)
	}
	return log, err
}

// dial starts a gateway to h and returns a client of it.
func (w *memory) dial(h *hub.Hub) (streamhub.Provider, error) {
	g, err := wsgateway.New(w.ctx, h, nil)
	if err != nil {
		return nil, err
	}
	s := httptest.NewServer(g)
	w.later(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 10*time.Second)
		defer cancel()
		defer s.Close()
		return g.Shutdown(ctx)
	})
	proxy, err := faultproxy.New(s.Listener.Addr().String(), 1, faultproxy.Faults{})
	if err != nil {
		return nil, err
	}
	w.later(proxy.Close)
	w.proxies = append(w.proxies, proxy)
	p, err := client.NewWebSocketProvider(w.ctx, []string{"ws://" + proxy.Addr()}, nil)
	if err == nil {
		w.later(p.Close)
	}
	return p, err
}

func (w *memory) Store(by int) streamhub.Store { return w.stores[by] }

func (w *memory) Reader(by int) streamhub.Store { return w.readers[by] }

func (w *memory) Remote() bool { return w.kind != InProcess }

func (w *memory) Process(by int) int {
	if w.kind == OneGateway {
		return 0
	}
	return by
}

func (w *memory) Sweep(ctx context.Context) error { return w.sweeper.Sweep(ctx) }

func (w *memory) Advance(d time.Duration) { w.redis.Advance(d) }

func (w *memory) Save() any { return w.redis.Save() }

func (w *memory) Rewind(saved any) { w.redis.Rewind(saved) }

func (w *memory) Promote() { w.redis.Promote() }

func (w *memory) Lose(n int, drop bool) { w.link.Lose(n, drop) }

func (w *memory) Deafen(deaf bool) { w.redis.Deafen(deaf) }

func (w *memory) Cut(ctx context.Context) error {
	for _, p := range w.proxies {
		p.CutAll()
	}
	for _, s := range w.stores {
		for {
			_, err := s.SpaceEnd(ctx, "s")
			if err == nil {
				break
			}
			if !streamhub.Retryable(err) || ctx.Err() != nil {
				return fmt.Errorf("after a cut: %w", err)
			}
		}
	}
	return nil
}

func (w *memory) Close() (err error) {
	for i := len(w.closers) - 1; i >= 0; i-- {
		if e := w.closers[i](); e != nil && err == nil {
			err = e
		}
	}
	return err
}

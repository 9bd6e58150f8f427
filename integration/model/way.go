package model

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/memredis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// A Way is a store as programs reach it, with a Redis of its own to be done things to.
type Way interface {
	// Store is the store as a writer, 0 or 1, sees it.
	Store(by int) streamhub.Store
	// Reader is the store for followers of a writer. Those of writer 1 go on by themselves after a cut.
	Reader(by int) streamhub.Store
	// Live are the live streams of a space, nil where there are none.
	Live(by int, space string) live.Streams
	// Beat lets every hub say which live streams of a space it produces. It returns when those that are
	// named have been heard of, and those that were silent for too long have ended.
	Beat(ctx context.Context, space string, names []string) error
	// Streams is where the gateway of a writer has its streams over HTTP, "" where there is none.
	Streams(by int) string
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
	// Lose lets pass batches with scripts through and loses the replies to the next n, or what is sent if drop is
	// set. With 0 it loses nothing any more.
	Lose(pass, n int, drop bool)
	// Cut cuts the connections of programs to their gateways, and returns when they have others.
	Cut(ctx context.Context) error
	// Deafen loses notifications from now on, or no more.
	Deafen(deaf bool)
	// Archive lets the archiver of a writer's process take a turn under a policy. A way without an archive does nothing.
	Archive(ctx context.Context, by int, policy tier.Policy) error
	// EndLeases ends the leases of archivers, as if their time were over.
	EndLeases(ctx context.Context) error
	// Ends says where the archive of each space ends, and Last where the timeline of one does in Redis.
	Ends(ctx context.Context) (map[string]streamhub.TimelineID, error)
	Last(ctx context.Context, space string) (streamhub.TimelineID, error)
	// Restore lets Redis lose all that it has and brings back what is archived. No program sees it half done.
	Restore(ctx context.Context) error
	// Close ends it.
	Close() error
}

// A Kind is a kind of way.
type Kind string

const (
	InProcess   Kind = "in process"
	OneGateway  Kind = "one gateway"
	TwoGateways Kind = "two gateways"
	// Archived is in process and has an archive.
	Archived Kind = "archived"
	// ArchivedOneGateway and ArchivedTwoGateways have one, too.
	ArchivedOneGateway  Kind = "archived, one gateway"
	ArchivedTwoGateways Kind = "archived, two gateways"
	// Durable is Archived, and has two gateways for Durable Streams besides.
	Durable Kind = "durable streams"
)

// Kinds are all of them.
var Kinds = []Kind{InProcess, OneGateway, TwoGateways, Archived, ArchivedOneGateway, ArchivedTwoGateways, Durable}

func (k Kind) archived() bool {
	return k == Archived || k == ArchivedOneGateway || k == ArchivedTwoGateways || k == Durable
}

// single says that both writers are the same client.
func (k Kind) single() bool { return k == OneGateway || k == ArchivedOneGateway }

// Programs generates programs of at least so many steps for a way.
func (k Kind) Programs(steps int) *rapid.Generator[[]Step] {
	if k == Durable {
		return webPrograms(steps)
	}
	if k.archived() {
		return archivePrograms(steps)
	}
	return Programs(steps)
}

// Open makes a way on a miniredis of its own, whose clock says now.
func Open(ctx context.Context, kind Kind, now time.Time) (Way, error) {
	w := &memory{kind: kind, ctx: ctx, now: now, id: uuid.New(), link: &memredis.LossHook{}}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("open: %w", fmt.Errorf("%w, %w", err, w.Close()))
	}
	return w, nil
}

// memory is a way on miniredis.
type memory struct {
	kind      Kind
	ctx       context.Context
	redis     *memredis.Server
	now       time.Time
	id        uuid.UUID
	link      *memredis.LossHook
	stores    []streamhub.Store
	readers   []streamhub.Store
	hubs      []*hub.Hub
	providers []streamhub.Provider
	command   redis.UniversalClient
	clients   []*client.Client
	sweeper   *hotlog.Store
	proxies   []*faultproxy.Proxy
	streams   []string // URLs
	closers   []func() error
	cold      cold
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
	w.sweeper, w.command = log.Store(w.id), w.client()
	for range 2 {
		h, err := hub.Open(w.ctx, w.client(w.link), w.options())
		if err != nil {
			return err
		}
		w.later(h.Close)
		w.hubs = append(w.hubs, h)
		if !w.Remote() {
			w.providers = append(w.providers, h.Provider())
			continue
		}
		p, err := w.dial(h)
		if err != nil {
			return err
		}
		w.providers = append(w.providers, p)
	}
	if w.kind.single() {
		w.providers[1] = w.providers[0]
	}
	for w.kind == Durable && len(w.streams) < 2 {
		if err := w.serve(); err != nil {
			return err
		}
	}
	for _, p := range w.providers {
		w.stores = append(w.stores, p.Store(w.id))
	}
	w.readers = append(w.readers, w.stores[0], w.stores[1])
	if w.Remote() {
		for _, p := range w.providers {
			c := client.New(p, nil)
			w.later(c.Close)
			w.clients = append(w.clients, c)
		}
		w.readers[1] = w.clients[1].Store(w.id)
	}
	return nil
}

// options makes a hub fast and quiet: no sweeps of its own, short retries, short heartbeats.
func (w *memory) options() *hub.Options {
	o := &hub.Options{SweepEvery: -1, Recheck: 20 * time.Millisecond, RetryFor: retryFor, Live: &live.Options{
		Heartbeat: heartbeat, CancelGrace: cancelGrace, EndedTTL: endedTTL, MaxDelay: -1,
	}}
	if w.kind.archived() {
		w.cold.options(o)
	}
	return o
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
	s := w.listen(g)
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

func (w *memory) Live(by int, space string) live.Streams {
	if !w.Remote() {
		return w.hubs[by].Store(w.id).Live(space)
	}
	return w.clients[by].Store(w.id).Live(space)
}

func (w *memory) Beat(ctx context.Context, space string, names []string) error {
	now := w.redis.Now().UnixMilli()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ticks := 0; ; ticks++ {
		// A hub whose last look at a silent producer was too early passes over it in one heartbeat.
		if ticks%100 == 0 {
			if err := w.report(ctx, space); err != nil {
				return err
			}
		}
		if done, err := w.heard(ctx, space, names, now); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no beat: %w", ctx.Err())
		}
	}
}

// report makes every hub send a heartbeat: a reader that comes is counted at once, with all that the hub has to say.
func (w *memory) report(ctx context.Context, space string) error {
	for _, h := range w.hubs {
		s, err := h.Store(w.id).Live(space).Generation("nothing", 1)
		if err != nil {
			return err
		}
		for _, err := range s.Subscribe(ctx, nil) {
			_ = err // there is no such generation: the reader is there for a moment, which is enough
		}
	}
	return nil
}

// heard reports whether producers have been heard of now, and those that were silent for too long have been ended.
func (w *memory) heard(ctx context.Context, space string, names []string, now int64) (bool, error) {
	beats, err := w.command.HMGet(ctx, hotlog.Key(w.id, space, "lr"), "b", "s").Result()
	if err != nil || beats[0] != fmt.Sprint(now) {
		return false, err
	}
	active, err := w.command.ZRangeWithScores(ctx, hotlog.Key(w.id, space, "la"), 0, -1).Result()
	if err != nil {
		return false, err
	}
	since, err := strconv.ParseInt(fmt.Sprint(beats[1]), 10, 64)
	if err != nil {
		return false, err
	}
	for _, z := range active {
		name := fmt.Sprint(z.Member)
		if slices.Contains(names, name) {
			if int64(z.Score) <= now+heartbeat.Milliseconds() {
				return false, nil
			}
			continue
		}
		if int64(z.Score) > now {
			continue
		}
		id, _, _ := strings.Cut(name, "~")
		silence, err := w.command.HGet(ctx, hotlog.Key(w.id, space, "ls:"+id), "w").Int64()
		if err != nil && !errors.Is(err, redis.Nil) || now-since >= silence {
			return false, err
		}
	}
	return true, nil
}

func (w *memory) Remote() bool { return w.kind != InProcess && w.kind != Archived && w.kind != Durable }

func (w *memory) Streams(by int) string {
	if w.kind != Durable {
		return ""
	}
	return w.streams[by]
}

// longPoll is how long a long-poll waits where nothing comes.
const longPoll = 2 * time.Millisecond

// serve starts a gateway for Durable Streams with a hub of its own.
func (w *memory) serve() error {
	h, err := hub.Open(w.ctx, w.client(w.link), w.options())
	if err != nil {
		return err
	}
	w.later(h.Close)
	d, err := durable.New(w.ctx, h, &durable.Options{Store: w.id, LongPollTimeout: longPoll})
	if err != nil {
		return err
	}
	w.streams = append(w.streams, w.listen(d).URL+"/v1/stream")
	return nil
}

// listen serves a transport until the way is closed.
func (w *memory) listen(transport interface {
	http.Handler
	Shutdown(ctx context.Context) error
}) *httptest.Server {
	s := httptest.NewServer(transport)
	w.later(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 10*time.Second)
		defer cancel()
		defer s.Close()
		return transport.Shutdown(ctx)
	})
	return s
}

func (w *memory) Process(by int) int {
	if w.kind.single() {
		return 0
	}
	return by
}

func (w *memory) Sweep(ctx context.Context) error { return w.sweeper.Sweep(ctx) }

func (w *memory) Advance(d time.Duration) { w.redis.Advance(d) }

func (w *memory) Save() any { return w.redis.Save() }

func (w *memory) Rewind(saved any) { w.redis.Rewind(saved) }

func (w *memory) Promote() { w.redis.Promote() }

func (w *memory) Lose(pass, n int, drop bool) { w.link.LoseAfter(pass, n, drop) }

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

package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/lease"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/store"
	"github.com/seed-147127fe/streamhub/subscribe"
)

// Options configure a [Hub]; nil stands for the defaults.
type Options struct {
	// Node is written into every append as TRX.Node; the default is the nil UUID.
	Node uuid.UUID
	// MaxRecordBytes limits a record; the default is [streamhub.MaxRecordBytes].
	MaxRecordBytes int
	// Durability is the level of appends that name none; the default is that the primary has the
	// append in memory. A level that the server cannot give is refused by Open.
	Durability streamhub.Durability
	// RetryFor is how long an append is tried again while Redis cannot serve; the default is 5 s.
	RetryFor time.Duration
	// Recheck is how long a lost notification can go unnoticed; the default is 5 s.
	Recheck time.Duration
	// SweepEvery is how often expired segments and idle appenders are cleared away, by one of the
	// instances; the default is a minute, and a negative value never.
	SweepEvery time.Duration
	// AllowEviction opens a Redis whose maxmemory-policy may evict keys: history can then be lost
	// at any time.
	AllowEviction bool
	// Live are the defaults of live streams, see [Store.Live].
	Live *live.Options
	// Archive keeps what leaves Redis, and stays the caller's. Every instance must be opened with
	// the same one; without it what was archived cannot be read. The default is none.
	Archive archive.Backend
	// Archiving says what leaves, and how; its Logger and MeterProvider default to those of the
	// hub. By default nothing leaves, but what has left is read.
	Archiving tier.Options
	// Logger gets what no caller is told. The default discards it. Payloads and tokens are never
	// logged.
	Logger *slog.Logger
	// TracerProvider and MeterProvider default to the global ones of OpenTelemetry.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// A Hub gives access to every store in one Redis.
type Hub struct {
	conn     *redisx.Conn
	log      *store.Log
	leases   *lease.Manager
	watcher  *subscribe.Watcher
	live     *live.Manager
	counting metric.Registration
	observer *observer
	tier     *tier.Tier // nil without an archive
	archiver *tier.Runner
	opt      Options
	embedded *embedded // nil if the client is the caller's
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
	closed   sync.Once
}

// Open starts a hub on client, which stays the caller's, or on an embedded Redis if client is nil.
// ctx bounds the opening only. See [NewClient] for a client with fitting settings.
func Open(ctx context.Context, client redis.UniversalClient, options *Options) (_ *Hub, err error) {
	h := &Hub{}
	if options != nil {
		h.opt = *options
	}
	if h.opt.Logger == nil {
		h.opt.Logger = slog.New(slog.DiscardHandler)
	}
	if h.opt.SweepEvery == 0 {
		h.opt.SweepEvery = time.Minute
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.observer, err = newObserver(&h.opt); err != nil {
		return h, err
	}
	if client == nil {
		if h.embedded, err = startEmbedded(); err != nil {
			return h, err
		}
		client = h.embedded.client
	}
	if h.conn, err = redisx.Connect(ctx, client); err != nil {
		return h, &streamhub.Error{Op: "open", Err: err}
	}
	if err := h.checkEviction(ctx); err != nil {
		return h, &streamhub.Error{Op: "open", Err: err}
	}
	own := &store.Options{
		Node: h.opt.Node, MaxRecordBytes: h.opt.MaxRecordBytes, Durability: h.opt.Durability,
		RetryFor: h.opt.RetryFor, Logger: h.opt.Logger, MaxFrameBytes: streamhub.MaxFrameBytes + store.FrameOverhead,
	}
	if h.opt.Archive != nil {
		if h.tier, err = h.openTier(); err != nil {
			return h, err
		}
		own.Cold = h.tier
	}
	h.log, err = store.Open(ctx, h.conn, own)
	if err != nil {
		return h, &streamhub.Error{Op: "open", Err: err}
	}
	h.leases = lease.New(h.conn, nil)
	h.watcher, err = subscribe.Open(ctx, h.conn, h.log, &subscribe.Options{Recheck: h.opt.Recheck, Logger: h.opt.Logger})
	if err != nil {
		return h, &streamhub.Error{Op: "open", Err: err}
	}
	if err := h.openLive(ctx); err != nil {
		return h, &streamhub.Error{Op: "open", Err: err}
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	if h.opt.SweepEvery > 0 {
		h.tasks.Go(func() { h.sweep(background) })
	}
	if h.tier != nil {
		h.archiver = h.tier.Runner(h.log, h.leases)
		h.tasks.Go(func() { h.archiver.Run(background) })
	}
	return h, nil
}

// checkEviction refuses a server that may drop keys by itself.
func (h *Hub) checkEviction(ctx context.Context) error {
	if h.opt.AllowEviction || h.conn.Version == "" {
		return nil
	}
	info, err := h.conn.Info(ctx, "memory").Result()
	if err != nil {
		return redisx.ReadOutcome(err)
	}
	for line := range strings.Lines(info) {
		policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:")
		if ok && policy != "noeviction" {
			return fmt.Errorf("%w: the server's maxmemory-policy is %s, which loses history; set noeviction or name Options.AllowEviction",
				streamhub.ErrInvalidArgument, policy)
		}
	}
	return nil
}

// Store returns the part of one store, a tenant. It costs nothing and needs no closing.
func (h *Hub) Store(id uuid.UUID) *Store { return &Store{hub: h, log: h.log.Store(id)} }

// Ping reports whether Redis answers.
func (h *Hub) Ping(ctx context.Context) error {
	if err := h.conn.Ping(ctx).Err(); err != nil {
		return &streamhub.Error{Op: "ping", Err: redisx.ReadOutcome(err)}
	}
	return nil
}

// RedisURL returns where the embedded Redis listens, with its password, so that other processes of
// this machine can use it; it is empty if the client is the caller's.
func (h *Hub) RedisURL() string {
	if h.embedded == nil {
		return ""
	}
	return h.embedded.url
}

// Close ends followers with [streamhub.ErrShutdown] and appends that wait, waits for every
// goroutine of the hub, and ends the embedded Redis if there is one. It may be called twice.
func (h *Hub) Close() error {
	var err error
	h.closed.Do(func() {
		if h.cancel != nil {
			h.cancel()
		}
		h.tasks.Wait()
		if h.live != nil {
			err = errors.Join(err, h.closeLive())
		}
		if h.watcher != nil {
			err = errors.Join(err, h.watcher.Close())
		}
		if h.log != nil {
			err = errors.Join(err, h.log.Close())
		}
		if h.embedded != nil {
			err = errors.Join(err, h.embedded.close())
		}
	})
	return err
}

// sweep clears away what is due until ctx ends. A lease lets one instance do it for all.
func (h *Hub) sweep(ctx context.Context) {
	tick := time.NewTicker(h.opt.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := h.leases.WithLease(ctx, uuid.Nil, "streamhub/sweep", max(h.opt.SweepEvery/2, time.Second),
			func(ctx context.Context, _ *lease.Lease) error { return h.sweepStores(ctx) })
		if err != nil && !errors.Is(err, streamhub.ErrLeaseNotAcquired) && ctx.Err() == nil {
			h.opt.Logger.Warn("sweep failed", "err", err)
		}
	}
}

func (h *Hub) sweepStores(ctx context.Context) error {
	ids, err := h.log.Stores(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := h.log.Store(id).Sweep(ctx); err != nil {
			return err
		}
		if err := h.live.Sweep(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

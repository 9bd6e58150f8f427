package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/archiver"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/instance"
	"github.com/seed-147127fe/streamhub/internal/livestream"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/lease"
	"github.com/seed-147127fe/streamhub/live"
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
	// StoreQuota is how many bytes a store may keep in Redis; the default, 0, is any number. An append over it is
	// [streamhub.ErrQuota]; deletes, trims and closes go on. The usage of a store is an estimate, up to 10 s old. Give
	// all instances the same quota.
	StoreQuota int64
	// RetryFor is how long an append is retried while Redis cannot serve; the default is 5 s. Calls of
	// live streams that are no append, such as Register, are always retried for 5 s.
	RetryFor time.Duration
	// WaitForRedis lets Open succeed while Redis is out of reach or loading its data. Until Redis serves, calls end
	// with [streamhub.ErrUnavailable]. Open still fails for a fault that waiting does not cure: a wrong password, a
	// missing right, an untrusted certificate, a server that may evict keys or cannot give Durability. If such a fault
	// shows only later, every call returns it, and so does [Hub.Unfit]. With or without WaitForRedis a hub opens while
	// Redis is full, read-only or short of replicas.
	WaitForRedis bool
	// Recheck is how long a lost notification can go unnoticed; the default is 5 s.
	Recheck time.Duration
	// SweepEvery is how often one of the instances removes expired segments and the rows of idle
	// appenders. The default is a minute; a negative value switches it off.
	SweepEvery time.Duration
	// Instance is how this process reports itself, see [Hub.Instances]; nil stands for the defaults.
	Instance *InstanceOptions
	// AllowEviction opens a Redis whose maxmemory-policy may evict keys: history can then be lost
	// at any time.
	AllowEviction bool
	// Live are the defaults of live streams, see [Store.Live].
	Live *live.Options
	// Archive stores the entries that leave Redis; the caller closes it after the hub. Every
	// instance must be opened with the same one: without it archived entries cannot be read. The
	// default is none.
	Archive archive.Backend
	// Archiving says which entries leave Redis, and how; its Logger and MeterProvider default to
	// those of the hub. By default none leave, and archived entries are still read.
	Archiving tier.Options
	// Logger receives background failures, which no call returns. The default discards them.
	// Payloads and tokens are never logged.
	Logger *slog.Logger
	// TracerProvider and MeterProvider default to the global ones of OpenTelemetry.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// A Hub gives access to every store in one Redis.
type Hub struct {
	conn     *redisx.Conn
	log      *hotlog.Log
	leases   *lease.Manager
	watcher  *follow.Watcher
	live     *livestream.Manager
	counting metric.Registration
	observer *observer
	tier     *archiver.Tier // nil without an archive
	archiver *archiver.Runner
	opt      Options
	unfit    chan error
	embedded *embedded // nil if the client was passed to Open
	reporter *reporter // nil if the hub does not report itself
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
	closed   sync.Once
	closing  atomic.Bool // from the beginning of Close
}

// Open starts a hub on client, which stays the caller's, or on an embedded Redis if client is nil.
// ctx bounds the opening only. See [NewClient] for a client with fitting settings.
func Open(ctx context.Context, client redis.UniversalClient, options *Options) (_ *Hub, err error) {
	h := &Hub{unfit: make(chan error, 1)}
	if options != nil {
		h.opt = *options
	}
	option.Logger(&h.opt.Logger)
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
		if h.embedded, err = startEmbedded(h.opt.MeterProvider); err != nil {
			return h, err
		}
		client = h.embedded.client
	}
	h.conn, err = redisx.Open(ctx, client, &redisx.Options{Wait: h.opt.WaitForRedis, Check: h.check, Logger: h.opt.Logger})
	if err != nil {
		return h, fault.At(streamhub.Error{Op: "open"}, err)
	}
	own := &hotlog.Options{
		Node: h.opt.Node, MaxRecordBytes: h.opt.MaxRecordBytes, Durability: h.opt.Durability,
		RetryFor: h.opt.RetryFor, Quota: h.opt.StoreQuota, Logger: h.opt.Logger, MaxFrameBytes: streamhub.MaxFrameBytes + hotlog.FrameOverhead,
	}
	if h.opt.Archive != nil {
		if h.tier, err = h.openTier(ctx); err != nil {
			return h, err
		}
		own.Cold = h.tier
	}
	h.log, err = hotlog.Open(ctx, h.conn, own)
	if err != nil {
		return h, fault.At(streamhub.Error{Op: "open"}, err)
	}
	h.leases = lease.New(h.conn, &lease.Options{Name: instance.Name()})
	h.watcher, err = follow.Open(ctx, h.conn, h.log, &follow.Options{Recheck: h.opt.Recheck, Logger: h.opt.Logger})
	if err != nil {
		return h, fault.At(streamhub.Error{Op: "open"}, err)
	}
	h.watcher.TellDelivered(h.observer.reached)
	if err := h.observeRedis(client); err != nil {
		return h, err
	}
	if err := h.openLive(ctx); err != nil {
		return h, fault.At(streamhub.Error{Op: "open"}, err)
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	h.tasks.Go(func() { h.conn.Attend(background, h.lost) })
	if h.opt.SweepEvery > 0 {
		h.tasks.Go(func() { h.sweep(background) })
	}
	h.report(background)
	if h.tier != nil {
		h.archiver = h.tier.Runner(h.log, h.leases)
		h.tasks.Go(func() { h.archiver.Run(background) })
	}
	return h, nil
}

// check refuses a server that cannot give what the options ask for.
func (h *Hub) check(server *redisx.Server) error {
	if !h.opt.AllowEviction {
		if err := server.CheckEviction(); err != nil {
			return err
		}
	}
	if h.opt.StoreQuota > 0 {
		if err := server.CheckQuota(); err != nil {
			return err
		}
	}
	return server.CheckLevel(h.opt.Durability)
}

// Store returns the store of one tenant, which need not exist yet. It sends nothing and needs no
// closing.
func (h *Hub) Store(id uuid.UUID) *Store { return &Store{hub: h, log: h.log.Store(id)} }

// Unfit returns a channel that receives the first error after Open that waiting does not cure; see
// [Options.WaitForRedis]. The channel is never closed.
func (h *Hub) Unfit() <-chan error { return h.unfit }

func (h *Hub) lost(err error) {
	select {
	case h.unfit <- fault.At(streamhub.Error{Op: "open"}, err):
	default: // one is enough
	}
}

// Ready reports whether Redis serves, writes included, at this moment. The error is an
// [streamhub.UnavailableError] whose reason says why not.
func (h *Hub) Ready(ctx context.Context) error {
	if err := h.checkOpen(streamhub.Error{Op: "ready"}); err != nil {
		return err
	}
	if err := h.conn.Probe(ctx); err != nil {
		return fault.At(streamhub.Error{Op: "ready"}, err)
	}
	return nil
}

// Ping reports whether Redis answers; unlike [Hub.Ready] it does not ask whether Redis accepts writes.
func (h *Hub) Ping(ctx context.Context) error {
	if err := h.checkOpen(streamhub.Error{Op: "ping"}); err != nil {
		return err
	}
	if err := h.conn.Ping(ctx).Err(); err != nil {
		return fault.At(streamhub.Error{Op: "ping"}, redisx.ReadOutcome(err))
	}
	return nil
}

// RedisURL returns where the embedded Redis listens, with its password, so that other processes of this machine can use
// it; it is empty if the client was passed to Open.
func (h *Hub) RedisURL() string {
	if h.embedded == nil {
		return ""
	}
	return h.embedded.url
}

// Close ends followers and waiting appends with [streamhub.ErrShutdown], waits for every goroutine of the hub, and ends
// the embedded Redis if there is one. Calls that begin later get ErrShutdown. It may be called twice.
func (h *Hub) Close() error {
	var err error
	h.closed.Do(func() {
		h.closing.Store(true)
		if h.cancel != nil {
			h.cancel()
		}
		if h.observer != nil && h.observer.observing != nil {
			err = h.observer.observing.Unregister()
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

// checkOpen returns nil until the hub is closed. After that it returns [streamhub.ErrShutdown] wrapped in where, which
// names the call.
func (h *Hub) checkOpen(where streamhub.Error) error {
	if !h.closing.Load() {
		return nil
	}
	where.Err = streamhub.ErrShutdown
	return &where
}

// sweep removes expired segments and idle rows at each interval until ctx ends. A lease makes sure that only one
// instance sweeps at a time.
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
		// While Redis is away the lease is lost, and that is logged elsewhere. The next holder sweeps.
		if err != nil && !errors.Is(err, streamhub.ErrLeaseNotAcquired) && !errors.Is(err, streamhub.ErrLeaseLost) && ctx.Err() == nil {
			h.opt.Logger.Log(ctx, fault.Level(err, slog.LevelWarn), "sweep failed", "err", err)
		}
	}
}

func (h *Hub) sweepStores(ctx context.Context) error {
	ids, err := h.log.Stores(ctx)
	if err != nil {
		return err
	}
	// A failure in one store does not stop the sweep of the others, which may belong to other tenants.
	var failed []error
	for _, id := range ids {
		failed = append(failed, h.log.Store(id).Sweep(ctx), h.live.Sweep(ctx, id))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

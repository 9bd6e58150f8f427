package model

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	mock "github.com/alicebob/miniredis/v2/server"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// A Way is a store as programs reach it, with a Redis of its own to be done things to.
type Way interface {
	// Store is the store as a writer, 0 or 1, sees it.
	Store(by int) streamhub.Store
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
	w := &memory{kind: kind, ctx: ctx, now: now, id: uuid.New(), link: &link{}, scripts: map[string]string{}}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("open: %w", fmt.Errorf("%w, %w", err, w.Close()))
	}
	return w, nil
}

// memory is a way on miniredis.
type memory struct {
	kind    Kind
	ctx     context.Context
	mini    *miniredis.Miniredis
	now     time.Time
	id      uuid.UUID
	link    *link
	mu      sync.Mutex
	replid  string            // guarded by mu
	reigns  int               // guarded by mu
	scripts map[string]string // guarded by mu: what miniredis calls a script
	stores  []streamhub.Store
	sweeper *hotlog.Store
	closers []func() error
}

func (w *memory) later(f func() error) { w.closers = append(w.closers, f) }

func (w *memory) open() error {
	w.mini = miniredis.NewMiniRedis()
	if err := w.mini.Start(); err != nil {
		return err
	}
	w.later(func() error { w.mini.Close(); return nil })
	w.mini.SetTime(w.now)
	w.Promote()
	w.mini.Server().SetPreHook(w.play)
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
	return nil
}

// retryFor is how long a hub retries: longer than a few lost replies take.
const retryFor = 60 * time.Millisecond

// client is a connection to the Redis of the way.
func (w *memory) client(hooks ...redis.Hook) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: w.mini.Addr(), Protocol: 2, ContextTimeoutEnabled: true, DisableIdentity: true})
	for _, h := range hooks {
		c.AddHook(h)
	}
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
	p, err := client.NewWebSocketProvider(w.ctx, []string{"ws" + strings.TrimPrefix(s.URL, "http")}, nil)
	if err == nil {
		w.later(p.Close)
	}
	return p, err
}

// play lets miniredis look like a Redis that has a replication id, so that a hub that lives on notices
// another lineage: it answers INFO, and takes the first line of scripts, which miniredis cannot read.
func (w *memory) play(c *mock.Peer, cmd string, args ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case cmd == "INFO":
		c.WriteBulk("# Server\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\nmaster_replid:" + w.replid + "\r\n")
		return true
	case cmd == "EVAL" && len(args) > 0:
		args[0] = plain(args[0])
	case cmd == "SCRIPT" && len(args) == 2 && strings.EqualFold(args[0], "load"):
		known := shaOf(args[1])
		args[1] = plain(args[1])
		w.scripts[known] = shaOf(args[1])
	case cmd == "EVALSHA" && len(args) > 0 && w.scripts[args[0]] != "":
		args[0] = w.scripts[args[0]]
	}
	return false
}

func shaOf(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}

// plain is a script as miniredis understands it, and as it does not betray miniredis.
func plain(script string) string {
	if strings.HasPrefix(script, "#!") {
		_, script, _ = strings.Cut(script, "\n")
	}
	return strings.ReplaceAll(script, "rawget(_G, '_GOPHER_LUA_VERSION')", "nil")
}

func (w *memory) Store(by int) streamhub.Store { return w.stores[by] }

func (w *memory) Remote() bool { return w.kind != InProcess }

func (w *memory) Process(by int) int {
	if w.kind == OneGateway {
		return 0
	}
	return by
}

func (w *memory) Sweep(ctx context.Context) error { return w.sweeper.Sweep(ctx) }

func (w *memory) Advance(d time.Duration) {
	w.now = w.now.Add(d)
	w.mini.SetTime(w.now)
	w.mini.FastForward(d)
}

func (w *memory) Promote() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reigns++
	w.replid = shaOf(fmt.Sprint(w.id, w.reigns))
}

func (w *memory) Lose(n int, drop bool) { w.link.set(n, drop) }

func (w *memory) Close() (err error) {
	for i := len(w.closers) - 1; i >= 0; i-- {
		if e := w.closers[i](); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// A value is what a key of miniredis held.
type value struct {
	kind   string
	text   string
	set    []string
	hash   []string
	scores map[string]float64
	stream []miniredis.StreamEntry
	until  time.Time // zero for ever
}

func (w *memory) Save() any {
	saved := map[string]value{}
	for _, key := range w.mini.Keys() {
		v := value{kind: w.mini.Type(key)}
		if ttl := w.mini.TTL(key); ttl > 0 {
			v.until = w.now.Add(ttl)
		}
		switch v.kind {
		case "string":
			v.text, _ = w.mini.Get(key)
		case "set":
			v.set, _ = w.mini.Members(key)
		case "hash":
			fields, _ := w.mini.HKeys(key)
			for _, f := range fields {
				v.hash = append(v.hash, f, w.mini.HGet(key, f))
			}
		case "zset":
			scores, _ := w.mini.SortedSet(key)
			v.scores = maps.Clone(scores)
		case "stream":
			entries, _ := w.mini.Stream(key)
			v.stream = slices.Clone(entries)
		}
		saved[key] = v
	}
	return saved
}

func (w *memory) Rewind(saved any) {
	w.mini.FlushAll()
	for key, v := range saved.(map[string]value) {
		if !v.until.IsZero() && !v.until.After(w.now) {
			continue
		}
		switch v.kind {
		case "string":
			_ = w.mini.Set(key, v.text)
		case "set":
			_, _ = w.mini.SetAdd(key, v.set...)
		case "hash":
			w.mini.HSet(key, v.hash...)
		case "zset":
			for member, score := range v.scores {
				_, _ = w.mini.ZAdd(key, score, member)
			}
		case "stream":
			for _, e := range v.stream {
				_, _ = w.mini.XAdd(key, e.ID, e.Values)
			}
		}
		if !v.until.IsZero() {
			w.mini.SetTTL(key, v.until.Sub(w.now))
		}
	}
	w.Promote()
}

// A link is a hook of a client that loses scripts or their replies.
type link struct {
	mu   sync.Mutex
	left int
	drop bool
}

func (l *link) set(n int, drop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.drop = n, drop
}

// DialHook implements redis.Hook.
func (l *link) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (l *link) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return l.pass([]redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (l *link) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return l.pass(cmds, func() error { return next(ctx, cmds) })
	}
}

func (l *link) pass(cmds []redis.Cmder, send func() error) error {
	script := false
	for _, cmd := range cmds {
		script = script || cmd.Name() == "evalsha"
	}
	l.mu.Lock()
	lose, drop := script && l.left > 0, l.drop
	l.mu.Unlock()
	if !lose {
		return send()
	}
	if !drop {
		if err := send(); redis.HasErrorPrefix(err, "NOSCRIPT") {
			return err
		}
	}
	l.mu.Lock()
	l.left--
	l.mu.Unlock()
	for _, cmd := range cmds {
		cmd.SetErr(io.EOF)
	}
	return io.EOF
}

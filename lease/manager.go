package lease

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// The limits of a ttl. Fractions of a millisecond are cut off.
const (
	MinTTL = 10 * time.Millisecond
	MaxTTL = 24 * time.Hour
)

// A Manager acquires leases in one Redis. It is safe for concurrent use, has no goroutines and
// needs no closing.
type Manager struct {
	client redis.UniversalClient
	opts   Options

	mu    sync.Mutex         // guards conn and noted
	conn  *redisx.Conn       // nil until the first call
	noted map[name]time.Time // when the row of a lease on the list of its store ends
}

// Options of a [Manager]; nil stands for the defaults.
type Options struct {
	// Name is the prefix of the random holders of [Manager.Acquire], so that [Manager.Peek] shows
	// which instance has the lease. The default is no prefix.
	Name string
	// Wait is how long [Manager.Acquire] and [Manager.WithLease] wait for a lease that another holder has, or for a
	// Redis that does not answer. They retry at random times, at least twice a second, and when the holder's ttl ends.
	// With the default, 0, or a negative value they do not wait.
	Wait time.Duration
}

// New makes a manager on client, which stays the caller's. It sends nothing. The client should honour the deadline of a
// context; in go-redis that is the option ContextTimeoutEnabled. Otherwise a call to a Redis that hangs lasts as long
// as the read timeout of the client.
func New(client redis.UniversalClient, opts *Options) *Manager {
	m := &Manager{client: client}
	if opts != nil {
		m.opts = *opts
	}
	return m
}

// connect asks the server once, at the first call, which features it supports.
func (m *Manager) connect(ctx context.Context) (*redisx.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		conn, err := redisx.Connect(ctx, m.client)
		if err != nil {
			return nil, err
		}
		m.conn = conn
	}
	return m.conn, nil
}

func (m *Manager) holder() string {
	if m.opts.Name == "" {
		return uuid.NewString()
	}
	return m.opts.Name + "/" + uuid.NewString()
}

// A name identifies a lease. Its keys have one hash tag. No two names share a hash tag, because the text of a store
// always has the same length.
type name struct {
	store uuid.UUID
	key   string
}

func (n name) tag() string     { return "sh:{" + n.store.String() + "." + redisx.Escape(n.key) + "}:" }
func (n name) lease() string   { return n.tag() + "l" }
func (n name) counter() string { return n.tag() + "f" }

// fail makes the error of a call on n. It returns nil if err is nil.
func (n name) fail(op string, err error) error {
	return fault.At(streamhub.Error{Op: op, Store: n.store, Lease: n.key}, err)
}

func check(n name, holder string) error {
	if err := streamhub.CheckName("lease key", n.key); err != nil {
		return err
	}
	return streamhub.CheckName("lease holder", holder)
}

func checkTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl > MaxTTL {
		return fmt.Errorf("%w: the ttl of a lease is between %v and %v, not %v", streamhub.ErrInvalidArgument, MinTTL, MaxTTL, ttl)
	}
	return nil
}

// Package leasetest is the contract of package lease in executable form. Each Redis that leases
// are to live in calls [Run] in a test of its own.
package leasetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/lease"
)

// A Backend is a Redis. Some cases remove everything that it holds.
type Backend struct {
	Conn *redisx.Conn
	// Admin, unless nil, is with what the cases look at the Redis and break what is there, where the user of Conn
	// may not.
	Admin *redisx.Conn
	// Lossy tells that replies of scripts get lost, never two for the same call.
	Lossy bool
}

// With hands a backend to test and returns when test has ended. It may do so inside a synctest
// bubble, where the ttls of the Redis follow the clock of the bubble; the contract then takes next
// to no time.
type With func(t *testing.T, test func(t *testing.T, b Backend))

// Run runs the contract, each case as a subtest.
func Run(t *testing.T, with With) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"Exclusive", exclusive},
		{"SameHolderExtends", sameHolderExtends},
		{"Release", release},
		{"ReleaseByStranger", releaseByStranger},
		{"Expiry", expiry},
		{"RenewKeeps", renewKeeps},
		{"RenewByStranger", renewByStranger},
		{"RestartEmpty", restartEmpty},
		{"TTLLimits", ttlLimits},
		{"Names", names},
		{"StoresDoNotMeet", storesDoNotMeet},
		{"Peek", peek},
		{"List", list},
		{"Since", since},
		{"Purge", purge},
		{"ClockSetBack", clockSetBack},
		{"UnknownLayout", unknownLayout},
		{"TokensEnd", tokensEnd},
		{"Wait", wait},
		{"WaitEndsWithContext", waitEndsWithContext},
		{"WaitForExpiry", waitForExpiry},
		{"Contenders", contenders},
		{"History", history},
		{"WithLease", withLease},
		{"WithLeaseRenews", withLeaseRenews},
		{"WithLeaseLost", withLeaseLost},
		{"WithLeaseTakenOver", withLeaseTakenOver},
		{"WithLeaseLostAtEnd", withLeaseLostAtEnd},
		{"WithLeaseParentEnds", withLeaseParentEnds},
		{"WithLeaseWindsDown", withLeaseWindsDown},
		{"WithLeasePanic", withLeasePanic},
		{"WithLeaseReleasedByFn", withLeaseReleasedByFn},
	} {
		t.Run(c.name, func(t *testing.T) {
			with(t, func(t *testing.T, b Backend) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				c.test(&fixture{
					T: t, Manager: lease.New(b.Conn, nil),
					ctx: ctx, conn: b.Conn, admin: cmp.Or(b.Admin, b.Conn), lossy: b.Lossy, store: uuid.New(),
				})
			})
		})
	}
}

const (
	key  = "jobs/nightly"
	long = time.Minute            // a ttl that does not end while a case runs
	soon = 100 * time.Millisecond // one that does

	patience = 3 * time.Minute // bounds a case
)

// A fixture is one case with a store of its own.
type fixture struct {
	*testing.T
	*lease.Manager
	ctx   context.Context // ends when the case takes too long
	conn  *redisx.Conn
	admin *redisx.Conn // to look at the Redis and to break what is there
	lossy bool
	store uuid.UUID
}

// managerWith returns a manager with options on the same Redis.
func (f *fixture) managerWith(opts lease.Options) *lease.Manager { return lease.New(f.conn, &opts) }

// acquire gets the lease on [key] for holder, which must succeed.
func (f *fixture) acquire(holder string, ttl time.Duration) uint64 {
	f.Helper()
	token, err := f.AcquireAs(f.ctx, f.store, key, holder, ttl)
	if err != nil {
		f.Fatalf("acquire as %q: %v", holder, err)
	}
	return token
}

// release gives the lease on [key] back for holder, and checks whether holder had it.
func (f *fixture) release(holder string, had bool) {
	f.Helper()
	released, err := f.ReleaseAs(f.ctx, f.store, key, holder)
	f.wasReleased(released, err, had)
}

// wasReleased checks the answer to a release.
func (f *fixture) wasReleased(released bool, err error, had bool) {
	f.Helper()
	if f.lossy && errors.Is(err, streamhub.ErrUnknownOutcome) && !released {
		return
	}
	if err != nil || released != had {
		f.Fatalf("release: %v, %v, want %v", released, err, had)
	}
}

// holds checks who has the lease on [key].
func (f *fixture) holds(holder string, token uint64) {
	f.Helper()
	held, err := f.Peek(f.ctx, f.store, key)
	if err != nil || held.Holder != holder || held.Token != token {
		f.Fatalf("the lease is held by %q with token %d (%v), want %q with %d", held.Holder, held.Token, err, holder, token)
	}
}

func (f *fixture) isFree() bool {
	f.Helper()
	_, err := f.Peek(f.ctx, f.store, key)
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
		f.Fatal(err)
	}
	return err != nil
}

// waitFree returns when there is no holder of the lease on [key].
func (f *fixture) waitFree() {
	f.Helper()
	f.eventually("the lease ends", f.isFree)
}

// eventually polls a condition for which there is no channel.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			f.Fatalf("%s: it did not", what)
		}
	}
}

// pass lets time pass, on the clock that the Redis follows.
func (f *fixture) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// wants checks that err is target, made at the edge of the package.
func (f *fixture) wants(err, target error) {
	f.Helper()
	if !errors.Is(err, target) {
		f.Fatalf("got %v, want %v", err, target)
	}
	var edge *streamhub.Error
	if !errors.As(err, &edge) || edge.Op == "" || edge.Store != f.store {
		f.Fatalf("%#v does not tell what failed", err)
	}
}

// The layout is part of the contract: instances of different versions share a Redis.

func (f *fixture) leaseKey() string   { return f.tag() + "l" }
func (f *fixture) counterKey() string { return f.tag() + "f" }
func (f *fixture) tag() string {
	return fmt.Sprintf("sh:{%s.%s}:", f.store, "jobs%2Fnightly")
}

// do sends a plain command.
func (f *fixture) do(args ...any) {
	f.Helper()
	if err := f.admin.Do(f.ctx, args...).Err(); err != nil {
		f.Fatalf("%v: %v", args, err)
	}
}

// flush empties the Redis, as a restart without its data does.
func (f *fixture) flush() {
	f.Helper()
	all := func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }
	var err error
	if f.admin.Cluster != nil {
		err = f.admin.Cluster.ForEachMaster(f.ctx, all)
	} else {
		err = f.admin.FlushAll(f.ctx).Err()
	}
	if err != nil {
		f.Fatal(err)
	}
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

const (
	// listPage is how many leases one pipeline reads.
	listPage = 128
	// noteTime bounds how long a call waits to update the list after its lease was granted.
	noteTime = 250 * time.Millisecond
)

// A Listed is one lease in the list of [Manager.List], with its key.
type Listed struct {
	Key string
	Held
}

// Since returns when the holder acquired the lease, by the clock of Redis. It is derived from the token, which is made
// from that clock. If the clock was set back, Since can be later than the acquisition.
func (h Held) Since() time.Time { return time.UnixMicro(int64(h.Token)) }

// index is the key of the list of a store. The list and a lease lie in different slots of a cluster,
// so no script can change both; see note.lua.
func index(store uuid.UUID) string { return "sh:{" + store.String() + "}:l" }

// noted bounds how many leases a manager remembers as listed.
const noted = 4096

// note puts a granted lease on the list of its store, for three times its ttl. It sends nothing while the row there
// lasts long enough, which saves the command for four of five renewals. A lease is valid even if this fails; its next
// renewal puts it on the list.
func (m *Manager) note(ctx context.Context, n name, ttl time.Duration) {
	now := time.Now()
	m.mu.Lock()
	fresh := m.noted[n].Sub(now) >= ttl+ttl/2
	m.mu.Unlock()
	if fresh {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(noteTime, ttl/6))
	defer cancel()
	conn, err := m.connect(ctx)
	if err == nil {
		_, err = conn.Run(ctx, noteScript, 1, index(n.store), n.key, (3 * ttl).Milliseconds())
	}
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.noted) >= noted {
		for other, until := range m.noted {
			if !now.Before(until) {
				delete(m.noted, other)
			}
		}
	}
	if len(m.noted) >= noted {
		clear(m.noted) // each lease is then put on its list once more
	}
	if m.noted == nil {
		m.noted = map[name]time.Time{}
	}
	m.noted[n] = now.Add(3 * ttl)
}

// List yields the held leases of a store, each once, in the order in which they expire. A lease that could not be put
// on the list when it was granted is missing until its next renewal. List costs one command for each page and two for
// each lease. The sequence can be ranged over again.
func (m *Manager) List(ctx context.Context, store uuid.UUID) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		fail := func(err error) {
			yield(Listed{}, fault.At(streamhub.Error{Op: "list leases", Store: store}, redisx.ReadOutcome(err)))
		}
		conn, err := m.connect(ctx)
		if err != nil {
			fail(err)
			return
		}
		for page, err := range conn.ByScore(ctx, index(store), listPage) {
			if err != nil {
				fail(err)
				return
			}
			names := make([]name, len(page))
			for i, z := range page {
				key, _ := z.Member.(string)
				names[i] = name{store, key}
			}
			held, err := look(ctx, conn, names)
			if err != nil {
				fail(err)
				return
			}
			for _, l := range held {
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

// look reads leases as peek.lua does, in one pipeline. It leaves out free leases.
func look(ctx context.Context, conn *redisx.Conn, names []name) ([]Listed, error) {
	if len(names) == 0 {
		return nil, nil
	}
	values, lefts := make([]*redis.StringCmd, len(names)), make([]*redis.DurationCmd, len(names))
	_, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, n := range names {
			values[i], lefts[i] = p.Get(ctx, n.lease()), p.PTTL(ctx, n.lease())
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	held := make([]Listed, 0, len(names))
	for i, n := range names {
		value, err := values[i].Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, err
		}
		fields := strings.SplitN(value, " ", 4)
		if len(fields) != 4 || fields[0] != "1" {
			return nil, fmt.Errorf("%w: %s has an unknown layout", streamhub.ErrCorrupt, n.lease())
		}
		token, tokenErr := strconv.ParseUint(fields[1], 10, 53)
		granted, grantedErr := strconv.ParseInt(fields[2], 10, 64)
		if tokenErr != nil || grantedErr != nil {
			return nil, fmt.Errorf("%w: %s has an unknown layout", streamhub.ErrCorrupt, n.lease())
		}
		left := lefts[i].Val()
		if left < 0 || left > MaxTTL { // no call sets such an expiry; acquire.lua treats such a lease as free
			left = 0
		}
		held = append(held, Listed{n.key, Held{Holder: fields[3], Token: token, Left: min(left, time.Duration(granted)*time.Millisecond)}})
	}
	return held, nil
}

// Purge ends all leases of a store, as [Manager.End] does, and returns how many there were. Tokens keep growing: their
// counters stay in Redis for seven days.
func (m *Manager) Purge(ctx context.Context, store uuid.UUID) (ended int, err error) {
	conn, err := m.connect(ctx)
	if err != nil {
		return 0, fault.At(streamhub.Error{Op: "end leases", Store: store}, err)
	}
	for l, err := range m.List(ctx, store) {
		if err != nil {
			return ended, err
		}
		was, err := m.End(ctx, store, l.Key)
		if err != nil {
			return ended, err
		}
		if was {
			ended++
		}
	}
	if err := conn.Del(ctx, index(store)).Err(); err != nil {
		return ended, fault.At(streamhub.Error{Op: "end leases", Store: store}, redisx.ReadOutcome(err))
	}
	return ended, nil
}

// End ends the lease on key for any holder, and reports whether it was held. The holder gets
// [streamhub.ErrLeaseLost] at its next renewal.
func (m *Manager) End(ctx context.Context, store uuid.UUID, key string) (held bool, err error) {
	n := name{store, key}
	defer func() { err = n.fail("end lease", err) }()
	if err := streamhub.CheckName("lease key", key); err != nil {
		return false, err
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return false, err
	}
	ended, err := conn.Del(ctx, n.lease()).Result()
	return ended > 0, redisx.ReadOutcome(err)
}

package hotlog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// What a store keeps in Redis is estimated. Each process counts the bytes that it stores, and adds them every
// quotaEvery to a counter in Redis. That alone would only grow. So when a store comes close to its quota, one process
// measures it key by key, and the counter continues from that result. An append never reads the counter in Redis.

const (
	quotaEvery   = 2 * time.Second
	quotaMeasure = 4 * time.Second  // between two measurements of a store, or longer: see quotaShare
	quotaShare   = 10               // a measurement takes at most one part in so many of the time
	quotaClaim   = 10 * time.Second // a process that dies while it measures is replaced after that
	quotaOld     = 15 * time.Minute // what was measured is measured again
	quotaIdle    = 5 * time.Minute  // a store without appends is forgotten
	quotaPage    = 500              // segments that are measured at once
	quotaLooks   = 128              // stores that are looked at in one pipeline
	// frameCost and createCost are what Redis keeps for a frame and for a new segment besides their bytes.
	frameCost  = 128
	createCost = 5 << 10
)

// quotas holds what this process knows about the stores that it appends to. A nil one has no limit.
type quotas struct {
	// limit is the quota of each store in bytes, every the time between two looks. Neither changes.
	limit int64
	every time.Duration

	// mu guards the fields below. It is taken after appender.mu, under which stored frames are counted.
	mu        sync.Mutex
	stores    map[uuid.UUID]*storeUsage
	queue     []claim // stores that this process is to measure, one after the other
	measuring bool    // a goroutine works at the queue
}

// A claim is a store that this process has promised to measure, so that no other process does.
type claim struct {
	store uuid.UUID
	// begun is how many bytes had been counted when the claim was made: what is counted later comes
	// on top of the measurement. now is the time of Redis then, in ms, and at the time of this
	// machine: the difference of two local times is added to now, so the clocks need not agree.
	begun, now int64
	at         time.Time
}

// A storeUsage is what this process knows about one store, in bytes; kept and pending together are the estimate.
type storeUsage struct {
	kept    int64 // as Redis has reported
	pending int64 // counted here and not added to Redis yet
	// used is when an append last asked for it. A store that is not used for quotaIdle is forgotten.
	used time.Time
}

func newQuotas(o *Options) *quotas {
	q := &quotas{limit: o.Quota, every: o.QuotaEvery, stores: map[uuid.UUID]*storeUsage{}}
	option.Default(&q.every, quotaEvery)
	return q
}

// of returns the usage of a store and marks it as used. It runs under mu.
func (q *quotas) of(store uuid.UUID) *storeUsage {
	u := q.stores[store]
	if u == nil {
		u = &storeUsage{}
		q.stores[store] = u
	}
	u.used = time.Now()
	return u
}

// overQuota returns the error of an append that takes room, where the store is over its quota, or nil.
func (s *Store) overQuota() error {
	if s.exempt {
		return nil
	}
	return s.log.quotas.exceeded(s.id)
}

// exceeded decides by the local estimate, without asking Redis. The estimate of this process lags after other processes
// by quotaEvery, so a quota may be exceeded by what they store in that time.
func (q *quotas) exceeded(store uuid.UUID) error {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(store)
	if used := u.kept + u.pending; used >= q.limit {
		return &streamhub.QuotaError{Used: used, Quota: q.limit}
	}
	return nil
}

// count adds what a frame has stored. A repeat has stored nothing. It runs before the requests are
// finished, because finish drops their bodies.
func (q *quotas) count(f *flight, s *storedFrame) {
	if q == nil || s.repeated {
		return
	}
	bytes := int64(frameCost)
	if s.created {
		bytes += createCost
	}
	for _, r := range f.requests {
		bytes += int64(len(r.body) + len(r.opt.Verdict))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.of(f.store).pending += bytes
}

// QuotaUsed returns which part of its quota the fullest store uses, of those that this process appends to; 0
// without a quota. It may be more than 1.
func (l *Log) QuotaUsed() float64 {
	q := l.quotas
	if q == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	most := int64(0)
	for _, u := range q.stores {
		most = max(most, u.kept+u.pending)
	}
	return float64(most) / float64(q.limit)
}

// watchQuotas looks at the stores that this process appends to until the log is closed.
func (l *Log) watchQuotas() {
	tick := time.NewTicker(l.quotas.every)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.lookQuotas(l.ctx); err != nil && l.ctx.Err() == nil {
			l.opt.Logger.Debug("quotas not looked at", "err", err) // that Redis cannot serve is logged once
		}
	}
}

// lookQuotas adds to Redis what was counted, and learns what each store keeps. The lock is not held
// during the calls.
func (l *Log) lookQuotas(ctx context.Context) error {
	q := l.quotas
	q.mu.Lock()
	var stores []uuid.UUID
	old := time.Now().Add(-quotaIdle)
	for id, u := range q.stores {
		if u.pending == 0 && u.used.Before(old) {
			delete(q.stores, id)
		} else {
			stores = append(stores, id)
		}
	}
	q.mu.Unlock()
	for len(stores) > 0 {
		part := stores[:min(len(stores), quotaLooks)]
		if err := l.lookPart(ctx, part); err != nil {
			return err
		}
		stores = stores[len(part):]
	}
	return nil
}

// lookPart asks for up to quotaLooks stores in one pipeline.
func (l *Log) lookPart(ctx context.Context, stores []uuid.UUID) error {
	if err := l.conn.Ready(ctx); err != nil {
		return err
	}
	q := l.quotas
	counted, args := make([]int64, len(stores)), make([][]any, len(stores))
	q.mu.Lock()
	for i, id := range stores {
		// The store is still known: only lookQuotas forgets stores, and it waits for this call.
		counted[i] = q.stores[id].pending
		// Below nine tenths of the quota the estimate is good enough, until it is old. From there on
		// the script asks for a measurement; 0 asks for none, since one is in the queue already.
		from := max(1, q.limit-q.limit/10)
		if slices.ContainsFunc(q.queue, func(c claim) bool { return c.store == id }) {
			from = 0
		}
		args[i] = []any{usageKey(id), counted[i], from, quotaClaim.Milliseconds(), quotaOld.Milliseconds()}
	}
	q.mu.Unlock()
	pipe := l.conn.Pipeline()
	looks := make([]redisx.Call, len(stores))
	for i := range stores {
		looks[i] = l.conn.Call(ctx, l.usage, 1, args[i]...)
		_ = pipe.Process(ctx, looks[i]) // queued; the error comes with Exec
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var failed error
	for i, id := range stores {
		v, err := looks[i].Result()
		if redisx.IsNoScript(err) {
			v, err = l.call(ctx, l.usage, 1, args[i]...)
		}
		if err != nil {
			// What was counted is told again. If it had arrived the store is measured the sooner.
			l.conn.Observe(err)
			failed = errors.Join(failed, redisx.ReadOutcome(err))
			continue
		}
		if err := l.looked(id, counted[i], v); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// looked takes the answer of lua/usage.lua. Only what the call carried is taken off pending: appends
// may have counted more meanwhile. If the script chose this process to measure the store, the store
// is queued.
func (l *Log) looked(id uuid.UUID, counted int64, answer any) error {
	fields, _ := answer.([]any)
	// Bytes kept, bytes counted ever, whether to measure, and the time of Redis in milliseconds.
	numbers := make([]int64, 4)
	if len(fields) != len(numbers) {
		return streamhub.ErrCorrupt
	}
	for i := range numbers {
		text, _ := fields[i].(string)
		var err error
		if numbers[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return streamhub.ErrCorrupt
		}
	}
	q := l.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.stores[id]; u != nil {
		u.kept = numbers[0]
		u.pending -= counted
	}
	if numbers[2] == 1 {
		q.queue = append(q.queue, claim{id, numbers[1], numbers[3], time.Now()})
		if !q.measuring {
			q.measuring = l.tasks.Go(l.measureAll)
		}
	}
	return nil
}

// measureAll measures the stores of the queue, one after the other, so that Redis answers one
// measurement at a time. A store stays in the queue while it is measured: lookPart sees there that it
// need not ask for it again.
func (l *Log) measureAll() {
	q := l.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) > 0 && l.ctx.Err() == nil {
		c := q.queue[0]
		q.mu.Unlock()
		l.measure(c)
		q.mu.Lock()
		q.queue = q.queue[1:]
	}
	q.measuring = false
}

// measure finds out what a store keeps, and writes that into the hash that lua/usage.lua reads. What
// is stored meanwhile is counted on top, so the estimate is not too low. While it runs it prolongs
// its claim in field c; at the end it sets c to when the next measurement may begin.
func (l *Log) measure(c claim) {
	key, start := usageKey(c.store), time.Now()
	clock := func() int64 { return c.now + time.Since(c.at).Milliseconds() }
	m := &measurement{log: l, store: &Store{log: l, id: c.store}, renewed: c.at}
	m.renew = func(ctx context.Context) error {
		if time.Since(m.renewed) < quotaClaim/4 {
			return nil
		}
		m.renewed = time.Now()
		return l.conn.HSet(ctx, key, "c", clock()+quotaClaim.Milliseconds()).Err()
	}
	kept, err := m.run(l.ctx)
	// The longer a measurement takes, the rarer it is. Where stores are looked at more often than by default, as in
	// tests, the pause is shorter in proportion.
	pause := max(quotaMeasure, quotaShare*time.Since(start))
	next := []any{"c", clock() + min(pause, l.quotas.every*(pause/quotaEvery)).Milliseconds()}
	// A measurement that failed leaves the last one as it is. The next one waits all the same.
	if err == nil {
		next = append(next, "b", kept, "m", c.begun, "a", clock())
	}
	if failed := l.conn.HSet(l.ctx, key, next...).Err(); err == nil {
		err = failed
	}
	if err = redisx.ReadOutcome(err); err != nil && l.ctx.Err() == nil {
		l.opt.Logger.Log(l.ctx, fault.Level(err, slog.LevelWarn), "a store was not measured", "store", c.store, "err", err)
	}
}

// A measurement adds up the keys of one store. It belongs to one goroutine.
type measurement struct {
	log   *Log
	store *Store
	// renew prolongs the claim where that is due, renewed is when it last was. Without it another process would begin
	// to measure the same store after quotaClaim.
	renew   func(context.Context) error
	renewed time.Time
	bytes   int64
}

func (m *measurement) run(ctx context.Context) (int64, error) {
	for space, err := range m.store.AllSpaces(ctx) {
		if err != nil {
			return 0, err
		}
		if err := m.space(ctx, keysOf(m.store.id, space)); err != nil {
			return 0, err
		}
	}
	return m.bytes, nil
}

// space adds the keys of a space: those of the space itself, and those of its segments.
func (m *measurement) space(ctx context.Context, k spaceKeys) error {
	// Their elements are small and alike, so samples of them will do.
	if err := m.add(ctx, "100", k.timeline(), k.inventory(), k.deadlines(), k.state()); err != nil {
		return err
	}
	parents := map[string]struct{}{}
	after := ""
	for {
		names, err := m.log.names(ctx, k.inventory(), after, quotaPage)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			break
		}
		// The inventory has names as they are; keys have them escaped.
		after = names[len(names)-1]
		for i := range names {
			names[i] = redisx.Escape(names[i])
		}
		if err := m.segments(ctx, k, names, parents, false); err != nil {
			return err
		}
		if len(names) < quotaPage {
			break
		}
	}
	// A segment that was deleted while forks read it is in no list, and is kept.
	known := map[string]struct{}{}
	// Such a parent may be a fork itself, so parents grows meanwhile. Each name is looked at once.
	for len(parents) > 0 {
		var names []string
		for name := range parents {
			if _, ok := known[name]; !ok && len(names) < quotaPage {
				known[name] = struct{}{}
				names = append(names, name)
			}
			if _, ok := known[name]; ok {
				delete(parents, name)
			}
		}
		if err := m.segments(ctx, k, names, parents, true); err != nil {
			return err
		}
	}
	return nil
}

// segments adds segments, whose names are escaped, and notes whose forks they are. With held only those count that
// were deleted and are still read.
func (m *measurement) segments(ctx context.Context, k spaceKeys, names []string, parents map[string]struct{}, held bool) error {
	if len(names) == 0 {
		return nil
	}
	pipe := m.log.conn.Pipeline()
	heads := make([]*redis.SliceCmd, len(names))
	for i, name := range names {
		heads[i] = pipe.HMGet(ctx, k.meta(name), "h", "p")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	keys := make([]string, 0, 2*len(names))
	for i, name := range names {
		values := heads[i].Val()
		text, _ := values[0].(string)
		h, err := parseHead(text)
		if err != nil || held != (h.state == stateDeleted) || h.state == stateTombstone {
			continue // it was deleted meanwhile, or the next reader says what is wrong with it
		}
		if fork, _ := values[1].(string); fork != "" {
			parent, _, _ := strings.Cut(fork, " ")
			parents[parent] = struct{}{}
		}
		keys = append(keys, k.meta(name))
		if h.state != stateEmpty {
			keys = append(keys, k.log(name, h.incarnation))
		}
	}
	// All nodes are looked at: a segment whose first entries are small would pass for a small one.
	if err := m.add(ctx, "0", keys...); err != nil {
		return err
	}
	return m.renew(ctx)
}

// add adds what keys take, by MEMORY USAGE. samples is how many elements of each are looked at, 0 for all; miniredis
// does not know that argument.
func (m *measurement) add(ctx context.Context, samples string, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	pipe := m.log.conn.Pipeline()
	sizes := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		args := []any{"memory", "usage", key}
		if server := m.log.conn.Server(); server == nil || !server.Embedded {
			args = append(args, "samples", samples)
		}
		sizes[i] = redis.NewIntCmd(ctx, args...)
		_ = pipe.Process(ctx, sizes[i]) // queued; the error comes with Exec
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	for _, size := range sizes {
		if err := size.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		m.bytes += size.Val() // 0 for a key that has gone meanwhile
	}
	return nil
}

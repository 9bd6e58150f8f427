package follow

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
)

// Workers gives all workers of a store, sorted by the bytes of their ids, at once and then again whenever a worker
// joins, leaves or changes its metadata. Changes that come faster than the reader takes them are merged. A new LastSeen
// alone is no change. The slice must not be changed. The sequence ends only with an error, and can be ranged over
// again.
func (w *Watcher) Workers(ctx context.Context, store uuid.UUID) iter.Seq2[[]streamhub.Worker, error] {
	return func(yield func([]streamhub.Worker, error) bool) {
		if err := w.observe(ctx, store, yield); err != nil {
			yield(nil, key{store: store}.fail("workers", err))
		}
	}
}

// observe yields the list of a store to one caller until its context or the watcher ends.
func (w *Watcher) observe(outer context.Context, store uuid.UUID, yield func([]streamhub.Worker, error) bool) error {
	ctx, done := w.scope(outer)
	defer done()
	if ctx.Err() != nil {
		return w.ended(outer)
	}
	c := w.acquireCrew(store)
	defer c.release()
	ticket := c.ask()
	// latest returns the signal together with the list, so that a later change closes this signal.
	for seen := uint64(0); ; {
		list, version, signal := c.latest(ticket)
		if version != seen {
			seen = version
			if !yield(list, nil) {
				return nil
			}
			continue
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return w.ended(outer)
		}
	}
}

// A crew is the list of workers of one store, read once for all observers. One goroutine reads; it ends with the last
// reference.
type crew struct {
	w      *Watcher
	store  uuid.UUID
	cancel context.CancelFunc
	refs   int           // guarded by Watcher.mu
	now    chan struct{} // requests a read

	// mu guards the fields below.
	mu   sync.Mutex
	open bool // the subscription was confirmed: reads may begin
	// asked counts the requests for a read; served is how many of them a read has covered.
	asked, served uint64

	version uint64 // 0 before the first read
	list    []streamhub.Worker
	signal  chan struct{} // closed at the next version
}

// acquireCrew returns the crew of a store with one more reference, and makes it if need be.
func (w *Watcher) acquireCrew(store uuid.UUID) *crew {
	w.mu.Lock()
	c := w.crews[store]
	isNew := c == nil
	if isNew {
		c = &crew{w: w, store: store, now: make(chan struct{}, 1), signal: make(chan struct{})}
		var ctx context.Context
		ctx, c.cancel = context.WithCancel(w.ctx)
		w.crews[store] = c
		w.tasks.Go(func() { c.run(ctx) })
	}
	c.refs++
	w.mu.Unlock()
	if isNew {
		w.subscriber.add(workersChannel(store), c)
	}
	return c
}

func (c *crew) release() {
	c.w.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last {
		delete(c.w.crews, c.store)
	}
	c.w.mu.Unlock()
	if last {
		c.cancel()
		c.w.subscriber.remove(workersChannel(c.store), c)
	}
}

// confirmed allows reads: from now on a message announces every change. After a reconnect the list is
// read again.
func (c *crew) confirmed() {
	c.mu.Lock()
	c.open = true
	c.mu.Unlock()
	c.poke()
}

func (c *crew) message(string) { c.poke() }

// ask requests a read that sees all earlier changes; see latest.
func (c *crew) ask() (ticket uint64) {
	c.mu.Lock()
	c.asked++
	ticket = c.asked
	open := c.open
	c.mu.Unlock()
	if open {
		c.poke()
	}
	return ticket
}

// poke requests a read, unless one is already requested.
func (c *crew) poke() {
	select {
	case c.now <- struct{}{}:
	default:
	}
}

// run reads on request and at every re-check, because no message announces that a deadline has passed.
func (c *crew) run(ctx context.Context) {
	var failing = pauses()
	var recheck <-chan time.Time // nil until the first read
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.now:
		case <-recheck:
		}
		for {
			err := c.read(ctx)
			if err == nil {
				break
			}
			c.w.opt.Logger.Log(ctx, fault.Level(err, slog.LevelWarn), "the workers cannot be read", "store", c.store, "error", err)
			if !failing.Wait(ctx) {
				return
			}
		}
		failing.Reset()
		recheck = time.After(c.w.opt.Recheck)
	}
}

// read reads the list. A list with the same workers and metadata is no new version, but answers the requests.
func (c *crew) read(ctx context.Context) error {
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	v, err := c.w.send(ctx, listScript, c.store)
	if err != nil {
		return err
	}
	list, err := parseWorkers(v)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b streamhub.Worker) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	c.mu.Lock()
	defer c.mu.Unlock()
	same := c.version > 0 && slices.EqualFunc(c.list, list, func(a, b streamhub.Worker) bool {
		return a.ID == b.ID && maps.Equal(a.Metadata, b.Metadata)
	})
	if same && c.served == asked {
		return nil
	}
	c.served = asked
	if c.list = list; !same {
		c.version++
	}
	close(c.signal)
	c.signal = make(chan struct{})
	return nil
}

// latest returns the list, its version and the signal of the next version. The version is 0 until a read has covered
// the request with this ticket.
func (c *crew) latest(ticket uint64) ([]streamhub.Worker, uint64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.served < ticket {
		return nil, 0, c.signal
	}
	return c.list, c.version, c.signal
}

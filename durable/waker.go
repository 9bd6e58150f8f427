package durable

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// A waker serves the subscriptions of one store. All of its state belongs to one goroutine; other goroutines send it
// events. A lease or a delay counts from the moment at which the waker saw it begin, so clocks of different machines
// are never compared.
//
// A subscription goes through these states. Each arrow is a step in Redis (see [register]), so a gateway that takes
// over after a crash continues from the stored state:
//
//	idle ── rise ──► begun ── a worker claims, or the webhook is called ──► held
//	 ▲                 ▲                                                     │
//	 │                 └────────────── the webhook failed ───────────────────┤
//	 └──────────────── all is handled, released, or the lease is over ───────┘
//
// A wake has a generation, which each rise increments. A request of a worker with an older generation is refused as
// fenced.
type waker struct {
	*wakes
	register register
	store    *hub.Store
	ctx      context.Context
	// events has functions to run in the waker's goroutine. It has no buffer, so a follower waits while the waker is
	// busy.
	events chan func()
	tasks  sync.WaitGroup
	// client and calls, which has one element for each webhook call in flight, belong to this store alone: slow
	// receivers of other stores cause no delay here.
	client *http.Client
	calls  chan struct{}

	subscriptions map[string]*watch
	tails         map[string]tip      // ends of all streams in spaces, by path
	spaces        map[string]struct{} // the spaces that are followed
}

// A watch is a subscription with the state that only this gateway has. That state is not in Redis: a gateway that takes
// over derives it again from the tails of the streams.
type watch struct {
	id string
	*subscription
	pending map[string]struct{} // paths of the streams with unhandled entries
	dropped map[string]uint64   // life of each deleted stream, by path: the next step removes their links
	seen    uint64              // sequence of the step from which due was derived
	due     time.Time           // when to act even without an event; zero for never
	stale   bool                // its state must be loaded again
	calling bool                // a webhook call is in flight
	// told is the generation that was last appended to the wake stream, 0 after a takeover. After a takeover a wake
	// that no worker holds is therefore appended again, and Redis recognises the repeat.
	told uint64
}

func newWaker(w *wakes, r register, store *hub.Store) *waker {
	return &waker{
		wakes: w, register: r, store: store, events: make(chan func()),
		client: newCaller(w.handler.opt.LoopbackWebhooks), calls: make(chan struct{}, maxWebhooks),
		subscriptions: map[string]*watch{}, tails: map[string]tip{}, spaces: map[string]struct{}{},
	}
}

// run serves the subscriptions until ctx ends, which is when the lease of the store is lost or the
// gateway stops. It then waits for its goroutines.
func (w *waker) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	// Deferred calls run in reverse order: the context ends first, then the goroutines, and then idle connections are
	// closed.
	defer w.client.CloseIdleConnections()
	defer w.tasks.Wait()
	defer cancel()
	w.ctx = ctx
	w.tasks.Go(func() {
		w.follow(w.register.log, w.register.space, func(s *streamhub.Status) { w.changed(s.Segment) })
	})
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(w.untilDue(time.Now()))
		select {
		case event := <-w.events:
			event()
		case at := <-timer.C:
			w.expire(at)
		case <-tick.C:
			w.watchSpaces()
			for _, s := range w.subscriptions {
				w.drop(s, 1)
			}
		case <-ctx.Done():
			return
		}
	}
}

// do runs event in the waker's goroutine. It returns false if the waker has ended.
func (w *waker) do(event func()) bool {
	select {
	case w.events <- event:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// changed loads the new steps of a subscription, from this gateway or another one. It derives the pending streams from
// the tails known so far; [waker.grown] adds streams whose status arrives later.
func (w *waker) changed(id string) {
	s := w.subscriptions[id]
	if s == nil {
		s = &watch{id: id, subscription: &subscription{}, stale: true}
		w.subscriptions[id] = s
	}
	if s.stale {
		s.subscription = &subscription{links: map[string]*link{}}
	}
	if err := w.register.update(w.ctx, id, s.subscription); err != nil {
		s.stale, s.due = true, time.Now().Add(again)
		return
	}
	s.stale = false
	s.gone = w.gone
	if s.sequence == 0 || s.Deleted {
		delete(w.subscriptions, id)
		return
	}
	w.watchSpaces()
	s.pending = map[string]struct{}{}
	for path, tail := range w.tails {
		if s.linked(path) && s.links[path].pending(tail) {
			s.pending[path] = struct{}{}
		}
	}
	w.act(s)
}

// act does what the state of a subscription requires. It is called after every step and for every stream that has
// grown, so it must be idempotent: seen says for which step due was already set.
func (w *waker) act(s *watch) {
	now := time.Now()
	switch {
	case s.Wake == "" && len(s.pending) > 0 && !s.calling:
		w.rise(s)
		return
	case s.Wake == "":
		s.due = time.Time{}
	case s.Held && s.seen != s.sequence:
		s.due = now.Add(s.Config.lease())
	case !s.Held && s.Failures > 0 && s.seen != s.sequence:
		s.due = now.Add(retryAfter(s.Failures))
	case !s.Held && s.Failures == 0 && s.told != s.Generation:
		w.deliver(s) // begun by another gateway
	}
	s.seen = s.sequence
}

// save stores a step with the core and the changed links, and removes the links of deleted streams. If another step was
// stored first, this one was decided on an old state. The subscription is then stale, and is loaded before the next
// decision. An error of Redis makes it stale as well, because the step may have been stored.
func (w *waker) save(s *watch, links map[string]*link) bool {
	changed := maps.Clone(links)
	for path, life := range s.dropped {
		l := s.links[path]
		if _, ok := changed[path]; ok || l == nil || l.Explicit || l.Acked.life != life {
			continue // a new stream has the path now
		}
		if changed == nil {
			changed = map[string]*link{}
		}
		changed[path] = nil
	}
	err := w.register.save(w.ctx, s.id, s.subscription, changed)
	if err == nil {
		s.dropped = nil
		s.seen = s.sequence
		return true
	}
	s.stale, s.due = true, time.Now()
	if !errors.Is(err, errMoved) {
		s.due = s.due.Add(again)
	}
	return false
}

// untilDue returns the time until the next deadline; an hour if no subscription has one.
func (w *waker) untilDue(now time.Time) time.Duration {
	left := time.Hour
	for _, s := range w.subscriptions {
		if !s.due.IsZero() {
			left = min(left, s.due.Sub(now))
		}
	}
	return max(left, 0)
}

// expire handles the subscriptions that are due. A wake whose lease has expired was not handled, so its streams are
// still pending, and act begins the next wake.
func (w *waker) expire(now time.Time) {
	for _, s := range w.subscriptions {
		if s.due.IsZero() || s.due.After(now) {
			continue
		}
		s.due = time.Time{}
		switch {
		case s.stale:
			w.changed(s.id)
		case s.Held && !s.calling: // the lease has expired
			s.idle()
			if w.save(s, nil) {
				w.act(s)
			}
		case !s.Held && s.Wake != "":
			w.deliver(s)
		}
	}
}

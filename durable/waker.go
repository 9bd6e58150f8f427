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

// A waker serves the subscriptions of one store. Everything happens in its goroutine; others
// bring it what they saw. How long a lease or a delay lasts is counted from when it was seen to
// begin, so no clock is compared with another.
//
// A subscription goes through these states. Each arrow is a step in Redis (see [register]), so the gateway
// that takes over after a crash finds the state and goes on from there:
//
//	idle ── rise ──► begun ── a worker claims, or the webhook is called ──► held
//	 ▲                 ▲                                                     │
//	 │                 └────────────── the webhook failed ───────────────────┤
//	 └──────────────── all is handled, released, or the lease is over ───────┘
//
// A wake has a generation, which each rise counts up. What a worker says under an older one is fenced.
type waker struct {
	*wakes
	register register
	store    *hub.Store
	ctx      context.Context
	// events brings calls for the waker's goroutine. It has no buffer: a follower waits while the
	// waker is busy.
	events chan func()
	tasks  sync.WaitGroup
	// client and calls, one place for each webhook under way, are of this store alone: receivers of
	// another one that do not answer delay no other here.
	client *http.Client
	calls  chan struct{}

	subscriptions map[string]*watch
	tails         map[string]tip      // by path, of every stream in spaces
	spaces        map[string]struct{} // that are watched
}

// A watch is a subscription, and what this gateway knows beside it. None of that is in Redis: it is worked out
// again from the tails of the streams when another gateway takes over.
type watch struct {
	id string
	*subscription
	pending map[string]struct{} // paths
	dropped map[string]uint64   // paths of streams that were deleted, with the life that ended: their links go with the next step
	seen    uint64              // the step that due was counted from
	due     time.Time           // when something is to be done though nothing comes; zero for never
	stale   bool                // its state must be loaded again
	calling bool                // a webhook is under way
	// told is the generation that the wake stream is known to have, 0 after a takeover. A wake that no worker has yet is
	// appended once more then, and Redis recognises the repeat.
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
	// Deferred calls run from the last one up: the context ends, then the goroutines, then idle connections.
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

// changed loads what is new of a subscription, after a step that this gateway or another one made. What is pending
// is worked out from the tails that are known by now; [waker.grown] adds those of spaces that come later.
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

// act does what the state of a subscription asks for. It is called after every step and for every stream that has
// grown, so it changes nothing where the state was acted on before: seen is the step that due was counted from.
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
		w.deliver(s) // another gateway had begun
	}
	s.seen = s.sequence
}

// save makes a step: the core, the links that changed, and without those of streams that were deleted. Where another
// step came first, what was decided here was decided on an old state. The subscription is stale then, and is loaded
// before anything else is decided. An error of Redis leaves it stale as well: the step may have been made.
func (w *waker) save(s *watch, links map[string]*link) bool {
	changed := maps.Clone(links)
	for path, life := range s.dropped {
		l := s.links[path]
		if _, ok := changed[path]; ok || l == nil || l.Explicit || l.Acked.life != life {
			continue // there is another stream by now
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

// untilDue is how long nothing is due; an hour if no subscription has a deadline.
func (w *waker) untilDue(now time.Time) time.Duration {
	left := time.Hour
	for _, s := range w.subscriptions {
		if !s.due.IsZero() {
			left = min(left, s.due.Sub(now))
		}
	}
	return max(left, 0)
}

// expire does what is due. A wake whose lease is over was not handled, so its streams are pending still, and act
// begins the next one.
func (w *waker) expire(now time.Time) {
	for _, s := range w.subscriptions {
		if s.due.IsZero() || s.due.After(now) {
			continue
		}
		s.due = time.Time{}
		switch {
		case s.stale:
			w.changed(s.id)
		case s.Held && !s.calling: // the lease is over
			s.idle()
			if w.save(s, nil) {
				w.act(s)
			}
		case !s.Held && s.Wake != "":
			w.deliver(s)
		}
	}
}

package durable

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// wakes makes sure that the subscriptions of every store are served. All gateways compete for the lease of each store;
// the gateway that holds it runs a waker.
type wakes struct {
	handler *Handler
	signers signers
	// look has a buffer of one: it asks supervise to look for stores now.
	look  chan struct{}
	tasks sync.WaitGroup
}

const (
	// lookEvery is how often supervise looks for stores with subscriptions, and a waker for the spaces of a pattern
	// that covers all spaces.
	lookEvery = 5 * time.Second
	// wakerLease is the ttl of the lease of a waker. After a gateway has died, the others retry every again, so one of
	// them takes over within wakerLease + again.
	wakerLease = 5 * time.Second
	// again is the delay before an operation that Redis refused is retried.
	again = time.Second
)

func newWakes(d *Handler) *wakes {
	w := &wakes{
		handler: d, look: make(chan struct{}, 1),
	}
	w.tasks.Go(w.supervise)
	return w
}

// nudge makes supervise look for stores now: a subscription was created, perhaps the first one of its store.
func (w *wakes) nudge() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

func (w *wakes) wait() { w.tasks.Wait() }

// supervise starts a goroutine for each store that has subscriptions.
func (w *wakes) supervise() {
	ctx := w.handler.readers.Context()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	watched := map[string]struct{}{}
	for {
		for space, err := range w.handler.hub.Store(registerStore).Spaces(ctx) {
			if err != nil {
				break // the next look will find the others
			}
			id, err := uuid.Parse(space)
			if _, ok := watched[space]; ok || err != nil {
				continue
			}
			watched[space] = struct{}{}
			w.tasks.Go(func() { w.keep(ctx, id) })
		}
		select {
		case <-tick.C:
		case <-w.look:
		case <-ctx.Done():
			return
		}
	}
}

// keep serves a store whenever no other gateway does. The lease does not make that certain: two gateways may serve a
// store for a moment. Of two concurrent steps Redis accepts only one.
func (w *wakes) keep(ctx context.Context, store uuid.UUID) {
	r := w.handler.register(store)
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		err := r.log.WithLease(ctx, "durable/"+r.space, wakerLease, 0, func(ctx context.Context, _ uint64) error {
			newWaker(w, r, w.handler.hub.Store(store)).run(ctx)
			return nil
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, streamhub.ErrLeaseNotAcquired) {
			w.handler.opt.Logger.Debug("the subscriptions of a store are not served", "store", store, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

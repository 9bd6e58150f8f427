package wsgateway

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

const (
	// errTakenOver has the text that streamkit sends. In the other two cases a streamkit server sends nothing.
	errTakenOver = protocolError("worker_id registered by another stream")
	errSilent    = protocolError("worker evicted: no presence was received")
	errForeign   = protocolError("invalid request: only presence of the own worker is sent on this stream")
)

// minEviction is the shortest time after which a silent worker is removed from the list. As in streamkit, it is three
// heartbeat intervals if they are longer.
const minEviction = 30 * time.Second

// workers shows the list of workers to the client. If the client is a worker itself, it is on the list for as long as
// its presence messages come. Each of the two tasks has a goroutine, which cancels the channel with the reason when it
// ends.
func (ch *muxChannel) workers(r *muxSubscribeWorkers) error {
	requests := []wire.Request{&wire.Workers{}}
	if r.WorkerID != uuid.Nil {
		requests = append(requests, &wire.JoinWorkers{})
	}
	if err := ch.allowed(requests...); err != nil {
		return err
	}
	var helpers sync.WaitGroup
	defer helpers.Wait()
	// Deferred so that it runs before the wait: it ends the helper goroutines.
	defer ch.cancel(nil)
	out := reply{ch: ch}
	if r.WorkerID == uuid.Nil {
		helpers.Go(func() {
			for open := true; open; {
				_, open = ch.take(ch.ctx)
			}
			ch.cancel(context.Canceled)
		})
	} else {
		interval := heartbeat(r.Heartbeat)
		ttl := max(minEviction, 3*interval)
		helpers.Go(func() { ch.cancel(ch.hearPresence(r.WorkerID, ttl)) })
		joined := make(chan struct{})
		helpers.Go(func() {
			_, err := ch.run(&wire.JoinWorkers{Worker: streamhub.Worker{ID: r.WorkerID, Metadata: r.Metadata}, TTL: ttl},
				reply{ch: ch, joined: joined})
			if errors.Is(err, streamhub.ErrLeaseLost) {
				err = errTakenOver
			}
			ch.cancel(err)
		})
		select {
		case <-joined:
			// Not earlier: a refused request must not replace another stream.
			defer ch.m.g.replaceWorker(ch, r.WorkerID)()
		case <-ch.ctx.Done():
			return ch.ctx.Err()
		}
		if interval > 0 {
			listed := make(chan struct{})
			out.listed = sync.OnceFunc(func() { close(listed) })
			stop := ch.every(interval, func() error {
				select {
				case <-listed: // the client gets the list before anything else
				case <-ch.ctx.Done():
				}
				return ch.send(enclose("presence", muxPresence{r.WorkerID, true, time.Now().UnixMilli()}))
			})
			defer stop()
		}
	}
	_, err := ch.run(&wire.Workers{}, out)
	return err
}

// hearPresence reads presence messages until one is missing for ttl, one is of another worker, or the client ends the
// channel. It returns the reason for removing the worker from the list.
func (ch *muxChannel) hearPresence(worker uuid.UUID, ttl time.Duration) error {
	for {
		ctx, cancel := context.WithTimeout(ch.ctx, ttl)
		payloads, open := ch.take(ctx)
		silent := ctx.Err() != nil && ch.ctx.Err() == nil
		cancel()
		for _, payload := range payloads {
			kind, content, err := openEnvelope(payload)
			var p muxPresence
			if err != nil || kind != "presence" || json.Unmarshal(content, &p) != nil || p.WorkerID != worker {
				return errForeign
			}
		}
		switch {
		case silent && len(payloads) == 0:
			return errSilent
		case !open && len(payloads) == 0:
			return context.Canceled
		}
	}
}

// A workerKey names a worker of a store.
type workerKey struct{ store, worker uuid.UUID }

// replaceWorker ends an earlier stream of the worker on this gateway at once; a stream on another gateway ends at its
// next renewal. The caller must call leave when its own stream ends.
func (g *Gateway) replaceWorker(ch *muxChannel, worker uuid.UUID) (leave func()) {
	key := workerKey{ch.key.store, worker}
	g.mu.Lock()
	defer g.mu.Unlock()
	if other := g.workers[key]; other != nil {
		other.cancel(errTakenOver)
	}
	g.workers[key] = ch
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.workers[key] == ch {
			delete(g.workers, key)
		}
	}
}

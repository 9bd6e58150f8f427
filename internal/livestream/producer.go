package livestream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/live"
)

// A Producer is the one that may publish to a generation. It is safe for concurrent use; chunks
// that one goroutine publishes keep their order.
type Producer struct {
	*Stream
	owner string
	opt   live.RegisterOptions
	// ctx ends when the producer has to stop, life when it has stopped. Between the two lies the grace in which it may
	// publish its last chunks and write its own verdict.
	ctx    context.Context
	cancel context.CancelCauseFunc
	life   context.Context
	leave  context.CancelFunc
	told   sync.Once // guards OnCancel: it is called once

	watched atomic.Int64 // when the stream was last seen to have readers, in Unix nanoseconds

	// A chunk goes from pending to flying to stored. There is one append in flight at a time: with two, a retry of the first
	// could land after the second, and chunks would change places.
	mu      sync.Mutex
	changed chan struct{}     // closed when anything below changes
	err     error             // why nothing can be published any more
	ending  bool              // a verdict is being written; chunks wait for the outcome
	asked   *live.CancelError // the request to stop, if there was one
	last    time.Time         // when the last chunk was published
	pending []streamhub.Record
	since   time.Time          // a lower bound for when the first pending chunk was published
	flying  []streamhub.Record // chunks in flight, or to be sent again
	repeat  uuid.UUID          // TRX id of flying if it is unknown whether they were stored
	bytes   int                // size of pending and flying
	trouble error              // why flying must be sent again
	tried   attempt            // the last attempt to write a verdict
}

func newProducer(s *Stream, owner string, o live.RegisterOptions) *Producer {
	p := &Producer{Stream: s, owner: owner, opt: o, changed: make(chan struct{}), last: time.Now()}
	p.ctx, p.cancel = context.WithCancelCause(s.m.ctx)
	p.life, p.leave = context.WithCancel(s.m.ctx)
	p.watched.Store(time.Now().UnixNano())
	return p
}

// Context implements [live.Producer].
func (p *Producer) Context() context.Context { return p.ctx }

// attach starts the heartbeat of p and the reading of its back lane. It returns false when the manager is closing;
// Close does not know p then, so the caller must end the generation.
func (m *Manager) attach(p *Producer, back streamhub.Position) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Close lists the producers under the same lock: either it finds this producer, or this call sees closing.
	if m.closing {
		return false
	}
	w := m.spaceLocked(p.Streams)
	w.producers[p] = struct{}{}
	if p.opt.CancelUnwatched > 0 {
		w.poke() // the first heartbeat may be due early
	}
	m.tasks.Go(func() { p.listen(back) })
	return true
}

// detach undoes attach.
func (m *Manager) detach(p *Producer) {
	p.leave()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ready, p)
	if w := m.spaces[p.spaceKey]; w != nil {
		delete(w.producers, p)
		w.linger()
	}
}

// listen follows the back lane and handles the messages for the hub. The back lane ends together with the generation,
// so an error is how a producer learns that another process has ended it, long before a chunk would be refused.
func (p *Producer) listen(from streamhub.Position) {
	for entry, err := range p.m.watcher.FollowSegment(p.life, p.log, p.space, p.backLane(), &streamhub.FollowOptions{Cursor: from.Cursor()}) {
		switch {
		case err == nil && entry.Metadata[controlKey] == controlCancel:
			p.requested(&live.CancelError{By: entry.Metadata[byKey], Reason: entry.Metadata[reasonKey]})
		// A producer that has stopped needs no second end, and [Manager.Close] itself notifies producers of a shutdown.
		case err != nil && p.life.Err() == nil && !errors.Is(err, streamhub.ErrShutdown):
			p.stop(err)
		}
	}
}

// notify wakes all goroutines that wait for a change. The lock is held.
func (p *Producer) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// stop ends the producer: another process has ended its generation, or it is lost. The log reports a loss only once to
// a process. So all producers of the generation in this process are ended, before the one that got the report.
func (p *Producer) stop(reason error) {
	reason = producing(reason, p.generation)
	if errors.Is(reason, streamhub.ErrHistoryLost) {
		for _, other := range p.m.others(p) {
			other.halt(reason)
		}
	}
	p.halt(reason)
}

// others returns the producers besides p that were registered under its key.
func (m *Manager) others(p *Producer) (others []*Producer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.spaces[p.spaceKey]; w != nil {
		for other := range w.producers {
			if other != p && other.segment() == p.segment() {
				others = append(others, other)
			}
		}
	}
	return others
}

// halt ends the producer. Its unsent chunks are dropped.
func (p *Producer) halt(reason error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = reason
	p.pending, p.flying, p.bytes = nil, nil, 0
	p.notify()
	p.mu.Unlock()
	p.m.detach(p)
	// Only after every call is refused with reason, because the callback may call the producer.
	p.notifyStop(reason)
	p.cancel(reason) // notifyStop does not cancel after a hand-over
}

// notifyStop calls OnCancel, unless that was done. The callback may call the producer, so it runs in its own goroutine,
// for which Close waits.
func (p *Producer) notifyStop(reason error) {
	p.told.Do(func() {
		p.cancel(reason)
		if p.opt.OnCancel != nil {
			p.m.tasks.Go(func() { p.opt.OnCancel(reason) })
		}
	})
}

// requested asks the producer to stop, and ends the generation if it has not stopped within the grace.
func (p *Producer) requested(by *live.CancelError) {
	p.mu.Lock()
	if p.err != nil || p.asked != nil {
		p.mu.Unlock()
		return
	}
	p.asked = by
	p.mu.Unlock()
	p.notifyStop(by)
	p.m.tasks.Go(func() {
		// life ends if the producer writes its own verdict within the grace; nothing is left to do then.
		if !pause.For(p.life, p.m.opt.CancelGrace) {
			return
		}
		if err := p.End(p.m.ctx, by.Verdict()); err != nil && p.life.Err() == nil {
			p.m.opt.Logger.Warn("a cancelled live stream could not be ended", "id", p.id, "error", err)
		}
	})
}

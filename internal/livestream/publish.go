package livestream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

const (
	// chunkOverhead is added to the bytes of each chunk in a buffer, so that empty chunks fill it too.
	chunkOverhead = 64
	// batchBytes and streamhub.MaxFrameRecords bound one append of a stream.
	batchBytes = 1 << 20
	// retryPause is the delay before an append or a verdict that Redis refused is sent again.
	retryPause = 100 * time.Millisecond
)

// Publish implements [live.Producer].
func (p *Producer) Publish(ctx context.Context, data []byte) error {
	return p.fail("publish", p.id, p.publish(ctx, data))
}

// publish puts a chunk into the buffer. It is stored later: an error of Redis reaches the next call, or Flush and End.
func (p *Producer) publish(ctx context.Context, data []byte) error {
	if len(data) > p.m.opt.MaxChunkBytes {
		return fmt.Errorf("%w: a chunk of %d bytes, the limit is %d", streamhub.ErrTooLarge, len(data), p.m.opt.MaxChunkBytes)
	}
	p.mu.Lock()
	if err := cmp.Or(p.admit(ctx, p.m.opt.BufferBytes), ctx.Err()); err != nil {
		p.mu.Unlock()
		return err
	}
	p.last = time.Now()
	if len(p.pending) == 0 {
		p.since = p.last
	}
	// A copy: the chunk is sent after Publish has returned, when the caller may have reused data.
	p.pending = append(p.pending, streamhub.Record{Payload: bytes.Clone(data)})
	p.bytes += len(data) + chunkOverhead
	full := len(p.pending) >= p.m.opt.MaxChunks || p.m.opt.MaxDelay < 0
	// While an append is in flight, landed schedules the pending chunks when it is answered.
	idle, since := p.flying == nil, p.since
	p.mu.Unlock()
	if idle {
		p.m.note(p, since, full)
	}
	return nil
}

// admit waits while a verdict is being written, or more than limit bytes are unsent. The bytes that the caller adds are
// not counted yet. So a chunk that is larger than the limit passes too, and the buffer exceeds it by one chunk at most.
// The lock is held before and after.
func (p *Producer) admit(ctx context.Context, limit int) error {
	for p.err == nil && (p.ending || p.bytes > limit) {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return p.err
}

// await waits for a change. The lock is held before and after.
func (p *Producer) await(ctx context.Context) error {
	// Taken under the lock, so a change between here and the select has closed this very channel.
	changed, trouble := p.changed, p.trouble
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), trouble)
	case <-p.m.ctx.Done():
		return streamhub.ErrShutdown
	}
}

// Flush implements [live.Producer].
func (p *Producer) Flush(ctx context.Context) error {
	p.m.hurry()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fail("flush", p.id, p.drain(ctx))
}

// drain waits until no chunk is unsent. The lock is held before and after.
func (p *Producer) drain(ctx context.Context) error {
	for p.err == nil && len(p.pending)+len(p.flying) > 0 {
		if err := p.await(ctx); err != nil {
			return err
		}
		p.m.hurry()
	}
	return p.err
}

// note schedules the chunks of p for the next batch: now, or when the oldest one has waited for MaxDelay.
func (m *Manager) note(p *Producer, since time.Time, now bool) {
	due := since.Add(m.opt.MaxDelay)
	m.mu.Lock()
	m.ready[p] = struct{}{}
	sooner := m.due.IsZero() || due.Before(m.due)
	if sooner {
		m.due = due
	}
	m.mu.Unlock()
	if now {
		m.hurry()
	} else if sooner {
		select {
		case m.sooner <- struct{}{}:
		default:
		}
	}
}

// hurry requests a batch now. The channel has a buffer of one: a batch that is already requested covers this.
func (m *Manager) hurry() {
	select {
	case m.full <- struct{}{}:
	default:
	}
}

// publish sends the pending chunks of all streams together. So the number of calls to Redis depends on the delay, and
// not on the number of streams or chunks.
func (m *Manager) publish() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.sooner:
			m.mu.Lock()
			// A full batch may have left since the signal, and due may be zero. The timer then fires at once, for an
			// empty batch.
			timer.Reset(time.Until(m.due))
			m.mu.Unlock()
			continue
		case <-timer.C:
		case <-m.full:
		case <-m.ctx.Done():
			return
		}
		m.mu.Lock()
		ready := m.ready
		m.ready, m.due = make(map[*Producer]struct{}, len(ready)), time.Time{}
		m.mu.Unlock()
		bySpace := map[spaceKey][]outgoing{}
		for p := range ready {
			if f, ok := p.take(); ok {
				bySpace[p.spaceKey] = append(bySpace[p.spaceKey], f)
			}
		}
		for _, batch := range bySpace {
			// One goroutine for each space, so that a server that does not answer delays no other space.
			m.tasks.Go(func() { m.send(batch) })
		}
	}
}

// An outgoing is the append of a producer that is in flight: at most one, so that chunks keep their order.
type outgoing struct {
	p      *Producer
	append streamhub.Append
}

// take returns the next append of p, if it has pending chunks and no append in flight. A single chunk is taken even if
// it alone exceeds batchBytes.
func (p *Producer) take() (outgoing, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.flying != nil || len(p.pending) == 0 {
		return outgoing{}, false
	}
	n, size := 0, 0
	for n < len(p.pending) && n < streamhub.MaxFrameRecords && (n == 0 || size+len(p.pending[n].Payload) <= batchBytes) {
		size += len(p.pending[n].Payload)
		n++
	}
	p.flying, p.pending = p.pending[:n:n], p.pending[n:]
	return p.inFlight(), true
}

// inFlight returns the append of the chunks in flight. The segment must exist: if Redis lost it, the append would create it
// again in the middle of the generation. The lock is held.
func (p *Producer) inFlight() outgoing {
	return outgoing{p, streamhub.Append{
		Space: p.space, Segment: p.segment(), Records: p.flying,
		Options: &streamhub.AppendOptions{Generation: p.generation, MustExist: true, TRX: p.repeat},
	}}
}

// send carries the appends of one space to Redis. Each is a frame of its own, so one that is refused stops no other.
func (m *Manager) send(batch []outgoing) {
	appends := make([]streamhub.Append, len(batch))
	for i := range batch {
		appends[i] = batch[i].append
	}
	_, errs := batch[0].p.log.AppendAll(m.ctx, appends)
	for i := range batch {
		batch[i].p.landed(errs[i])
	}
}

// landed handles the result of an append. After an error that can pass, the same records are sent again under the
// same id, so chunks keep their order and are stored once. Publish meanwhile fills the buffer and then blocks. A
// final error stops the producer.
func (p *Producer) landed(err error) {
	p.mu.Lock()
	// stop has dropped the append while it was in flight.
	if p.err != nil || p.flying == nil {
		p.mu.Unlock()
		return
	}
	switch {
	case err == nil, errors.Is(err, streamhub.ErrNotConfirmed):
		p.m.chunks.Add(int64(len(p.flying)))
		for i := range p.flying {
			p.bytes -= len(p.flying[i].Payload) + chunkOverhead
		}
		p.flying, p.repeat, p.trouble = nil, uuid.Nil, nil
		more, full := len(p.pending) > 0, len(p.pending) >= p.m.opt.MaxChunks
		if more {
			p.m.note(p, p.since, full)
		}
		p.notify()
		p.mu.Unlock()
	case streamhub.Retryable(err):
		// A Redis that is full can have room again later, and no chunk is lost until then.
		p.trouble = err
		var unknown *streamhub.UnknownOutcomeError
		// A definite refusal of a later attempt does not clear repeat: an earlier one may still have been stored.
		if errors.As(err, &unknown) {
			p.repeat = unknown.TRX
		}
		f := p.inFlight()
		p.mu.Unlock()
		p.m.tasks.Go(func() {
			if pause.For(p.m.ctx, retryPause) {
				p.m.send([]outgoing{f})
			}
		})
	default:
		p.mu.Unlock()
		p.stop(err)
	}
}

package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

const (
	// liveDelay and liveChunks bound how long, and how many, chunks are gathered for one request; see [live.Options].
	liveDelay  = 20 * time.Millisecond
	liveChunks = 64
	// liveBuffer is how many bytes of chunks may wait for a gateway, and liveBatch how many are sent in one request.
	liveBuffer, liveBatch = 1 << 20, 1 << 20
	// liveOverhead is added to the bytes of each chunk, so that the number of empty chunks is bounded too.
	liveOverhead = 64
	// liveIdle is the default of [live.RegisterOptions.IdleTTL].
	liveIdle = 10 * time.Minute
	// livePatience is the heartbeat interval of a producer that was asked to stop. When its time to stop has passed,
	// the gateway answers the next heartbeat with the verdict.
	livePatience = time.Second
	// beatsPerSilence is how many heartbeats a producer sends within the silence after which it counts as lost.
	beatsPerSilence = 3
)

// A liveProducer is a producer in this process, behind gateways. Chunks wait here until a gateway has stored them. Two
// goroutines serve it: run sends chunks and heartbeats, listen receives requests to stop.
type liveProducer struct {
	*liveStream
	remote  *liveRemote
	opt     live.RegisterOptions
	ctx     context.Context // ends when the producer has to stop
	cancel  context.CancelCauseFunc
	life    context.Context // ends when the producer has ended
	leave   context.CancelFunc
	release func()
	told    sync.Once // guards OnCancel: it is called once
	// hurry has a buffer of one: it tells run to send pending chunks now instead of gathering more.
	hurry chan struct{}

	// mu guards the fields below. changed is closed and replaced at each change, so that a caller can
	// wait for one with a context.
	mu      sync.Mutex
	changed chan struct{} // closed when anything below changes
	err     error         // why nothing can be published any more
	ending  bool          // a verdict is being written
	asked   *live.CancelError
	last    time.Time // when the last chunk was published
	watched time.Time // when the stream was last seen to have readers; only run uses it
	pending [][]byte  // chunks that are not known to be stored
	first   uint64    // number of the first pending chunk
	bytes   int       // size of the pending chunks
	trouble error     // why the pending chunks could not be sent
	large   bool      // a Publish waits for the last chunk, which is large
	refused error     // why the large chunk was refused
}

var _ live.Producer = (*liveProducer)(nil)

func newLiveProducer(remote *liveRemote, o live.RegisterOptions) *liveProducer {
	if o.IdleTTL <= 0 {
		o.IdleTTL = liveIdle
	}
	now := time.Now()
	return &liveProducer{
		liveStream: remote.liveStream, remote: remote, opt: o, hurry: make(chan struct{}, 1), changed: make(chan struct{}),
		last: now, watched: now, first: 1,
	}
}

// begin starts the goroutines of the producer. They last as long as the client, not as long as the
// context of the registration.
func (p *liveProducer) begin() error {
	var lasts context.Context
	// The goroutines outlive the context of the registration.
	lasts, p.release = p.c.last(p.remote.remote.p.ctx)
	p.life, p.leave = context.WithCancel(lasts)
	p.ctx, p.cancel = context.WithCancelCause(lasts)
	err := p.c.start(func() {
		var listening sync.WaitGroup
		listening.Go(p.listen)
		p.run()
		listening.Wait()
	})
	if err != nil {
		p.leave()
		p.release()
	}
	return err
}

// abandon ends a generation that has no producer.
func (p *liveProducer) abandon(ctx context.Context) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_, _ = p.remote.End(bye, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "it was not begun"})
}

// Context implements [live.Producer].
func (p *liveProducer) Context() context.Context { return p.ctx }

// notify wakes all that wait for a change. The lock is held.
func (p *liveProducer) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// rush makes run send the pending chunks at once.
func (p *liveProducer) rush() {
	select {
	case p.hurry <- struct{}{}:
	default:
	}
}

// Publish implements [live.Producer]. For a chunk that is larger than the default limit of a hub, Publish waits until a
// gateway has stored or refused it. The refusal is final: another gateway would refuse it as well.
func (p *liveProducer) Publish(ctx context.Context, data []byte) error {
	if len(data) > streamhub.MaxFrameBytes {
		return p.fail("publish", p.id, fmt.Errorf("%w: a chunk of %d bytes, no gateway takes more than %d", streamhub.ErrTooLarge, len(data), streamhub.MaxFrameBytes))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmp.Or(p.admit(ctx, liveBuffer), ctx.Err()); err != nil {
		return p.fail("publish", p.id, err)
	}
	p.last = time.Now()
	p.pending = append(p.pending, bytes.Clone(data))
	p.bytes += len(data) + liveOverhead
	// run waits for the first chunk and for a full batch. The chunks in between need not wake it.
	if n := len(p.pending); n == 1 || n == liveChunks {
		p.notify()
	}
	if len(data) > streamhub.MaxRecordBytes {
		return p.fail("publish", p.id, p.accepted(ctx))
	}
	return nil
}

// accepted waits until the last chunk, a large one, is stored or refused. Meanwhile no other chunk is admitted, because
// this one fills liveBuffer. If ctx ends first, the chunk stays pending like any other. The lock is held before and
// after.
func (p *liveProducer) accepted(ctx context.Context) error {
	number := p.first + uint64(len(p.pending)) - 1
	p.large, p.refused = true, nil
	defer func() { p.large = false }()
	for p.err == nil && p.refused == nil && p.first <= number {
		p.rush()
		if p.await(ctx) != nil {
			return nil
		}
	}
	return cmp.Or(p.refused, p.err)
}

// refuse drops a large chunk that a gateway refused and passes err to the Publish that waits for it. It reports false
// if no Publish waits.
func (p *liveProducer) refuse(batch [][]byte, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || !p.large || len(batch) != 1 || len(batch[0]) <= streamhub.MaxRecordBytes || !errors.Is(err, streamhub.ErrTooLarge) {
		return false
	}
	p.bytes -= len(batch[0]) + liveOverhead
	p.pending = p.pending[1:]
	var named *streamhub.Error
	if errors.As(err, &named) {
		err = named.Err // Publish adds the name of the call itself
	}
	p.refused = err
	p.notify()
	return true
}

// admit waits while a verdict is being written or more than limit bytes are pending. The lock is held before and after.
func (p *liveProducer) admit(ctx context.Context, limit int) error {
	for p.err == nil && (p.ending || p.bytes > limit) {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return p.err
}

// await waits for a change. The lock is held before and after.
func (p *liveProducer) await(ctx context.Context) error {
	changed, trouble := p.changed, p.trouble
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), trouble)
	}
}

// Flush implements [live.Producer].
func (p *liveProducer) Flush(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fail("flush", p.id, p.drain(ctx))
}

// drain waits until no chunk is pending. The lock is held before and after.
func (p *liveProducer) drain(ctx context.Context) error {
	for p.err == nil && len(p.pending) > 0 {
		p.rush()
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return p.err
}

// run sends chunks, or heartbeats while there are none, until the producer has ended.
func (p *liveProducer) run() {
	defer p.release()
	failed := pause.Backoff{First: 20 * time.Millisecond, Longest: 2 * time.Second}
	heard := time.Now()
	for {
		due := heard.Add(p.interval())
		batch, first := p.gather(due)
		if p.life.Err() != nil {
			p.over()
			return
		}
		if len(batch) == 0 && time.Now().Before(due) {
			continue
		}
		err := p.send(batch, first)
		if err == nil && len(batch) == 0 {
			err = p.look()
		}
		switch {
		case err == nil:
			failed.Reset()
			heard = time.Now()
		// The next turn of the loop ends here and calls over.
		case p.life.Err() != nil:
		case streamhub.Retryable(err):
			p.mu.Lock()
			p.trouble = err
			p.mu.Unlock()
			failed.Wait(p.life)
		case p.refuse(batch, err):
		default:
			// If a verdict is being written, end learns how the generation has ended.
			if !p.stopped(err) {
				failed.Wait(p.life)
			}
		}
	}
}

// interval is the time between two heartbeats.
func (p *liveProducer) interval() time.Duration {
	// Half of each time limit, so that its end is noticed soon. At least 10 ms, so that a tiny limit does not flood a
	// gateway with requests.
	d := min(p.remote.silence/beatsPerSilence, max(p.opt.IdleTTL/2, 10*time.Millisecond))
	if p.opt.CancelUnwatched > 0 {
		d = min(d, max(p.opt.CancelUnwatched/2, 10*time.Millisecond))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked != nil {
		d = min(d, livePatience)
	}
	return d
}

// gather waits until there are liveChunks chunks, liveDelay has passed since the first one, or due is reached. It
// returns the chunks that go together and the number of the first. They stay in pending until they are known to be
// stored.
func (p *liveProducer) gather(due time.Time) (batch [][]byte, first uint64) {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	gathering := false
	for {
		p.mu.Lock()
		n, changed := len(p.pending), p.changed
		// The delay counts from the first chunk that waits: later ones do not put it off.
		if n > 0 && !gathering {
			gathering = true
			timer.Reset(liveDelay)
		}
		p.mu.Unlock()
		if n >= liveChunks {
			break
		}
		stop := false
		select {
		case <-changed:
		case <-timer.C:
			stop = true
		case <-p.hurry:
			stop = true
		case <-p.life.Done():
			return nil, 0
		}
		if stop {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	size, n := 0, 0
	for n < len(p.pending) && n < streamhub.MaxFrameRecords && (n == 0 || size+len(p.pending[n]) <= liveBatch) {
		size += len(p.pending[n])
		n++
	}
	return p.pending[:n:n], p.first
}

// send stores a batch, or sends a heartbeat if there is none. The number of the first chunk makes it safe to repeat. If
// the gateway expects a lower number than first, acknowledged chunks were lost.
func (p *liveProducer) send(batch [][]byte, first uint64) error {
	request, err := p.remote.publishing(first, batch)
	if err != nil {
		return err
	}
	next, err := p.remote.next(p.once(p.life, request))
	var gap *streamhub.SequenceError
	if errors.As(err, &gap) || err == nil && next < first+uint64(len(batch)) {
		return &streamhub.HistoryLostError{FirstLost: next} // acknowledged chunks are missing
	}
	if err != nil || len(batch) == 0 {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil // the producer was stopped meanwhile
	}
	for _, chunk := range batch {
		p.bytes -= len(chunk) + liveOverhead
	}
	p.pending, p.first, p.trouble = p.pending[len(batch):], next, nil
	p.notify()
	return nil
}

// look ends a generation that was idle for too long, and asks for a cancellation if it had no reader
// for too long.
func (p *liveProducer) look() error {
	p.mu.Lock()
	idle := time.Since(p.last) > p.opt.IdleTTL && len(p.pending) == 0
	asked := p.asked != nil
	p.mu.Unlock()
	if idle {
		v := streamhub.Verdict{Kind: streamhub.VerdictExpired, Reason: "nothing was published for " + p.opt.IdleTTL.String()}
		v, err := p.remote.End(p.life, v)
		if err == nil {
			err = &streamhub.ClosedError{Verdict: v}
		}
		return err
	}
	if p.opt.CancelUnwatched <= 0 || asked {
		return nil
	}
	status, err := p.Status(p.life)
	if err != nil {
		return err
	}
	if status.Viewers > 0 {
		p.watched = time.Now()
	}
	if time.Since(p.watched) > p.opt.CancelUnwatched {
		_, err = p.Cancel(p.life, &live.CancelOptions{Reason: "nobody was watching", NoWait: true})
	}
	return err
}

// over ends the producer of a closed client: it sends pending chunks, once, and ends the generation
// as lost. Both are bounded in time.
func (p *liveProducer) over() {
	p.mu.Lock()
	ended, batch, first := p.err != nil, p.pending, p.first
	p.mu.Unlock()
	if ended {
		return
	}
	p.notifyStop(streamhub.ErrShutdown)
	bye, cancel := context.WithTimeout(context.WithoutCancel(p.life), goodbye)
	defer cancel()
	if len(batch) > 0 {
		_, _ = p.remote.Publish(bye, first, batch)
	}
	v, err := p.remote.End(bye, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "the producer's process is shutting down"})
	if err == nil {
		err = &streamhub.ClosedError{Verdict: v}
	} else if streamhub.Retryable(err) {
		err = streamhub.ErrShutdown
	}
	p.stop(err)
}

// listen receives requests to stop, until the producer ends.
func (p *liveProducer) listen() {
	// It reads from the first message on: with a key the generation may be older than this registration, and a request
	// to stop may already be there.
	for m, err := range p.remote.Messages(p.life, 0) {
		switch {
		case err == nil && m.Stop:
			p.requested(&live.CancelError{By: m.By, Reason: string(m.Data)})
		case err != nil && p.life.Err() == nil:
			p.stopped(err)
		}
	}
}

// requested passes a request to stop on to the producer.
func (p *liveProducer) requested(by *live.CancelError) {
	p.mu.Lock()
	if p.err != nil || p.asked != nil {
		p.mu.Unlock()
		return
	}
	p.asked = by
	p.notify()
	p.mu.Unlock()
	p.rush()
	p.notifyStop(by)
}

// stopped ends the producer because of reason. It returns false and does nothing while end writes the producer's own
// verdict, because end learns the outcome. With pending chunks that write has not begun yet, so the producer is
// stopped.
func (p *liveProducer) stopped(reason error) bool {
	p.mu.Lock()
	writing := p.ending && len(p.pending) == 0
	p.mu.Unlock()
	if !writing {
		p.stop(reason)
	}
	return !writing
}

// stop ends the producer for good. Only the first reason counts. Pending chunks are dropped: no gateway accepts them
// any more.
func (p *liveProducer) stop(reason error) {
	// The name of the failed call is dropped: each method names itself when it returns the reason.
	var named *streamhub.Error
	if errors.As(reason, &named) {
		reason = named.Err
	}
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = reason
	p.pending, p.bytes = nil, 0
	p.notify()
	p.mu.Unlock()
	p.notifyStop(reason)
	p.quit(reason)
}

// quit ends the context of the producer because of reason, and then its goroutines. In the other order run could
// release the parent of the context first, and its cause would be [context.Canceled].
func (p *liveProducer) quit(reason error) {
	p.cancel(reason)
	p.leave()
}

// notifyStop calls OnCancel with the first reason to stop, in a goroutine of the client.
func (p *liveProducer) notifyStop(reason error) {
	p.told.Do(func() {
		p.cancel(reason)
		if p.opt.OnCancel != nil && p.c.start(func() { p.opt.OnCancel(reason) }) != nil {
			p.opt.OnCancel(reason) // Close of the client waits for this call
		}
	})
}

// SetMetadata implements [live.Producer].
func (p *liveProducer) SetMetadata(ctx context.Context, v any) error {
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	var metadata []byte
	if err == nil {
		metadata, err = encodeMetadata(v)
	}
	if err == nil && metadata == nil {
		metadata = []byte("null")
	}
	if err != nil {
		return p.fail("set metadata", p.id, err)
	}
	return p.remote.SetMetadata(ctx, metadata)
}

// Messages implements [live.Producer].
func (p *liveProducer) Messages(ctx context.Context, after uint64) iter.Seq2[live.Message, error] {
	return func(yield func(live.Message, error) bool) {
		for m, err := range p.remote.Messages(ctx, after) {
			if !m.Stop && !yield(m, err) {
				return
			}
		}
	}
}

// Done implements [live.Producer].
func (p *liveProducer) Done(ctx context.Context, output any) error {
	v, err := verdict.Done(output)
	if err != nil {
		return p.fail("end", p.id, err)
	}
	return p.End(ctx, v)
}

// Fail implements [live.Producer].
func (p *liveProducer) Fail(ctx context.Context, reason error) error {
	v, err := verdict.Failed(reason, p.cancelled())
	if err != nil {
		return p.fail("end", p.id, err)
	}
	return p.End(ctx, v)
}

// Close implements [live.Producer].
func (p *liveProducer) Close(ctx context.Context) error {
	ctx, done := pause.Goodbye(ctx)
	defer done()
	return verdict.Ended(p.End(ctx, verdict.Closed(p.cancelled())))
}

func (p *liveProducer) cancelled() *live.CancelError {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// End implements [live.Producer].
func (p *liveProducer) End(ctx context.Context, v streamhub.Verdict) error {
	return p.fail("end", p.id, p.end(ctx, v))
}

// end writes the verdict after everything that was published. If the write fails in a way that a retry can cure, the
// producer continues. If the generation already has another verdict, the producer stops with that one.
func (p *liveProducer) end(ctx context.Context, v streamhub.Verdict) error {
	if err := verdict.Check(v); err != nil {
		return err
	}
	if err := p.suspend(ctx); err != nil {
		return err
	}
	got, err := p.finish(ctx, v)
	switch {
	case err != nil && streamhub.CodeOf(err) != streamhub.CodeOf(streamhub.ErrInvalidArgument) && !p.passing(ctx, err):
		p.stop(err)
		return p.reason()
	case err != nil:
		p.resume()
		return err
	}
	closed := &streamhub.ClosedError{Verdict: got}
	if got.Kind != v.Kind || got.Reason != v.Reason || !bytes.Equal(got.Output, v.Output) {
		p.stop(closed)
		return p.reason()
	}
	p.mu.Lock()
	if p.err == nil {
		p.err = closed
	}
	p.notify()
	p.mu.Unlock()
	p.told.Do(func() {}) // OnCancel is not called: the producer ended itself
	p.quit(closed)
	return nil
}

// suspend blocks new chunks and waits until all published chunks are stored. If another call is writing a verdict, it
// waits for that first.
func (p *liveProducer) suspend(ctx context.Context) error {
	p.mu.Lock()
	if err := p.admit(ctx, math.MaxInt); err != nil {
		p.mu.Unlock()
		return err
	}
	p.ending = true
	err := p.drain(ctx)
	p.mu.Unlock()
	if err != nil {
		p.resume()
	}
	return err
}

// resume lets chunks pass again after a verdict that was not written.
func (p *liveProducer) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = false
	p.notify()
}

func (p *liveProducer) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// passing reports whether the same call may succeed later.
func (p *liveProducer) passing(ctx context.Context, err error) bool {
	return ctx.Err() != nil || streamhub.Retryable(err) || p.life.Err() != nil
}

// finish writes a verdict, which may take several attempts, and returns the verdict that the generation now has.
func (p *liveProducer) finish(ctx context.Context, v streamhub.Verdict) (streamhub.Verdict, error) {
	for pauses := (pause.Backoff{First: 20 * time.Millisecond, Longest: time.Second}); ; {
		got, err := p.remote.End(ctx, v)
		if err == nil || !streamhub.Retryable(err) || !pauses.Wait(ctx) {
			return got, err
		}
	}
}

// HandOver implements [live.Producer].
func (p *liveProducer) HandOver(ctx context.Context) (token string, next uint64, err error) {
	if err := p.suspend(ctx); err != nil {
		return "", 0, p.fail("hand over", p.id, err)
	}
	// Everything is stored, so the number that the gateway expects next is where the next holder of the token
	// continues.
	next, err = p.remote.Beat(ctx)
	if err != nil {
		p.resume()
		return "", 0, err
	}
	p.told.Do(func() {}) // OnCancel is not called: a hand-over is no request to stop
	p.stop(fmt.Errorf("%w: the generation was handed over", streamhub.ErrFenced))
	return p.remote.token, next, nil
}

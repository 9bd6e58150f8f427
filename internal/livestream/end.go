package livestream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

// Done implements [live.Producer].
func (p *Producer) Done(ctx context.Context, output any) error {
	v, err := verdict.Done(output)
	if err != nil {
		return p.fail("end", p.id, err)
	}
	return p.End(ctx, v)
}

// Fail implements [live.Producer].
func (p *Producer) Fail(ctx context.Context, reason error) error {
	v, err := verdict.Failed(reason, p.cancelled())
	if err != nil {
		return p.fail("end", p.id, err)
	}
	return p.End(ctx, v)
}

// Close implements [live.Producer].
func (p *Producer) Close(ctx context.Context) error {
	ctx, done := pause.Goodbye(ctx)
	defer done()
	return verdict.Ended(p.End(ctx, verdict.Closed(p.cancelled())))
}

func (p *Producer) cancelled() *live.CancelError {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// End implements [live.Producer].
func (p *Producer) End(ctx context.Context, v streamhub.Verdict) error {
	return p.fail("end", p.id, p.end(ctx, v))
}

// end writes the verdict after every chunk that was published. Chunks that are published meanwhile wait for the
// outcome: if the verdict cannot be written, the producer continues, and they are stored in their order.
func (p *Producer) end(ctx context.Context, v streamhub.Verdict) error {
	if err := verdict.Check(v); err != nil {
		return err
	}
	p.mu.Lock()
	if err := p.admit(ctx, math.MaxInt); err != nil {
		p.mu.Unlock()
		return err
	}
	p.ending = true
	p.m.hurry()
	err := p.drain(ctx)
	p.mu.Unlock()
	if err == nil {
		err = p.write(ctx, v)
	}
	var closed *streamhub.ClosedError
	switch {
	case err == nil:
		closed = &streamhub.ClosedError{Verdict: v}
	case hasEnded(err):
		p.stop(err)
		return producing(err, p.generation)
	default:
		p.mu.Lock()
		p.ending = false
		p.notify()
		p.mu.Unlock()
		return err
	}
	p.mu.Lock()
	p.err = closed
	p.notify()
	p.mu.Unlock()
	p.m.detach(p)
	p.told.Do(func() {}) // OnCancel is not called: the producer ended itself
	p.cancel(closed)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	// The verdict is stored, so End has succeeded even if the rest fails; any instance can do that.
	if err := p.conclude(bye, v, p.opt.EndedTTL); err != nil {
		p.m.opt.Logger.Warn("the end of a live stream is left to the next heartbeat", "id", p.id, "error", err)
		p.m.touch(p.Streams)
	}
	return nil
}

// write makes v the verdict of the generation, which may take several attempts. It keeps the id of an attempt with an
// unknown outcome, also for the next call of End with the same verdict. That call is then recognised as a repeat and
// does not get a ClosedError.
func (p *Producer) write(ctx context.Context, v streamhub.Verdict) error {
	p.mu.Lock()
	if !p.tried.of(v) {
		p.tried = attempt{verdict: v}
	}
	id := p.tried.id
	p.mu.Unlock()
	for {
		_, err := p.log.CloseSegment(ctx, p.space, p.segment(), v, &streamhub.AppendOptions{Generation: p.generation, TRX: id})
		if err == nil || errors.Is(err, streamhub.ErrNotConfirmed) {
			return nil
		}
		var unknown *streamhub.UnknownOutcomeError
		if errors.As(err, &unknown) {
			id = unknown.TRX
			p.mu.Lock()
			p.tried.id = id
			p.mu.Unlock()
		}
		if !streamhub.Retryable(err) || !pause.For(ctx, retryPause) {
			return err
		}
	}
}

// An attempt is a verdict that may have been written, and the TRX id that it was sent under. The same
// verdict is sent under the same id again, so that a repeat is recognised.
type attempt struct {
	verdict streamhub.Verdict
	id      uuid.UUID
}

// of reports whether the attempt was for this verdict.
func (a *attempt) of(v streamhub.Verdict) bool {
	return a.verdict.Kind == v.Kind && a.verdict.Reason == v.Reason && bytes.Equal(a.verdict.Output, v.Output)
}

// hasEnded reports whether err means that a generation has ended or does not exist, so that its producer must stop.
func hasEnded(err error) bool {
	return errors.Is(err, streamhub.ErrClosed) || errors.Is(err, streamhub.ErrFenced) ||
		errors.Is(err, streamhub.ErrNotFound) || errors.Is(err, streamhub.ErrHistoryLost)
}

// finish ends a generation of another producer: v becomes its verdict unless it has one. It returns the verdict that
// the generation has, and may be repeated.
//
// A generation whose producer died between session and segment has no segment. It is created closed: readers that wait
// for it get a verdict too, and a producer that was only slow is refused when it creates the segment.
func (s *Stream) finish(ctx context.Context, v streamhub.Verdict) (streamhub.Verdict, error) {
	for range registerTries {
		_, err := s.log.CloseSegment(ctx, s.space, s.segment(), v, &streamhub.AppendOptions{Generation: s.generation})
		if errors.Is(err, streamhub.ErrNotFound) {
			// The segment does not exist yet, or no longer exists.
			if _, err = s.log.Status(ctx, s.space, s.segment()); err == nil {
				continue
			}
			if errors.Is(err, streamhub.ErrNotFound) && !errors.As(err, new(*streamhub.DeletedError)) {
				var created bool
				// A verdict is written even if the store is over its quota: without it readers would wait for ever.
				_, created, err = s.log.Exempt().Create(ctx, s.space, s.segment(), &streamhub.CreateOptions{Closed: &v, Generation: s.generation})
				if err == nil && !created || errors.Is(err, streamhub.ErrConflict) {
					continue
				}
			}
		}
		var closed *streamhub.ClosedError
		if errors.As(removal(err), &closed) {
			v, err = closed.Verdict, nil
		}
		if err != nil && !errors.Is(err, streamhub.ErrNotConfirmed) {
			return v, err
		}
		return v, redisx.Unsure(s.conclude(ctx, v, s.keep(ctx))) // the verdict is written
	}
	return v, fmt.Errorf("%w: its segment is created and deleted all the time by another program", streamhub.ErrConflict)
}

// keep returns how long the generation can be read after its end. The session says what the producer asked for, of the
// current generation and of the one that it took over from.
func (s *Stream) keep(ctx context.Context) time.Duration {
	d, err := s.describe(ctx, s.id)
	switch {
	case err == nil && d.generation == s.generation:
		return time.Duration(d.keep) * time.Millisecond
	case err == nil && d.before == s.generation:
		return time.Duration(d.keepBefore) * time.Millisecond
	}
	return s.m.opt.EndedTTL
}

// pastLoss makes a write that does not depend on the entries before it. After Redis has lost entries, the first write
// of a hub that knew them fails once with ErrHistoryLost and changes nothing, so it is made again.
func pastLoss(write func() error) error {
	err := write()
	if errors.Is(err, streamhub.ErrHistoryLost) {
		err = write()
	}
	return err
}

// conclude cleans up after a generation that has its verdict. It may be repeated: an instance that finds a generation
// without a complete cleanup calls it again. The session is settled last, because other instances find the rest through
// it.
func (s *Stream) conclude(ctx context.Context, v streamhub.Verdict, keep time.Duration) error {
	err := pastLoss(func() error {
		_, err := s.log.CloseSegment(ctx, s.space, s.backLane(), v, &streamhub.AppendOptions{Generation: s.generation})
		return err
	})
	if err != nil && !hasEnded(err) && !errors.Is(err, streamhub.ErrNotConfirmed) {
		return err
	}
	for _, segment := range []string{s.segment(), s.backLane()} {
		if _, err := s.log.Retain(ctx, s.space, segment, keep); err != nil && !hasEnded(err) {
			return err
		}
	}
	_, err = s.run(ctx, settleScript, s.id, s.counts(s.id, s.generation), redisx.Escape(s.id), decimal(s.generation), "keep")
	return err
}

// Remove implements [live.Streams].
func (s *Streams) Remove(ctx context.Context, id string) error {
	return s.fail("remove", id, s.remove(ctx, id, 0))
}

// RemoveGeneration is Remove for one generation: a later one stays.
func (s *Streams) RemoveGeneration(ctx context.Context, id string, generation uint64) error {
	return s.fail("remove", id, s.remove(ctx, id, generation))
}

// remove ends the generation before it deletes it, so that readers get the verdict deleted, and no gap.
func (s *Streams) remove(ctx context.Context, id string, generation uint64) error {
	d, err := s.describe(ctx, id)
	if errors.Is(err, streamhub.ErrNotFound) || err == nil && generation != 0 && d.generation != generation {
		return nil
	}
	if err != nil {
		return err
	}
	stream := s.at(id, d.generation)
	if _, err := stream.finish(ctx, streamhub.Verdict{Kind: streamhub.VerdictDeleted, Reason: "removed"}); err != nil {
		return err
	}
	for _, segment := range []string{stream.segment(), stream.backLane()} {
		if err := s.log.Delete(ctx, s.space, segment, "removed"); err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return redisx.Unsure(err) // the generation has ended
		}
	}
	_, err = s.run(ctx, settleScript, id, s.counts(id, d.generation), redisx.Escape(id), decimal(d.generation), "remove")
	return redisx.Unsure(err)
}

// successor is the output of the verdict superseded.
type successor struct {
	Generation uint64 `json:"generation"`
}

// supersededBy is the verdict of a generation that another one replaced. Its output names the new generation, so that
// readers can continue there.
func supersededBy(generation uint64) streamhub.Verdict {
	output, _ := json.Marshal(successor{generation}) // cannot fail for a number
	return streamhub.Verdict{
		Kind: streamhub.VerdictSuperseded, Reason: "generation " + decimal(generation) + " took over", Output: output,
	}
}

// producing converts the error of a generation for its producer. A superseded generation gives a FencedError with the
// current generation. A deleted or expired segment gives its verdict. A segment that vanished gives ErrHistoryLost.
func producing(err error, generation uint64) error {
	err = removal(err)
	if errors.Is(err, streamhub.ErrNotFound) {
		return &streamhub.HistoryLostError{FirstLost: 1}
	}
	var closed *streamhub.ClosedError
	if errors.As(err, &closed) && closed.Verdict.Kind == streamhub.VerdictSuperseded {
		var by successor
		if json.Unmarshal(closed.Verdict.Output, &by) == nil {
			return fenced(by.Generation, generation)
		}
	}
	return err
}

// fenced returns the error for a producer when another generation is current. Generations only grow, so a current one
// that is not higher means that Redis has lost the producer's generation.
func fenced(current, got uint64) error {
	if current <= got {
		return &streamhub.HistoryLostError{FirstLost: 1}
	}
	return &streamhub.FencedError{Current: current, Got: got}
}

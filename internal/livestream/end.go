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

// end writes the verdict after every chunk that was published. Chunks that come meanwhile wait for what comes of it: if
// the verdict cannot be written the producer goes on, and they follow in their order.
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
	p.told.Do(func() {}) // it has stopped by itself
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

// write makes v the verdict of the generation, which may take several attempts. The id of an attempt whose outcome is
// unknown is kept, also for the next call of End with the same verdict: it is recognised as a repeat, and not told
// that the generation has ended already.
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

// hasEnded reports whether err says that a generation has ended or is not there, so that its producer
// must stop.
func hasEnded(err error) bool {
	return errors.Is(err, streamhub.ErrClosed) || errors.Is(err, streamhub.ErrFenced) ||
		errors.Is(err, streamhub.ErrNotFound) || errors.Is(err, streamhub.ErrHistoryLost)
}

// finish ends a generation from outside: v is its verdict unless it has one. It returns the verdict
// that the generation has, and may be repeated.
//
// A generation whose producer died between session and segment has no segment. It is created closed: readers that wait
// for it get a verdict as well, and the producer, if it is only late, is refused when it creates the segment.
func (s *Stream) finish(ctx context.Context, v streamhub.Verdict) (streamhub.Verdict, error) {
	for range registerTries {
		_, err := s.log.CloseSegment(ctx, s.space, s.segment(), v, &streamhub.AppendOptions{Generation: s.generation})
		if errors.Is(err, streamhub.ErrNotFound) {
			// There is none yet, or not any more.
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
		// The session knows what its producer asked for, unless another generation has replaced it.
		keep := s.m.opt.EndedTTL
		if d, err := s.describe(ctx, s.id); err == nil && d.generation == s.generation {
			keep = time.Duration(d.keep) * time.Millisecond
		}
		return v, redisx.Unsure(s.conclude(ctx, v, keep)) // the verdict is written
	}
	return v, fmt.Errorf("%w: its segment is created and deleted all the time by another program", streamhub.ErrConflict)
}

// conclude does what is left to do for a generation that has its verdict. Whatever of it is missing
// is done by the instance that notices, so it may be repeated. The session goes last: it is what an instance finds
// the rest by.
func (s *Stream) conclude(ctx context.Context, v streamhub.Verdict, keep time.Duration) error {
	var err error
	for range 2 { // a hub that had stored messages which Redis has lost is told so once, and has closed nothing
		_, err = s.log.CloseSegment(ctx, s.space, s.backLane(), v, &streamhub.AppendOptions{Generation: s.generation})
		if !errors.Is(err, streamhub.ErrHistoryLost) {
			break
		}
	}
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
			return redisx.Unsure(err) // it has ended
		}
	}
	_, err = s.run(ctx, settleScript, id, s.counts(id, d.generation), redisx.Escape(id), decimal(d.generation), "remove")
	return redisx.Unsure(err)
}

// successor is the output of the verdict superseded.
type successor struct {
	Generation uint64 `json:"generation"`
}

// supersededBy is the verdict of a generation that another one replaced. Its output names that one,
// so that readers can go on there.
func supersededBy(generation uint64) streamhub.Verdict {
	output, _ := json.Marshal(successor{generation}) // a number
	return streamhub.Verdict{
		Kind: streamhub.VerdictSuperseded, Reason: "generation " + decimal(generation) + " took over", Output: output,
	}
}

// producing turns what became of a generation into what its producer is told: where it was
// superseded, the generation in force; where its segment was deleted or has expired, that verdict; where it has vanished, that.
func producing(err error, generation uint64) error {
	err = removal(err)
	if errors.Is(err, streamhub.ErrNotFound) {
		return &streamhub.HistoryLostError{FirstLost: 1}
	}
	var closed *streamhub.ClosedError
	if errors.As(err, &closed) && closed.Verdict.Kind == streamhub.VerdictSuperseded {
		var by successor
		if json.Unmarshal(closed.Verdict.Output, &by) == nil {
			return &streamhub.FencedError{Current: by.Generation, Got: generation}
		}
	}
	return err
}

// fenced is what a producer is told of the generation in force. Generations only grow, so one that is not later
// says that Redis has lost that of the producer.
func fenced(current, got uint64) error {
	if current <= got {
		return &streamhub.HistoryLostError{FirstLost: 1}
	}
	return &streamhub.FencedError{Current: current, Got: got}
}

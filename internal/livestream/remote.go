package livestream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

// remoteSilence is how long a remote producer may be silent, in heartbeats. It is longer than for a producer in a
// process, so that the producer survives the restart of a gateway.
const remoteSilence = 6

// A remote is a producer without state in any process. Every call presents its token again.
type remote struct {
	*Stream
	// owner is the secret part of the token; the session in Redis holds it.
	owner string
	// silence is how long the producer may send no request before its generation is lost, from the session.
	silence time.Duration
}

// Start implements [live.Streams].
func (s *Streams) Start(ctx context.Context, id string, options *live.RegisterOptions) (live.RemoteProducer, live.Stream, error) {
	o := live.RegisterOptions{}
	if options != nil {
		o = *options
	}
	if o.OnCancel != nil || o.CancelUnwatched != 0 || o.IdleTTL != 0 {
		err := fmt.Errorf("%w: OnCancel, CancelUnwatched and IdleTTL are for a producer in a process", streamhub.ErrInvalidArgument)
		return nil, nil, s.fail("start", id, err)
	}
	silence := remoteSilence * s.m.opt.Heartbeat
	begun, current, err := s.register(ctx, id, &o, silence)
	switch {
	case err != nil:
		return nil, nil, s.fail("start", id, err)
	case current != nil:
		return nil, current, nil
	}
	s.m.touch(s)
	return &remote{begun.Stream, begun.owner, silence}, nil, nil
}

// Resume implements [live.Streams].
func (s *Streams) Resume(ctx context.Context, id, token string) (live.RemoteProducer, error) {
	r, err := s.resume(ctx, id, token)
	if err != nil {
		return nil, s.fail("resume", id, err)
	}
	return r, nil
}

// resume parses a token, "<generation in base 36>.<owner>", and checks it against the session. That also counts as a
// heartbeat.
func (s *Streams) resume(ctx context.Context, id, token string) (*remote, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	head, owner, ok := strings.Cut(token, ".")
	// Generations stay below 2^53, beyond which the numbers of Lua are not exact.
	generation, err := strconv.ParseUint(head, 36, 53)
	if !ok || err != nil || owner == "" || len(owner) > 64 {
		return nil, errToken
	}
	r := &remote{Stream: s.at(id, generation), owner: owner}
	s.m.touch(s)
	return r, r.hold(ctx, "")
}

var errToken = fmt.Errorf("%w: this is not the token of a producer of the stream", streamhub.ErrPermissionDenied)

// hold checks the owner against the session and renews the deadline. silence, in milliseconds, replaces the allowed
// silence if it is not empty. An error says why the caller is no longer the producer.
func (r *remote) hold(ctx context.Context, silence string) error {
	if err := r.m.checkOpen(); err != nil {
		return err
	}
	code, n, err := r.ask(ctx, holdScript, r.id, "", redisx.Escape(r.id), decimal(r.generation), r.owner, silence)
	switch {
	case err != nil:
		return err
	case code == "+":
		r.silence = time.Duration(n[0]) * time.Millisecond
		return nil
	case code == "DENIED":
		return errToken
	}
	err = r.refused(ctx, code, n[0])
	if code == "ABSENT" && errors.Is(err, streamhub.ErrNotFound) && !removed(err) {
		return streamhub.ErrNotFound // the generation to which the token belonged is gone
	}
	return producing(err, r.generation)
}

// removed reports whether err means that a generation was removed, as opposed to expired.
func removed(err error) bool {
	var deleted *streamhub.DeletedError
	return errors.As(err, &deleted) && deleted.Verdict.Kind == streamhub.VerdictDeleted
}

// refused returns the error for a generation that a script found not to be current. The segment says how the generation
// ended, even if the session is gone or belongs to another generation. next is the number that came with FENCED.
func (s *Stream) refused(ctx context.Context, code string, next uint64) error {
	status, err := s.log.Status(ctx, s.space, s.segment())
	v := status.Verdict
	switch {
	case err != nil && !hasEnded(err):
		return err // the segment cannot be read now
	case code == "FENCED" && (v == nil || v.Kind == streamhub.VerdictSuperseded):
		return fenced(next, s.generation)
	case err != nil:
		return err
	case v == nil && code == "ABSENT": // the next sweep ends it
		return streamhub.ErrNotFound
	case v == nil: // ended in the session only: its verdict is still to be written
		lost, err := s.finish(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "the producer was silent"})
		if err != nil {
			return err
		}
		v = &lost
	}
	return &streamhub.ClosedError{Verdict: *v, LastSequence: status.LastSequence}
}

func (r *remote) Token() string { return strconv.FormatUint(r.generation, 36) + "." + r.owner }

func (r *remote) Silence() time.Duration { return r.silence }

func (r *remote) Publish(ctx context.Context, first uint64, chunks [][]byte) (uint64, error) {
	next, err := r.publish(ctx, first, chunks)
	return next, r.fail("publish", r.id, err)
}

// publish appends chunks at the sequence first. If the segment is already beyond first, this is a repeat: stored chunks
// are skipped, and the rest is appended. If the segment ends before first, the error says which chunk is missing.
func (r *remote) publish(ctx context.Context, first uint64, chunks [][]byte) (uint64, error) {
	if first == 0 {
		return 0, fmt.Errorf("%w: first is 0, and chunks are numbered from 1", streamhub.ErrInvalidArgument)
	}
	records := make([]streamhub.Record, len(chunks))
	for i, chunk := range chunks {
		if len(chunk) > r.m.opt.MaxChunkBytes {
			return 0, fmt.Errorf("%w: chunk %d has %d bytes, the limit is %d", streamhub.ErrTooLarge, first+uint64(i), len(chunk), r.m.opt.MaxChunkBytes)
		}
		records[i].Payload = chunk
	}
	for {
		result, err := r.log.Append(ctx, r.space, r.segment(), records, &streamhub.AppendOptions{
			Generation: r.generation, MustExist: true, ExpectedSequence: first,
		})
		var elsewhere *streamhub.SequenceError
		switch {
		case err == nil || errors.Is(err, streamhub.ErrNotConfirmed):
			r.m.chunks.Add(int64(len(records)))
			return result.Last + 1, nil
		case !errors.As(err, &elsewhere):
			return 0, producing(err, r.generation)
		case elsewhere.Expected < first:
			return elsewhere.Expected, err
		case elsewhere.Expected-first >= uint64(len(records)):
			return elsewhere.Expected, nil // all chunks are repeats
		}
		// The stored chunks are not compared: only this producer has the token.
		records, first = records[elsewhere.Expected-first:], elsewhere.Expected
	}
}

func (r *remote) Beat(ctx context.Context) (uint64, error) {
	next, err := r.beat(ctx)
	return next, r.fail("beat", r.id, err)
}

// beat keeps the generation alive and returns the number of the next chunk.
func (r *remote) beat(ctx context.Context) (uint64, error) {
	if err := r.hold(ctx, ""); err != nil {
		return 0, producing(err, r.generation)
	}
	if err := r.overdue(ctx); err != nil {
		return 0, err
	}
	status, err := r.log.Status(ctx, r.space, r.segment())
	if err != nil {
		return 0, producing(err, r.generation)
	}
	return status.LastSequence + 1, nil
}

// overdue ends a generation whose producer was asked to stop and has not stopped within the grace. It reads only the
// request to stop from the back lane, because every heartbeat calls it, and the messages may be many and large.
func (r *remote) overdue(ctx context.Context) error {
	back, err := r.log.Status(ctx, r.space, r.backLane())
	if err != nil || back.LastSequence == 0 {
		return producing(err, r.generation)
	}
	asked, err := r.log.LastOf(ctx, r.space, r.backLane(), controlCancel)
	if err != nil || asked == 0 {
		return err
	}
	// Requests have timestamps of Redis, so their age is computed with the time of Redis.
	now, err := r.log.Now(ctx)
	if err != nil {
		return err
	}
	for e, err := range r.log.ConsumeSegment(ctx, r.space, r.backLane(), &streamhub.ReadOptions{FromSequence: asked, ToSequence: asked}) {
		switch {
		case err != nil:
			return producing(err, r.generation)
		case e.Metadata[controlKey] != controlCancel || millis.Time(now).Sub(e.Timestamp) <= r.m.opt.CancelGrace:
			return nil
		}
		v, err := r.finish(ctx, (&live.CancelError{By: e.Metadata[byKey], Reason: e.Metadata[reasonKey]}).Verdict())
		if err != nil {
			return err
		}
		return producing(&streamhub.ClosedError{Verdict: v}, r.generation)
	}
	return nil
}

func (r *remote) SetMetadata(ctx context.Context, metadata json.RawMessage) error {
	if !json.Valid(metadata) {
		return r.fail("set metadata", r.id, fmt.Errorf("%w: the metadata is not JSON", streamhub.ErrInvalidArgument))
	}
	return r.fail("set metadata", r.id, r.setMetadata(ctx, metadata))
}

func (r *remote) Messages(ctx context.Context, after uint64) iter.Seq2[live.Message, error] {
	return r.messages(ctx, after, true)
}

func (r *remote) End(ctx context.Context, v streamhub.Verdict) (streamhub.Verdict, error) {
	v, err := r.end(ctx, v)
	return v, r.fail("end", r.id, err)
}

// end writes a verdict, unless there is one: a repeat after a lost reply gets the verdict that was
// stored.
func (r *remote) end(ctx context.Context, v streamhub.Verdict) (streamhub.Verdict, error) {
	if err := verdict.Check(v); err != nil {
		return v, err
	}
	if err := r.m.checkOpen(); err != nil {
		return v, err
	}
	// A segment that has vanished is not created again only to be closed.
	if _, err := r.log.Status(ctx, r.space, r.segment()); err != nil {
		var closed *streamhub.ClosedError
		if err = producing(err, r.generation); errors.As(err, &closed) {
			return closed.Verdict, nil
		}
		return v, err
	}
	v, err := r.finish(ctx, v)
	if err == nil && v.Kind == streamhub.VerdictSuperseded {
		err = producing(&streamhub.ClosedError{Verdict: v}, r.generation)
	}
	return v, err
}

// HandOver implements [live.Producer].
func (p *Producer) HandOver(ctx context.Context) (token string, next uint64, err error) {
	token, next, err = p.handOver(ctx)
	return token, next, p.fail("hand over", p.id, err)
}

// handOver stores the pending chunks, extends the deadline to the silence of a remote producer, and stops this
// producer. The hold comes before the stop, so that the generation is not lost in between.
func (p *Producer) handOver(ctx context.Context) (string, uint64, error) {
	p.mu.Lock()
	if err := p.admit(ctx, math.MaxInt); err != nil {
		p.mu.Unlock()
		return "", 0, err
	}
	// Chunks that are published from here on get the error of the hand-over, or are sent if it fails.
	p.ending = true // Publish waits
	p.m.hurry()
	err := p.drain(ctx)
	p.mu.Unlock()
	r := &remote{Stream: p.Stream, owner: p.owner}
	if err == nil {
		err = r.hold(ctx, decimal(uint64((remoteSilence * p.m.opt.Heartbeat).Milliseconds())))
	}
	if err != nil {
		p.mu.Lock()
		p.ending = false
		p.notify()
		p.mu.Unlock()
		return "", 0, err
	}
	// From here on this process sends no heartbeat and no chunk.
	p.told.Do(func() {}) // OnCancel is not called: a hand-over is no request to stop
	p.stop(errHandedOver)
	status, err := p.log.Status(ctx, p.space, p.segment())
	if err != nil {
		return "", 0, producing(err, p.generation)
	}
	return r.Token(), status.LastSequence + 1, nil
}

var errHandedOver = fmt.Errorf("%w: the generation was handed over: its new producer goes on", streamhub.ErrFenced)

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// errExists is the answer to a create-only append.
var errExists = errors.New("the segment exists")

// What follows runs under appender.mu, unless it says otherwise.

// answered deals with what the script said of one frame.
func (a *appender) answered(f *flight, answer string, unconfirmed error) {
	code, rest, _ := strings.Cut(answer, " ")
	var err error
	switch code[0] {
	case '+', 'R':
		stored, err := parseStored(code, rest)
		if err != nil {
			a.refuse(f, err)
			return
		}
		f.pinned = true
		if f.own {
			f.seq++
			f.doubt = nil // had it been stored, this one would have been refused
		}
		a.stored(f, stored, unconfirmed)
		return
	}
	switch code {
	case "K0", "K1":
		r := streamhub.AppendResult{Created: code == "K1"}
		if err = parseNumbers(rest, &r.First, &r.Last); err == nil {
			f.requests[0].result = r
			a.land(f)
			return
		}
	case "OTHER":
		a.adopt(f, rest)
		return
	case "EXPIRED":
		a.expire(f, rest)
		return
	case "LOST":
		err = &streamhub.HistoryLostError{FirstLost: 1}
		a.forget(f, err)
		return
	case "GONE":
		a.forget(f, goneError(rest))
		return
	case "EXISTS":
		err = errExists
	case "ABSENT", "PARENT":
		err = streamhub.ErrNotFound
		if f.unknown {
			err = &streamhub.UnknownOutcomeError{TRX: f.requests[0].id, Err: f.cause}
		}
	case "DISAGREE":
		err = fmt.Errorf("%w: meta and log disagree", streamhub.ErrCorrupt)
	case "CLOSED":
		err = closedError(rest)
	case "CONTENT":
		err = fmt.Errorf("%w: content type %q", streamhub.ErrConflict, rest)
	case "STREAMSEQ":
		err = fmt.Errorf("%w: stream sequence is not greater than the last", streamhub.ErrConflict)
	case "FENCED":
		e := &streamhub.FencedError{Got: f.requests[0].generation}
		if err = parseNumbers(rest, &e.Current); err == nil {
			err = e
		}
	case "SEQUENCE":
		e := &streamhub.SequenceError{Got: f.requests[0].expect}
		if err = parseNumbers(rest, &e.Expected); err == nil {
			err = e
		}
	case "GAP":
		if f.own && !f.unknown {
			// The row of this process was pruned while it was idle.
			a.renew(f.tail)
			f.address(a)
			a.enqueue(f)
			return
		}
		err = producerError(streamhub.ErrProducerGap, rest, 0)
	case "EPOCH":
		err = producerError(streamhub.ErrProducerFenced, rest, 1)
	case "OLD":
		err = producerError(streamhub.ErrUnknownOutcome, rest, 1)
	case "MISMATCH":
		if f.own && f.doubt != nil && a.resolve(f, rest) {
			return
		}
		err = producerError(streamhub.ErrBatchMismatch, rest, 1)
	default:
		err, _ = scriptError(answer)
	}
	a.refuse(f, err)
}

// A storedFrame is where a frame went.
type storedFrame struct {
	first, last, number, generation, lineage uint64
	timestamp                                int64
	created, closed, repeated                bool
	id                                       uuid.UUID // of a repeat: the id that it was stored with
}

func parseStored(code, rest string) (s storedFrame, err error) {
	s.repeated = code[0] == 'R'
	s.created = !s.repeated && code[1] == '1'
	s.closed = code[len(code)-1] == '1'
	numbers, tail, _ := cutN(rest, ' ', 5)
	if err = parseNumbers(numbers, &s.first, &s.last, &s.number, &s.timestamp, &s.generation); err == nil && len(tail) >= 16 {
		s.lineage, err = parseHex16(tail[:16])
		if s.repeated && len(tail) == 16+1+16 {
			copy(s.id[:], tail[17:])
		}
	}
	if err != nil || len(tail) < 16 {
		return s, fmt.Errorf("%w: answer %q", streamhub.ErrCorrupt, rest)
	}
	return s, nil
}

// stored gives each request of the frame its part of the answer.
func (a *appender) stored(f *flight, s storedFrame, unconfirmed error) {
	f.results(s, unconfirmed)
	a.land(f)
	if s.created {
		k := f.spaceKeys
		a.log.start(func() {
			if err := a.log.registerSpaces(a.log.ctx, []spaceKeys{k}); err != nil {
				a.log.opt.Logger.Warn("space not listed", "store", k.store, "space", k.space, "err", err)
			}
		})
	}
}

func (f *flight) results(s storedFrame, err error) {
	next := s.first
	for i, r := range f.requests {
		r.result = streamhub.AppendResult{
			First: next, Last: next + uint64(r.records) - 1, Timestamp: s.timestamp,
			TRX:      streamhub.TRX{ID: r.id, Node: f.node, Number: s.number - uint64(len(f.requests)-1-i)},
			Repeated: s.repeated, Created: s.created, Closed: s.closed, Generation: s.generation,
		}
		if s.repeated && r.producer != nil {
			r.result.TRX.ID = s.id
		}
		next += uint64(r.records)
		r.result.Position = streamhub.Position{
			Incarnation: f.incarnation, Lineage: s.lineage, Sequence: r.result.Last, Proof: proofOf(r.result.TRX.ID),
		}
		r.err = err
	}
}

// land ends the flight; its requests have their answers.
func (a *appender) land(f *flight) {
	for _, r := range f.requests {
		r.body = nil
		close(r.done)
	}
	f.busy = false
	a.list(f.tail)
	if len(f.queue) > 0 {
		a.wake(a.lane(f.place, f.queue[0].durability))
	}
}

// refuse ends the flight with err for all of its requests.
func (a *appender) refuse(f *flight, err error) {
	for _, r := range f.requests {
		r.err = err
	}
	a.land(f)
}

// forget refuses the flight and everything behind it: the segment is not the one that it was sent
// to. What is appended from now on is meant for the one that is there then.
func (a *appender) forget(f *flight, err error) {
	for _, r := range f.queue {
		r.err = err
		close(r.done)
	}
	f.queue = nil
	a.reset(f.tail)
	a.refuse(f, err)
}

// resolve learns from the row of the appender's own producer that the frame in doubt was stored.
// What f carries is sent under the next number, save what the other frame has stored.
func (a *appender) resolve(f *flight, rest string) bool {
	_, facts, _ := cutN(rest, ' ', 2) // the epoch and seq are ours
	facts, digest, _ := cutN(facts, ' ', 6)
	s, err := parseStored("R0", facts)
	if err != nil || len(digest) != 8 || digest[:4] != string(f.doubt.frame[checksumOffset:checksumOffset+4]) {
		return false
	}
	doubt := f.doubt
	doubt.results(s, nil)
	f.doubt = nil
	f.seq++
	f.pinned = true
	left := f.requests[:0]
	for _, r := range f.requests {
		old := doubt.request(r.id)
		if old == nil {
			left = append(left, r)
			continue
		}
		r.result, r.err = old.result, nil
		close(r.done)
	}
	if f.requests = left; len(left) == 0 {
		a.land(f)
		return true
	}
	f.encode(a.log.opt.Node)
	f.address(a)
	a.enqueue(f)
	return true
}

func (f *flight) request(id uuid.UUID) *request {
	for _, r := range f.requests {
		if r.id == id {
			return r
		}
	}
	return nil
}

// adopt goes on with the incarnation that the script found, once its meta and log were compared.
func (a *appender) adopt(f *flight, incarnation string) {
	id, err := parseHex16(incarnation)
	if err != nil {
		a.refuse(f, fmt.Errorf("%w: incarnation %q", streamhub.ErrCorrupt, incarnation))
		return
	}
	a.background(f, func(ctx context.Context) error {
		err := a.log.compare(ctx, f.place, id)
		if err == nil {
			a.mu.Lock()
			f.incarnation, f.pinned = id, true
			f.address(a)
			a.mu.Unlock()
		}
		return err
	})
}

// expire sweeps the segment whose deadline has passed and sends the frame again.
func (a *appender) expire(f *flight, incarnation string) {
	id, err := parseHex16(incarnation)
	if err != nil {
		a.refuse(f, fmt.Errorf("%w: incarnation %q", streamhub.ErrCorrupt, incarnation))
		return
	}
	a.background(f, func(ctx context.Context) error { return a.log.expire(ctx, f.place, id) })
}

// background does something for the flight, without the lock, and then sends it again or fails it.
func (a *appender) background(f *flight, do func(ctx context.Context) error) {
	started := a.log.start(func() {
		err := do(a.log.ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.failed([]*flight{f}, err)
			return
		}
		a.enqueue(f)
	})
	if !started {
		a.refuse(f, streamhub.ErrShutdown)
	}
}

// enqueue sends the flight with the next batch of its lane.
func (a *appender) enqueue(f *flight) {
	l := a.lane(f.place, f.requests[0].durability)
	l.again = append(l.again, f)
	a.wake(l)
}

// resend sends flights again that the server did not look at.
func (a *appender) resend(flights []*flight) {
	for _, f := range flights {
		a.enqueue(f)
	}
}

// failed deals with flights that have no answer: they are sent again until their time is over.
func (a *appender) failed(flights []*flight, err error) {
	var unavailable *streamhub.UnavailableError
	var unknown *streamhub.UnknownOutcomeError
	for _, f := range flights {
		patient := true
		switch {
		case errors.As(err, &unknown):
			f.unknown, f.cause = true, unknown.Err
		case errors.As(err, &unavailable):
			patient = unavailable.Reason != streamhub.ReasonFull && unavailable.Reason != streamhub.ReasonDenied
		case errors.Is(err, streamhub.ErrCorrupt):
			patient = false
		default: // a script that failed in the middle
			f.unknown, f.cause, patient = true, err, false
		}
		delay := min(500*time.Millisecond, 5*time.Millisecond<<min(f.attempt, 10))
		delay = delay/2 + rand.N(delay)
		f.attempt++
		if patient && time.Now().Add(delay).Before(f.until) && a.log.start(func() { a.later(f, delay) }) {
			continue
		}
		if !f.unknown {
			a.refuse(f, err)
			continue
		}
		if f.own {
			f.doubt = f
		}
		for _, r := range f.requests {
			r.err = &streamhub.UnknownOutcomeError{TRX: r.id, Err: f.cause}
		}
		a.land(f)
	}
}

// later enqueues the flight when delay is over. It runs without the lock.
func (a *appender) later(f *flight, delay time.Duration) {
	select {
	case <-time.After(delay):
	case <-a.log.ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enqueue(f)
}

// drop answers what the lane still holds when the log closes.
func (a *appender) drop(l *lane) {
	for _, g := range l.ready {
		g.listed = false
		for _, r := range g.queue {
			r.err = streamhub.ErrShutdown
			close(r.done)
		}
		g.queue = nil
	}
	for _, f := range l.again {
		for _, r := range f.requests {
			r.err = streamhub.ErrShutdown
			if f.unknown {
				r.err = &streamhub.UnknownOutcomeError{TRX: r.id, Err: f.cause}
			}
			close(r.done)
		}
		f.busy = false
	}
	l.ready, l.again = nil, nil
}

// closedError reads "<last> <verdict>".
func closedError(rest string) error {
	last, verdict, _ := strings.Cut(rest, " ")
	e := &streamhub.ClosedError{}
	v, err := parseVerdict(verdict)
	if err != nil {
		return err
	}
	e.Verdict = *v
	if err := parseNumbers(last, &e.LastSequence); err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrCorrupt, err)
	}
	return e
}

// producerError reads "<epoch> <seq> …"; the next seq is that plus ahead.
func producerError(kind error, rest string, ahead uint64) error {
	e := &streamhub.ProducerError{Kind: kind}
	if err := parseNumbers(rest, &e.Epoch, &e.ExpectedSeq); err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrCorrupt, err)
	}
	e.ExpectedSeq += ahead
	return e
}

// addWait asks, on the connection that carries the appends, for what d promises. The function it
// returns is called behind Exec and tells what was not reached.
func addWait(ctx context.Context, pipe redis.Pipeliner, d streamhub.Durability) func() error {
	if d.Replicas == 0 && !d.Fsync {
		return func() error { return nil }
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	ms := strconv.FormatInt(max(1, timeout.Milliseconds()), 10)
	if d.Fsync {
		wait := pipe.Do(ctx, "waitaof", 1, d.Replicas, ms)
		return func() error {
			got, err := wait.Int64Slice()
			if err == nil && len(got) == 2 && got[0] >= 1 && got[1] >= int64(d.Replicas) {
				return nil
			}
			return notConfirmed(err)
		}
	}
	wait := pipe.Do(ctx, "wait", d.Replicas, ms)
	return func() error {
		if got, err := wait.Int64(); err != nil || got < int64(d.Replicas) {
			return notConfirmed(err)
		}
		return nil
	}
}

func notConfirmed(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrNotConfirmed, err)
	}
	return streamhub.ErrNotConfirmed
}

// register lists the spaces of a batch that this process appends to for the first time. It runs
// without the lock.
func (a *appender) register(ctx context.Context, batch []*flight) {
	var fresh []spaceKeys
	a.mu.Lock()
	for _, f := range batch {
		if _, ok := a.listed[f.prefix]; !ok && !f.pinned {
			if len(a.listed) >= maxTails {
				clear(a.listed)
			}
			a.listed[f.prefix] = struct{}{}
			fresh = append(fresh, f.spaceKeys)
		}
	}
	a.mu.Unlock()
	if len(fresh) == 0 {
		return
	}
	if err := a.log.registerSpaces(ctx, fresh); err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, k := range fresh {
			delete(a.listed, k.prefix)
		}
	}
}

// registerSpaces writes the names that the lists of spaces and stores are made of. It may be
// repeated.
func (l *Log) registerSpaces(ctx context.Context, spaces []spaceKeys) error {
	_, err := l.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range spaces {
			p.ZAdd(ctx, spacesKey(k.store), redis.Z{Member: k.space})
			p.SAdd(ctx, storesKey, k.store.String())
		}
		return nil
	})
	return redisx.ReadOutcome(err)
}

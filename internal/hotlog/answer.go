package hotlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

var errAnswers = fmt.Errorf("%w: a script answered to another number of frames", streamhub.ErrCorrupt)

// The functions below run under appender.mu, unless they say otherwise.

// answeredShort handles the answer to a frame that went the short way: F and L say that it was stored, A that the head
// was not the one that this process saw, and D is DISAGREE of the long way.
func (a *appender) answeredShort(f *flight, answer byte, timestamp string, unconfirmed error) {
	switch answer {
	case 'F', 'L':
		stored, err := f.wentShort(timestamp)
		if err != nil {
			a.refuse(f, err, false)
			return
		}
		f.seq++
		f.saw(f.short)
		f.unheard = answer == 'F'
		a.stored(f, stored, unconfirmed)
	case 'A': // another writer was there
		f.rest = shortRest
		a.enqueue(f)
	case 'D':
		a.answered(f, "DISAGREE", unconfirmed)
	default:
		a.answered(f, string(rune(answer)), unconfirmed)
	}
}

// answered handles the answer to one frame; lua/append.lua lists the answers.
func (a *appender) answered(f *flight, answer string, unconfirmed error) {
	answer, err := f.readAdopted(answer)
	if err != nil {
		a.refuse(f, err, false)
		return
	}
	code, rest, _ := strings.Cut(answer, " ")
	switch {
	case strings.HasPrefix(code, "+"), strings.HasPrefix(code, "R"):
		a.answeredStored(f, code, rest, unconfirmed)
	case strings.HasPrefix(code, "K"):
		a.answeredCheck(f, code, rest)
	case !a.reroute(f, code, rest):
		err, final := refusalOf(f.requests[0], code, rest)
		a.refuse(f, err, final)
	}
}

// readAdopted records the incarnation that the script found and used, if the answer begins with one, and returns the
// rest of the answer.
func (f *flight) readAdopted(answer string) (string, error) {
	if len(answer) <= 17 || answer[0] != '~' {
		return answer, nil
	}
	id, err := parseHex16(answer[1:17])
	if err != nil {
		return "", fmt.Errorf("%w: answer %q", streamhub.ErrCorrupt, answer)
	}
	f.incarnation, f.pinned, f.adopted = id, true, true
	return answer[17:], nil
}

// answeredStored handles a frame that was stored, now or by an earlier attempt.
func (a *appender) answeredStored(f *flight, code, rest string, unconfirmed error) {
	stored, err := parseStored(code, rest)
	if err != nil {
		a.refuse(f, err, false)
		return
	}
	f.pinned = true
	if f.own {
		f.saw(stored.head(f))
		f.seq++
		f.doubts = nil // if one of them had been stored, this frame would have been refused
	}
	a.stored(f, &stored, unconfirmed)
}

// answeredCheck handles a check-only frame that would be stored. The quota is checked last, as for an append that
// stores.
func (a *appender) answeredCheck(f *flight, code, rest string) {
	r := streamhub.AppendResult{Created: code == "K1"}
	if err := parseNumbers(rest, &r.First, &r.Last); err != nil {
		a.refuse(f, err, false)
		return
	}
	if err := f.requests[0].overQuota; err != nil {
		a.refuse(f, err, true)
		return
	}
	a.finish(f.tail, f.requests[0], r, nil)
	a.land(f)
}

// reroute handles an answer that concerns the segment more than the frame: the segment is, or may be, another one than
// this process knew, or it cannot be written. It returns false for any other answer, which is a refusal.
func (a *appender) reroute(f *flight, code, rest string) bool {
	switch code {
	case "OTHER":
		a.adopt(f, rest)
	case "EXPIRED":
		a.expire(f, rest)
	case "DOUBT":
		a.doubted(f)
	case "LOST":
		a.gone(f, &streamhub.HistoryLostError{FirstLost: 1})
	case "GONE":
		a.gone(f, goneError(rest, false))
	case "HELD":
		err := goneError(rest, true)
		if f.opt.CreateOnly {
			err = fmt.Errorf("%w: it was deleted and its forks still read it: delete them first, or use another name", streamhub.ErrConflict)
		}
		a.forget(f, err)
	case "DISAGREE":
		a.disagrees(f)
	case "GAP":
		told := f.told()
		switch {
		case f.own:
			a.rowGone(f)
		case told.Sequence > 0 && told.Incarnation == f.incarnation:
			a.doubted(f) // the row of the producer may have been lost together with its appends
		default:
			return false
		}
	case "MISMATCH":
		if !f.own {
			return false
		}
		if !a.resolve(f, rest) {
			// The row was changed by a late copy of a refused frame, which does not concern this frame.
			a.renew(f.tail)
			a.enqueue(f)
		}
	default:
		return false
	}
	return true
}

// A storedFrame says where a frame was stored, from the answer of the script; see + and R in lua/append.lua.
type storedFrame struct {
	first, last, number, generation, lineage uint64
	timestamp                                int64
	created, closed, repeated                bool
	proof                                    uint64    // of the last entry, if the frame has no records
	id                                       uuid.UUID // for a repeat: the id with which it was stored
}

// parseStored reads an answer of code + or R: five numbers, the lineage in 16 hexadecimal digits, and
// perhaps the proof in 8 raw bytes and the id in 16.
func parseStored(code, rest string) (s storedFrame, err error) {
	s.repeated = code[0] == 'R'
	s.created = !s.repeated && code[1] == '1'
	s.closed = code[len(code)-1] == '1'
	numbers, tail, _ := cutN(rest, ' ', 5)
	if err = parseNumbers(numbers, &s.first, &s.last, &s.number, &s.timestamp, &s.generation); err == nil && len(tail) >= 16 {
		s.lineage, err = parseHex16(tail[:16])
		if len(tail) >= 24 {
			s.proof = binary.BigEndian.Uint64([]byte(tail[16:24]))
		}
		if len(tail) == 40 {
			copy(s.id[:], tail[24:])
		}
	}
	if err != nil || len(tail) < 16 {
		return s, fmt.Errorf("%w: answer %q", streamhub.ErrCorrupt, rest)
	}
	return s, nil
}

// stored gives each request of the frame its part of the answer.
func (a *appender) stored(f *flight, s *storedFrame, unconfirmed error) {
	answers := f.answers(s)
	a.log.quotas.count(f, s)
	for i, r := range f.requests {
		a.finish(f.tail, r, answers[i].result, unconfirmed)
	}
	at := answers[len(answers)-1].result.Position
	// A repeat may be older than the last acknowledged append. Moving the position back would hide the loss of that
	// one.
	older := s.repeated && at.Incarnation == f.position.Incarnation && at.Sequence < f.position.Sequence
	if !f.remote() && !older {
		f.position, f.mixed = at, !f.own
	}
	a.land(f)
	if s.created {
		k := f.spaceKeys
		a.log.tasks.Go(func() {
			if err := a.log.registerSpaces(a.log.ctx, []spaceKeys{k}); err != nil {
				a.log.opt.Logger.Warn("space not listed", "store", k.store, "space", k.space, "err", err)
			}
		})
	}
}

// land ends a flight whose requests have their answers. The next frame of the segment may be sent.
func (a *appender) land(f *flight) {
	f.busy = false
	a.wake(a.list(f.tail))
}

// refuse ends the flight with err for all of its requests. Unless the refusal is final, an earlier
// attempt without an answer leaves the outcome unknown; so does an earlier call under the same TRX id.
func (a *appender) refuse(f *flight, err error, final bool) {
	unknown := f.unknown && !final
	if unknown && f.own {
		f.doubtful(f)
	}
	if unknown && !f.pinned {
		// The segment may have been created with this incarnation and be lost before any answer. If it exists, the next
		// append finds it; otherwise the next one creates it with a new incarnation.
		f.incarnation = proofOf(newID())
	}
	// What the segment is or where it ends settles an earlier call too; every other answer leaves it in doubt.
	settled := errors.Is(err, streamhub.ErrNotFound) || errors.Is(err, streamhub.ErrHistoryLost) || errors.Is(err, streamhub.ErrSequenceMismatch)
	for _, r := range f.requests {
		if unknown || !final && !settled && f.doubted(r) {
			a.finish(f.tail, r, streamhub.AppendResult{}, unsettled(r, err))
		} else {
			a.finish(f.tail, r, streamhub.AppendResult{}, err)
		}
	}
	a.land(f)
}

// unsettled returns the error for r after err, which does not say whether an earlier attempt stored r.
func unsettled(r *request, err error) error {
	if streamhub.CodeOf(err) != streamhub.CodeInternal {
		err = errors.New(err.Error()) // a wrapped sentinel would claim that nothing happened
	}
	return &streamhub.UnknownOutcomeError{TRX: r.id, Err: err}
}

// gone handles a segment that is no longer the one for which the frame was meant. A frame that may create the segment,
// or that was not bound to an incarnation, creates the next one.
func (a *appender) gone(f *flight, err error) {
	if f.remote() && !f.unknown && f.pinned {
		// The caller gets its error; only the state of this process is in doubt.
		a.abandon(f.tail, err)
		f.adopted, f.opt.MustExist = false, f.opt.MustExist || f.requests[0].incarnation != 0
		a.enqueue(f)
		return
	}
	if f.unknown || !f.adopted && !f.opt.CreateOnly {
		a.forget(f, err)
		return
	}
	if !f.adopted {
		a.flush(f.tail, err)
	}
	a.reset(f.tail)
	f.adopted = false
	a.enqueue(f)
}

// forget refuses the flight and, if it belongs to this process, everything queued after it: these appends were meant
// for a segment that no longer exists. Later appends are meant for the segment that exists then.
func (a *appender) forget(f *flight, err error) {
	if f.remote() {
		if f.unknown {
			a.abandon(f.tail, err)
		}
		a.refuse(f, err, false)
		return
	}
	a.flush(f.tail, err)
	a.refuse(f, err, false)
	a.reset(f.tail)
}

// abandon forgets the incarnation of a segment and proposes another one. If a caller of this process has appended to
// the old one, the next caller gets the error about the loss; see tail.owed.
func (a *appender) abandon(g *tail, err error) {
	if g.position != (streamhub.Position{}) {
		g.owed = err
	}
	a.reset(g)
}

// flush refuses the requests that are queued after the flight.
func (a *appender) flush(g *tail, err error) {
	for _, r := range g.queue {
		a.finish(g, r, streamhub.AppendResult{}, err)
	}
	g.queue = nil
}

// adopt continues with the incarnation that the script found, after its meta and log were compared: entries must not be
// added to a segment that a partial restore left behind. If possible the script does this itself; see mode '~' of
// lua/append.lua.
func (a *appender) adopt(f *flight, incarnation string) {
	if meant := f.requests[0].incarnation; meant != 0 && hex16(meant) != incarnation {
		// The loss does not concern what this process remembers.
		a.refuse(f, &streamhub.HistoryLostError{FirstLost: 1}, false)
		return
	}
	a.inspect(f, incarnation, func(ctx context.Context, id uint64) error {
		return a.log.compare(ctx, f.place, id)
	}, func(id uint64) {
		f.incarnation, f.pinned, f.adopted = id, true, true
	})
}

// expire ends the segment, whose deadline has passed.
func (a *appender) expire(f *flight, incarnation string) {
	a.inspect(f, incarnation, func(ctx context.Context, id uint64) error {
		return a.log.expire(ctx, f.place, id)
	}, func(uint64) {})
}

// rowGone finds out why the row of this process is missing or different: it was idle and removed, or the segment was
// lost or replaced.
func (a *appender) rowGone(f *flight) {
	position := f.position
	a.inspect(f, hex16(f.incarnation), func(ctx context.Context, id uint64) error {
		return a.log.verify(ctx, f.place, position)
	}, func(uint64) { a.renew(f.tail) })
}

// doubted finds out whether the last entry that the caller knows of was lost or replaced.
func (a *appender) doubted(f *flight) {
	known := f.told()
	a.inspect(f, hex16(f.incarnation), func(ctx context.Context, id uint64) error {
		return a.log.verify(ctx, f.place, known)
	}, func(uint64) { f.proved = true })
}

// inspect looks at the segment and, if look returns no error, calls goOn under the lock and sends the flight again.
func (a *appender) inspect(f *flight, incarnation string, look func(context.Context, uint64) error, goOn func(uint64)) {
	id, err := parseHex16(incarnation)
	if err != nil {
		a.refuse(f, fmt.Errorf("%w: incarnation %q", streamhub.ErrCorrupt, incarnation), false)
		return
	}
	a.unlocked(f, func(ctx context.Context) error { return look(ctx, id) }, func(err error) {
		switch {
		case err == nil:
			goOn(id)
			a.enqueue(f)
		case errors.Is(err, streamhub.ErrHistoryLost), errors.Is(err, streamhub.ErrNotFound):
			a.forget(f, err)
		case unknown(err), errors.Is(err, streamhub.ErrUnavailable):
			a.failed([]*flight{f}, &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: err})
		default:
			a.refuse(f, err, false)
		}
	})
}

// disagrees looks at the server again before it calls the segment corrupt: a write is refused too where the user has
// lost a right.
func (a *appender) disagrees(f *flight) {
	a.unlocked(f, func(ctx context.Context) error {
		a.log.conn.Doubt()
		return a.log.conn.Fresh(ctx)
	}, func(err error) {
		if err != nil {
			a.failed([]*flight{f}, err)
			return
		}
		err, final := refusalOf(f.requests[0], "DISAGREE", "")
		a.refuse(f, err, final)
	})
}

// unlocked calls look in a goroutine and without the lock, because look calls Redis, and then goOn under the lock with
// its result. The segment stays busy meanwhile, so nothing overtakes the flight. A log that is closing refuses it.
func (a *appender) unlocked(f *flight, look func(context.Context) error, goOn func(error)) {
	started := a.log.tasks.Go(func() {
		err := look(a.log.ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil && a.log.ctx.Err() != nil {
			a.refuse(f, streamhub.ErrShutdown, false)
			return
		}
		goOn(err)
	})
	if !started {
		a.refuse(f, streamhub.ErrShutdown, false)
	}
}

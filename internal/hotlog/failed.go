package hotlog

import (
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// failed handles flights without an answer: they are sent again until their time is over. It runs under appender.mu.
func (a *appender) failed(flights []*flight, err error) {
	var unavailable *streamhub.UnavailableError
	var lost *streamhub.UnknownOutcomeError
	patient, unknown, cause := true, false, err
	moving := redisx.Moving(err)
	switch {
	case errors.As(err, &lost):
		unknown, cause = true, lost.Err
	case errors.As(err, &unavailable):
		patient = pause.Worthwhile(err)
	case errors.Is(err, streamhub.ErrCorrupt), errors.Is(err, streamhub.ErrShutdown):
		patient = false
	default: // a script that failed in the middle: the user may have lost a right
		unknown, patient = true, false
		a.log.conn.Doubt()
	}
	for _, f := range flights {
		if unknown && !f.opt.CheckOnly {
			f.unknown, f.cause = true, cause
		}
		delay := min(500*time.Millisecond, 5*time.Millisecond<<min(f.attempt, 10))
		if moving {
			delay = f.wait()
		} else {
			f.attempt++
		}
		delay = pause.Jitter(delay)
		if patient && time.Now().Add(delay).Before(f.until) && a.log.tasks.Go(func() { a.later(f, delay) }) {
			continue
		}
		switch {
		case f.unknown:
			a.refuse(f, f.cause, false)
		case unknown: // a check stores nothing, so its outcome does not matter
			a.refuse(f, &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: cause}, true)
		default:
			a.refuse(f, err, false)
		}
	}
}

// wait returns the next pause of a flight whose slot moves. Such an attempt did nothing and does not count: the state
// of the flight is unchanged, and it may wait as long as a move may take.
func (f *flight) wait() time.Duration {
	if f.waits == 0 {
		if end := time.Now().Add(redisx.MoveTime); end.After(f.until) {
			f.until = end
		}
	}
	f.waits++
	return min(redisx.LongestMovePause, 5*time.Millisecond<<min(f.waits, 10))
}

// unsent handles flights that were not sent because of err.
func (a *appender) unsent(flights []*flight, err error) {
	if errors.Is(err, streamhub.ErrUnavailable) {
		a.failed(flights, err)
		return
	}
	for _, f := range flights {
		a.refuse(f, err, false)
	}
}

// later enqueues the flight when delay is over. It runs without the lock.
func (a *appender) later(f *flight, delay time.Duration) {
	pause.For(a.log.ctx, delay)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enqueue(f)
}

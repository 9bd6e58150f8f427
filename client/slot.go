package client

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// An append whose answer was lost is sent again through another gateway, which knows nothing of the
// first time. So each append without a producer of its caller's gets one of this provider's, which
// Redis remembers. A producer has one append under way at a time, because one that was refused does
// not use up its place in the order; so there are as many of them as appends to one segment at once.

const (
	// maxSlots is how many appends to one segment may be under way. More wait.
	maxSlots = 16
	// maxDoubts is how many appends of a segment are remembered that the caller may repeat.
	maxDoubts = 64
	// tailRest is how long the producers of a segment without appends are remembered.
	tailRest = 10 * time.Minute
	maxTails = 4096
)

type tailKey struct {
	store          uuid.UUID
	space, segment string
}

// A tail has the producers of one segment.
type tail struct {
	mu sync.Mutex
	// made counts every slot so far, and names the next one. free has the slots without an append under way.
	made   int
	free   []*slot
	places chan struct{} // one for each append under way
	// doubts are the slots of appends whose outcome is unknown, by TRX id: a repeat must have the same slot and seq,
	// or it would be stored twice.
	doubts map[uuid.UUID]*slot
	order  []uuid.UUID        // of doubts
	kept   []kept             // results of appends whose TRX id the caller chose
	known  streamhub.Position // after the last entry that a caller knows of
	used   time.Time          // guarded by WebSocketProvider.mu
	users  int                // guarded by WebSocketProvider.mu
}

// A slot is a producer and the place of its next append. It belongs to the append that has taken it.
type slot struct {
	id  string
	seq uint64
}

func (s *slot) producer() *streamhub.Producer {
	return &streamhub.Producer{ID: s.id, Seq: s.seq}
}

// tail returns the producers of a segment until release is called.
func (p *WebSocketProvider) tail(k tailKey) (t *tail, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if t = p.tails[k]; t == nil {
		if len(p.tails) >= maxTails {
			p.forget(now)
		}
		t = &tail{places: make(chan struct{}, maxSlots), doubts: map[uuid.UUID]*slot{}}
		p.tails[k] = t
	}
	t.users++
	return t, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.users--
		t.used = time.Now()
	}
}

// forget drops what was idle for long. The lock is held.
func (p *WebSocketProvider) forget(now time.Time) {
	for k, t := range p.tails {
		if t.users == 0 && now.Sub(t.used) > tailRest {
			delete(p.tails, k)
		}
	}
}

// enter takes a place for an append that is under way, and waits for one if wait is set. It reports
// whether it has one.
func (t *tail) enter(ctx context.Context, wait bool) bool {
	select {
	case t.places <- struct{}{}:
		return true
	default:
	}
	if !wait {
		return false
	}
	select {
	case t.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *tail) leave() { <-t.places }

// take returns the slot for an append: the one that it had before if it is repeated, or, if fresh is
// set, one that Redis has not seen.
func (t *tail) take(client string, trx uuid.UUID, fresh bool) *slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.doubts[trx]; s != nil {
		return s
	}
	if n := len(t.free); n > 0 && !fresh {
		s := t.free[n-1]
		t.free = t.free[:n-1]
		return s
	}
	t.made++
	// Redis forgets a producer whose id begins with "~" after a day without appends; see docs/protocol.md.
	return &slot{id: "~" + client + "-" + strconv.Itoa(t.made)}
}

// inDoubt reports whether an append may have been stored although its caller got no result.
func (t *tail) inDoubt(trx uuid.UUID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.doubts[trx] != nil
}

// putBack puts a slot back, or keeps it for the repeat of an append whose outcome is unknown. One
// that had a lost append is not used for others unless that was stored: a late copy could still
// take its place. It returns the error for the caller. again says that another slot should be
// tried: this one was forgotten by Redis because it was idle, or taken by such a copy.
func (t *tail) putBack(s *slot, trx uuid.UUID, err error) (again bool, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	doubtful := t.doubts[trx] != nil
	switch {
	case err == nil, errors.Is(err, streamhub.ErrNotConfirmed):
		s.seq++
		t.free = append(t.free, s)
	case errors.Is(err, streamhub.ErrUnknownOutcome), doubtful && !conclusive(err):
		if !doubtful {
			t.doubts[trx] = s
			if t.order = append(t.order, trx); len(t.order) > maxDoubts {
				delete(t.doubts, t.order[0])
				t.order = t.order[1:]
			}
		}
		if !errors.Is(err, streamhub.ErrUnknownOutcome) {
			// Nothing came of this attempt, but an earlier one may have been stored.
			err = &streamhub.UnknownOutcomeError{TRX: trx, Err: errors.New(err.Error())}
		}
		return false, err
	case errors.Is(err, streamhub.ErrProducerGap), errors.Is(err, streamhub.ErrBatchMismatch) && !doubtful:
		again = true
		t.free = nil // Redis has most likely forgotten the other slots as well
	case !doubtful:
		t.free = append(t.free, s)
	}
	if doubtful {
		delete(t.doubts, trx)
		t.order = slices.DeleteFunc(t.order, func(id uuid.UUID) bool { return id == trx })
	}
	return again, err
}

// knows returns the position that the gateway must find.
func (t *tail) knows() streamhub.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

// learn records the position of a stored append that was sent when known was the last position. If
// another caller has learned of a later position meanwhile, that one stays, so that its loss is still
// noticed.
func (t *tail) learn(known, position streamhub.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	same := position.Incarnation == t.known.Incarnation && position.Lineage == t.known.Lineage
	// The kept results belong to the earlier incarnation.
	if position.Incarnation != t.known.Incarnation && t.known.Incarnation != 0 {
		t.kept = nil
	}
	if same && position.Sequence > t.known.Sequence || !same && known == t.known {
		t.known = position
	}
}

// found records the position of a segment after a create. The caller knows only of its own records.
func (t *tail) found(position streamhub.Position, own bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !own {
		if position.Incarnation == t.known.Incarnation {
			return
		}
		position.Sequence, position.Proof = 0, 0
	}
	t.known, t.kept = position, nil
}

// forget drops a position after a caller got the error that it is lost.
func (t *tail) forget(known streamhub.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known == t.known {
		t.known, t.free, t.kept = streamhub.Position{}, nil, nil
	}
}

// conclusive reports whether the answer to a repeat says that no earlier attempt was stored, nor will
// be: Redis looks for the append before anything else, and what it then says will not change.
func conclusive(err error) bool {
	var sequence *streamhub.SequenceError
	return errors.Is(err, streamhub.ErrProducerGap) || errors.Is(err, streamhub.ErrProducerFenced) ||
		errors.Is(err, streamhub.ErrClosed) || errors.Is(err, streamhub.ErrFenced) || errors.Is(err, streamhub.ErrBatchMismatch) ||
		errors.As(err, &sequence) && sequence.Expected > sequence.Got
}

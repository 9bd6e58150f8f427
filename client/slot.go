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

// An append whose answer was lost is sent again through another gateway, which does not know of the first attempt. So
// an append whose caller names no producer gets one of this provider, which Redis remembers. A refused append does not
// use up its number, so a producer has one append in flight at a time. Concurrent appends to one segment need as many
// producers.

const (
	// maxSlots is how many appends to one segment may be in flight. Further ones wait.
	maxSlots = 16
	// maxDoubts is how many appends with an unknown outcome are remembered for each segment.
	maxDoubts = 64
	// tailRest is how long the producers of a segment are remembered after its last append.
	tailRest = 10 * time.Minute
	maxTails = 4096
)

type tailKey struct {
	store          uuid.UUID
	space, segment string
}

// A tail has the producers of the appends to one segment, and what the provider knows of its end.
type tail struct {
	mu sync.Mutex
	// made counts the slots so far, and names the next one. free has the slots without an append in flight.
	made   int
	free   []*slot
	places chan struct{} // one for each append in flight
	// doubts are the slots of appends whose outcome is unknown, by TRX id: a repeat must have the same slot and seq,
	// or it would be stored twice.
	doubts map[uuid.UUID]*slot
	order  []uuid.UUID // TRX ids of doubts, oldest first
	// making has the appends under way whose TRX id the caller chose. Two at a time with one id would get two slots, and
	// be stored twice.
	making map[uuid.UUID]*sending
	kept   []kept             // results of appends whose TRX id the caller chose
	known  streamhub.Position // position of the last entry that a caller knows of
	used   time.Time          // guarded by WebSocketProvider.mu
	users  int                // guarded by WebSocketProvider.mu
}

// A slot is a producer and the number of its next append. It belongs to the append that took it until putBack.
type slot struct {
	id  string
	seq uint64
}

func (s *slot) producer() *streamhub.Producer {
	return &streamhub.Producer{ID: s.id, Seq: s.seq}
}

// tail returns the tail of a segment, which is kept at least until release is called.
func (p *WebSocketProvider) tail(k tailKey) (t *tail, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if t = p.tails[k]; t == nil {
		if len(p.tails) >= maxTails {
			p.forget(now)
		}
		t = &tail{places: make(chan struct{}, maxSlots), doubts: map[uuid.UUID]*slot{}, making: map[uuid.UUID]*sending{}}
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

// forget drops tails that were idle for longer than tailRest. The lock is held.
func (p *WebSocketProvider) forget(now time.Time) {
	for k, t := range p.tails {
		if t.users == 0 && now.Sub(t.used) > tailRest {
			delete(p.tails, k)
		}
	}
}

// enter takes a place for an append in flight, and waits for one if wait is set. It reports whether it got one.
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

// claim makes x the append under way with its TRX id, and returns the one that is under way instead, if any.
func (t *tail) claim(x *sending) (other *sending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	trx := x.request.Options.TRX
	if other = t.making[trx]; other != nil && other != x {
		return other
	}
	if other == nil {
		x.ended = make(chan struct{})
		t.making[trx] = x
	}
	return nil
}

// unclaim lets the next append with the TRX id of x be made, if x was the one under way.
func (t *tail) unclaim(x *sending) {
	if !x.named {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if trx := x.request.Options.TRX; t.making[trx] == x {
		delete(t.making, trx)
		close(x.ended)
	}
}

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

// putBack puts a slot back, or keeps it for the repeat of an append whose outcome is unknown. A slot with a lost append
// is not reused unless that append was stored: a late copy of the request could still take the number. putBack returns
// the error for the caller. again asks for another slot: Redis has forgotten this one because it was idle, or a late
// copy took its number.
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
			// This attempt did nothing, but an earlier one may have been stored.
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

// knows returns the position that the gateway must find in the segment, or else history was lost.
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

// found records the position of a segment after a create. Unless own is set, the caller has stored no entry there, so
// only the incarnation is recorded.
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

// conclusive reports whether the answer to a repeat proves that no earlier attempt was or will be stored. Redis looks
// for the earlier append before any other check, and these answers do not change later.
func conclusive(err error) bool {
	var sequence *streamhub.SequenceError
	return errors.Is(err, streamhub.ErrProducerGap) || errors.Is(err, streamhub.ErrProducerFenced) ||
		errors.Is(err, streamhub.ErrClosed) || errors.Is(err, streamhub.ErrFenced) || errors.Is(err, streamhub.ErrBatchMismatch) ||
		errors.As(err, &sequence) && sequence.Expected > sequence.Got
}

package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

const (
	// maxMessage is the approximate limit, in bytes, of the appends in one message. A larger append is sent alone.
	maxMessage = streamhub.MaxFrameBytes
	// maxMoves is how often an append gets another slot because Redis may have forgotten the one before.
	maxMoves = 2
)

// A sending is one append of a call on its way to a gateway. If the caller named no producer, it gets a slot, which is
// a producer of the provider. So it may be sent again after a lost reply. It belongs to the goroutine of the call.
type sending struct {
	place   int // among the appends of the call
	request wire.Append
	t       *tail
	named   bool               // the caller chose the TRX id, and no producer
	known   streamhub.Position // t.known when the append was sent
	slot    *slot              // nil if the caller named a producer, or for CheckOnly
	moves   int                // how often the append changed its slot; see maxMoves
	ended   chan struct{}      // closed when a claim of it ends; see tail.claim
}

// stray reports whether x names another incarnation than the one that the provider knows. In that case the known
// position says nothing about x.
func (x *sending) stray() bool {
	named := x.request.Options.Incarnation
	return named != 0 && named != x.known.Incarnation
}

// needsSlot reports whether x needs a producer of the provider to be recognised when it is sent
// again.
func (x *sending) needsSlot() bool {
	return x.request.Options.Producer == nil && !x.request.Options.CheckOnly
}

func (s *remoteStore) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	return s.appendOne(ctx, "append", streamhub.Append{Space: space, Segment: segment, Records: records, Options: options})
}

// appendOne makes one append; op names the call in errors.
func (s *remoteStore) appendOne(ctx context.Context, op string, a streamhub.Append) (streamhub.AppendResult, error) {
	results, errs := s.appendAll(ctx, op, []streamhub.Append{a})
	return results[0], errs[0]
}

// AppendAll sends as many appends as fit in one message, and the rest when those are answered. The gateway keeps the
// order of the appends to one segment.
func (s *remoteStore) AppendAll(ctx context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	return s.appendAll(ctx, "append", appends)
}

func (s *remoteStore) appendAll(ctx context.Context, op string, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	b := &batch{
		s: s, results: make([]streamhub.AppendResult, len(appends)), errs: make([]error, len(appends)),
		stopped: map[*tail]error{},
	}
	tails := map[tailKey]*tail{}
	left := make([]*sending, 0, len(appends))
	for i, a := range appends {
		x := &sending{place: i, request: wire.Append{Append: a}}
		o := value(a.Options)
		x.request.Options = &o
		x.named = o.TRX != uuid.Nil && o.Producer == nil
		x.request.NewTRX()
		if b.errs[i] = s.check(&x.request); b.errs[i] != nil {
			continue
		}
		k := tailKey{s.id, a.Space, a.Segment}
		// The call holds each tail until it ends. A tail that is dropped would lose the slots of its appends in flight.
		if tails[k] == nil {
			t, release := s.p.tail(k)
			defer release()
			tails[k] = t
		}
		x.t = tails[k]
		left = append(left, x)
	}
	for len(left) > 0 {
		left = b.send(ctx, left)
	}
	for i, a := range appends {
		b.errs[i] = s.fail(op, a.Space, a.Segment, b.errs[i])
	}
	return b.results, b.errs
}

// check refuses a request for which the gateway would close the connection.
func (s *remoteStore) check(request *wire.Append) error {
	if err := errors.Join(streamhub.CheckName("space", request.Space), streamhub.CheckName("segment", request.Segment)); err != nil {
		return err
	}
	return checkSize(request.Records)
}

// checkSize refuses records that no hub accepts. Their size is that of their frame. The limit of a single record is an
// option of the hub, which refuses a larger one without disturbing other calls.
func checkSize(records []streamhub.Record) error {
	// The header of a frame has 25 bytes, and 16 more where the hub names its node; see internal/hotlog/frame.go.
	const header, pairs = 41, 1 << 10 // bytes of the header of a frame; most pairs of metadata in a record
	if len(records) > streamhub.MaxFrameRecords {
		return fmt.Errorf("%w: an append of %d records, the limit is %d: make several", streamhub.ErrTooLarge, len(records), streamhub.MaxFrameRecords)
	}
	total := header
	var scratch [binary.MaxVarintLen64]byte
	prefixed := func(n int) int { return n + binary.PutUvarint(scratch[:], uint64(n)) }
	for i := range records {
		r := &records[i]
		if len(r.Metadata) > pairs {
			return fmt.Errorf("%w: record %d has %d pairs of metadata, the limit is %d", streamhub.ErrTooLarge, i, len(r.Metadata), pairs)
		}
		if len(r.Metadata) == 0 {
			total += len(r.Payload) + binary.PutUvarint(scratch[:], uint64(len(r.Payload))+1)
			continue
		}
		total += 1 + prefixed(len(r.Payload)) + binary.PutUvarint(scratch[:], uint64(len(r.Metadata)))
		for k, v := range r.Metadata {
			total += prefixed(len(k)) + prefixed(len(v))
		}
	}
	if total > streamhub.MaxFrameBytes {
		return fmt.Errorf("%w: an append of %d bytes, the limit is %d: make several", streamhub.ErrTooLarge, total, streamhub.MaxFrameBytes)
	}
	return nil
}

// A batch is the appends of one call. It belongs to the goroutine of the call.
type batch struct {
	s       *remoteStore
	results []streamhub.AppendResult
	errs    []error
	stopped map[*tail]error // error of the append that may still be made, by segment: later appends must not overtake it
}

// send sends one message and waits for the answers. It returns the appends that are left to send, in order: those to be
// sent again, and those that had no room.
func (b *batch) send(ctx context.Context, left []*sending) []*sending {
	var l *connection
	err := ctx.Err()
	if err == nil {
		l, err = b.s.p.connect(ctx)
	}
	if err != nil {
		for _, x := range left {
			b.finish(x, streamhub.AppendResult{}, err)
		}
		return nil
	}
	now, later := b.take(ctx, left)
	if len(now) == 0 {
		return later
	}
	requests := make([]wire.Request, len(now))
	for i, x := range now {
		requests[i] = &x.request
	}
	var again []*sending
	moving := map[*tail]bool{} // segments with an append that is to be sent again
	calls, sent, failed := l.openAll(ctx, b.s.id, requests)
	for i, x := range now {
		var body []byte
		o, err := unmade, unopened(failed)
		switch {
		case failed == nil:
			body, o, err = calls[i].answer(ctx)
		case sent:
			o = unanswered
		}
		if b.resolve(x, body, o, err, moving) {
			again = append(again, x)
		}
	}
	return append(again, later...)
}

// take returns the appends that go in the next message, with their slots, and the others. It waits, for a slot or for
// another call with the same TRX id, only until it has the first append: otherwise two calls could wait for each other.
func (b *batch) take(ctx context.Context, left []*sending) (now, later []*sending) {
	size := 0
	first, full := map[*tail]bool{}, map[*tail]bool{}
	for i, x := range left {
		if err := b.stopped[x.t]; err != nil {
			b.finish(x, streamhub.AppendResult{}, err)
			continue
		}
		if x.named {
			if r, err, ok := x.t.repeats(&x.request); ok {
				b.finish(x, r, err)
				continue
			}
		}
		n := sizeOfAppend(&x.request)
		if size+n > maxMessage && len(now) > 0 {
			return now, append(later, left[i:]...)
		}
		// Once one append of a segment is put off, so are the later ones.
		if full[x.t] || !b.admit(ctx, x, len(now) == 0) {
			if len(now) == 0 { // ctx or the other call has ended
				return nil, left[i:]
			}
			full[x.t] = true
			later = append(later, x)
			continue
		}
		if x.needsSlot() {
			x.slot = x.t.take(b.s.p.client, x.request.Options.TRX, x.moves > 0)
			x.request.Options.Producer = x.slot.producer()
		}
		x.request.Chained = first[x.t]
		x.known = x.t.knows()
		x.request.Known = x.known
		if x.stray() {
			x.request.Known = streamhub.Position{}
		}
		first[x.t] = true
		size += n
		now = append(now, x)
	}
	return now, later
}

// admit gets for x what it needs to be sent: its TRX id, and a place for its slot. With wait it waits for either. It
// reports false if x is to be put off.
func (b *batch) admit(ctx context.Context, x *sending, wait bool) bool {
	if x.named {
		if other := x.t.claim(x); other != nil {
			if wait {
				select {
				case <-other.ended:
				case <-ctx.Done():
				}
			}
			return false
		}
	}
	if x.needsSlot() && !x.t.enter(ctx, wait) {
		x.t.unclaim(x)
		return false
	}
	return true
}

// resolve handles the answer to x. It reports whether x is to be sent again in another slot. Without an answer the
// outcome of x is unknown, unless x only checks.
func (b *batch) resolve(x *sending, body []byte, o outcome, err error, moving map[*tail]bool) (again bool) {
	var r streamhub.AppendResult
	trx, checkOnly := x.request.Options.TRX, x.request.Options.CheckOnly
	switch {
	case o == unanswered && !checkOnly:
		err = unknown(trx, err)
	case o == answered && isEnd(err) && !errors.Is(err, streamhub.ErrUnknownOutcome):
		err = down(errors.New(err.Error())) // the context that ended is the gateway's own: nothing was sent
	}
	if err == nil || errors.Is(err, streamhub.ErrNotConfirmed) {
		var malformed error
		r, malformed = wire.DecodeAppendResult(body)
		err = errors.Join(err, malformed)
		if !checkOnly {
			x.t.learn(x.known, r.Position)
		}
		if x.named && !checkOnly && malformed == nil {
			x.t.keep(&x.request, r, err)
		}
	} else if !x.stray() && (errors.Is(err, streamhub.ErrHistoryLost) || errors.Is(err, streamhub.ErrNotFound)) {
		x.t.forget(x.known)
	}
	if slot := x.slot; slot != nil {
		again, err = x.t.putBack(slot, trx, err)
		x.slot, x.request.Options.Producer = nil, nil
		x.t.leave()
	}
	if again {
		if x.moves++; x.moves <= maxMoves {
			moving[x.t] = true
			return true
		}
		err = down(fmt.Errorf("the gateway knows no producer of this client: %v", err))
	}
	if moving[x.t] && o == answered && errors.Is(err, streamhub.ErrUnavailable) && !errors.Is(err, streamhub.ErrUnknownOutcome) {
		return true // it was not made, because an append before it is to be sent again
	}
	b.finish(x, r, err)
	return false
}

// isEnd reports whether err is the error of a context that has ended.
func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// finish records the result of x. If an earlier attempt may have been stored, the outcome stays unknown although this
// attempt did nothing.
func (b *batch) finish(x *sending, r streamhub.AppendResult, err error) {
	if trx := x.request.Options.TRX; inconclusive(err) && x.t.inDoubt(trx) {
		err = unknown(trx, err)
	}
	b.results[x.place], b.errs[x.place] = r, err
	x.t.unclaim(x)
	if b.stopped[x.t] == nil && streamhub.Retryable(err) {
		b.stopped[x.t] = after(err)
	}
}

// after returns the error of an append whose predecessor, in the same segment, can still be stored.
func after(err error) error {
	reason := streamhub.ReasonGateway
	var unavailable *streamhub.UnavailableError
	if errors.As(err, &unavailable) && !errors.Is(err, streamhub.ErrUnknownOutcome) {
		reason = unavailable.Reason
	}
	return &streamhub.UnavailableError{Reason: reason, Err: errors.New("the append before it: " + err.Error())}
}

// sizeOfAppend estimates the bytes of an append in a message; it is never too low.
func sizeOfAppend(r *wire.Append) int {
	const fixed, each, pair = 1 << 10, 16, 8
	n := fixed + len(r.Options.ContentType) + len(r.Options.StreamSeq)
	if p := r.Options.Producer; p != nil {
		n += len(p.ID)
	}
	if v := r.Options.Close; v != nil {
		n += len(v.Reason) + len(v.Output)
	}
	for i := range r.Records {
		n += each + sizeOf(&r.Records[i]) + pair*len(r.Records[i].Metadata)
	}
	return n
}

package wsgateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// chunkBytes is when a chunk is stored though it could hold more records: the next one might be as
// large as a frame leaves room for.
const chunkBytes = streamhub.MaxFrameBytes - 5<<20

const (
	// A record that comes before its turn waits for those before it: released clients send frames
	// before queued ones once their queue of 8,192 stalls.
	maxAhead     = 16_384
	maxAheadTime = 10 * time.Second
	// The close may come before records as well. They follow at once, so what is missing has come when
	// nothing came for a moment. Nothing is missing as far as the gateway sees if the close overtook the
	// last records: a producer that sent enough for a stall is given that moment, too.
	stallRecords = 8192
	lateTime     = 100 * time.Millisecond
	stallTime    = time.Second
)

// A producing stores what a client sends on one channel, in chunks of up to 10,000 records. A chunk
// is stored whole and answered with one status, or not at all. It belongs to the goroutine of the
// channel.
type producing struct {
	ch    *muxChannel
	at    muxSegment
	chunk []streamhub.Record
	bytes int // of the chunk, and how many of them the connection counts
	held  int
	first *streamhub.Status // the status of the segment before the first chunk, once it was read

	next  uint64                      // the next sequence to store; 0 before the first record
	ahead map[uint64]streamhub.Record // records that came early, by sequence
	since time.Time                   // since when the next record is missing
	taken int                         // records that came
}

// produce takes records until the client closes the channel, and stores them. Records come after the
// close too; see late.
func (ch *muxChannel) produce(at *muxSegment) error {
	if at.Space == "" || at.Segment == "" {
		return protocolError("invalid produce args")
	}
	if err := ch.allowed(&wire.Append{Append: streamhub.Append{Space: at.Space, Segment: at.Segment}}); err != nil {
		return err
	}
	p := &producing{ch: ch, at: *at, ahead: map[uint64]streamhub.Record{}}
	for {
		payloads, open, err := p.take()
		if err != nil {
			return err
		}
		if err := p.addAll(payloads); err != nil {
			return err
		}
		if !open {
			break
		}
	}
	if err := p.late(); err != nil {
		return err // what was not stored yet is not wanted any more
	}
	return p.store()
}

// take returns what has come. It waits for the first of it, but while a record is missing no longer
// than maxAheadTime.
func (p *producing) take() (payloads [][]byte, open bool, err error) {
	ctx := p.ch.ctx
	if len(p.ahead) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, p.since.Add(maxAheadTime))
		defer cancel()
	}
	payloads, open = p.ch.take(ctx)
	if err := p.ended(); err != nil {
		return nil, false, err
	}
	if len(payloads) == 0 && ctx.Err() != nil {
		return nil, false, p.gap()
	}
	return payloads, open || len(payloads) > 0, nil
}

// ended is why the channel is over: the client gave up, or the connection ended. It is nil while the channel goes on.
func (p *producing) ended() error { return errors.Join(p.ch.aborted(), p.ch.ctx.Err()) }

// late takes the records that come after the close. If no record is missing and the queue of the
// client cannot have stalled, none is late. Otherwise it waits for lateTime after the last one, or
// for stallTime if one is missing after a possible stall.
func (p *producing) late() error {
	for {
		patience := lateTime
		switch {
		case p.taken < stallRecords && len(p.ahead) == 0:
			return p.ended()
		case p.taken >= stallRecords && len(p.ahead) > 0:
			patience = min(stallTime, time.Until(p.since.Add(maxAheadTime)))
		}
		ctx, cancel := context.WithTimeout(p.ch.ctx, patience)
		payloads := p.ch.takeLate(ctx)
		cancel()
		if err := p.ended(); err != nil {
			return err
		}
		if len(payloads) == 0 {
			if len(p.ahead) > 0 {
				return p.gap()
			}
			return nil
		}
		if err := p.addAll(payloads); err != nil {
			return err
		}
	}
}

func (p *producing) addAll(payloads [][]byte) error {
	for _, payload := range payloads {
		if err := p.receive(payload); err != nil {
			return err
		}
	}
	return nil
}

// gap is the error for the record whose turn it is, and which did not come.
func (p *producing) gap() error {
	got := uint64(math.MaxUint64)
	for sequence := range p.ahead {
		got = min(got, sequence)
	}
	return &streamhub.SequenceError{Expected: p.next, Got: got}
}

// receive takes a record, and those that waited for it.
func (p *producing) receive(payload []byte) error {
	var r streamhub.Record
	if !utf8.Valid(payload) {
		return fmt.Errorf("%w: a record is not UTF-8, which JSON is", streamhub.ErrInvalidArgument)
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return fmt.Errorf("%w: a record: %v", streamhub.ErrInvalidArgument, err)
	}
	if n := entrySize(&p.at, &r); n > maxAnswer {
		return fmt.Errorf("%w: record %d would have %d bytes when it is read, the limit is %d", streamhub.ErrTooLarge, r.Sequence, n, maxAnswer)
	}
	p.taken++
	if p.next == 0 {
		if err := p.begin(&r); err != nil {
			return err
		}
	}
	if r.Sequence > p.next {
		return p.wait(&r)
	}
	if r.Sequence < p.next {
		return &streamhub.SequenceError{Expected: p.next, Got: r.Sequence}
	}
	for next, ok := r, true; ok; next, ok = p.ahead[p.next] {
		// One that waited is held by ahead; add counts it for the chunk.
		if p.ahead[p.next].Sequence != 0 {
			delete(p.ahead, p.next)
			p.ch.m.release(p.ch, recordCost(&next))
		}
		if err := p.add(&next); err != nil {
			return err
		}
	}
	if len(p.ahead) > 0 {
		p.since = time.Now() // the next one is missed from now on
	}
	return nil
}

// begin learns which sequence comes first. A segment that has entries is asked for its status, which
// is needed for the first answer anyway.
func (p *producing) begin(r *streamhub.Record) error {
	p.next = 1
	// If the segment has entries already, the append of the first chunk says so.
	if r.Sequence == 1 {
		return nil
	}
	status, err := p.status()
	if err != nil {
		return err
	}
	p.next = status.LastSequence + 1
	if status.LastSequence > 0 {
		p.first = &status
	}
	return nil
}

// wait keeps a record until its turn comes.
func (p *producing) wait(r *streamhub.Record) error {
	if _, twice := p.ahead[r.Sequence]; twice {
		return &streamhub.SequenceError{Expected: p.next, Got: r.Sequence}
	}
	if len(p.ahead) == 0 {
		p.since = time.Now()
	}
	if len(p.ahead) == maxAhead || !p.ch.m.hold(p.ch, recordCost(r), maxHeldRecords) {
		return &streamhub.SequenceError{Expected: p.next, Got: r.Sequence}
	}
	p.ahead[r.Sequence] = *r
	return nil
}

// recordCost is about what a record that waits takes.
func recordCost(r *streamhub.Record) int {
	n := len(r.Payload) + 64
	for k, v := range r.Metadata {
		n += len(k) + len(v) + 16
	}
	return n
}

// add puts a record into the chunk. A chunk that is full is stored when the next record comes; one
// for which the connection has no room, at once.
func (p *producing) add(r *streamhub.Record) error {
	if len(p.chunk) == streamhub.MaxFrameRecords || p.bytes > chunkBytes {
		if err := p.store(); err != nil {
			return err
		}
	}
	cost := recordCost(r)
	room := p.ch.m.hold(p.ch, cost, maxHeldRecords)
	if room {
		p.held += cost
	}
	p.chunk = append(p.chunk, *r)
	p.bytes += cost
	p.next = r.Sequence + 1
	if !room {
		return p.store()
	}
	return nil
}

// entrySize is how long an entry is in this protocol, or a little more.
func entrySize(at *muxSegment, r *streamhub.Record) int {
	const rest = 256 // numbers, ids and names of fields
	payload := base64.StdEncoding.EncodedLen(len(r.Payload))
	n := rest + payload + 6*(len(at.Space)+len(at.Segment))
	for k, v := range r.Metadata {
		n += 6*(len(k)+len(v)) + 8
	}
	if n <= maxAnswer {
		return n
	}
	// Close to the limit it is counted: released clients can fill a frame to the last byte.
	text, err := json.Marshal(&muxEntry{
		Sequence: r.Sequence, Timestamp: time.Now().UnixMilli(), TRX: streamhub.TRX{Number: streamhub.MaxInteger},
		Payload: []byte{}, Metadata: r.Metadata, Space: at.Space, Segment: at.Segment,
	})
	if err != nil {
		return n
	}
	return len(text) + payload
}

// status is that of the segment; zero if it does not exist. It is a part of what a producer is told,
// so the right to write is enough for it.
func (p *producing) status() (streamhub.Status, error) {
	result, err := dispatch.Run(p.ch.ctx, p.ch.store, nil, &wire.Status{Space: p.at.Space, Segment: p.at.Segment}, nil)
	if errors.Is(err, streamhub.ErrNotFound) {
		return streamhub.Status{}, nil
	}
	if err != nil {
		return streamhub.Status{}, err
	}
	return streamhub.Status(*result.(*wire.StatusResult)), nil
}

// store stores the chunk and tells the client.
func (p *producing) store() error {
	if len(p.chunk) == 0 {
		return nil
	}
	result, err := p.ch.run(&wire.Append{Append: streamhub.Append{Space: p.at.Space, Segment: p.at.Segment, Records: p.chunk}}, nil)
	if err != nil {
		return err
	}
	// Not the bytes of the chunk: a record for which there was no room was never counted.
	p.ch.m.release(p.ch, p.held)
	p.chunk, p.bytes, p.held = nil, 0, 0
	r := result.(*wire.AppendResult)
	if p.first == nil {
		p.first = &streamhub.Status{FirstSequence: r.First, FirstTimestamp: r.Timestamp}
		if r.First > 1 {
			status, err := p.status()
			if err != nil {
				return err
			}
			p.first = &status
		}
	}
	return p.ch.send(&muxStatus{
		Space: p.at.Space, Segment: p.at.Segment,
		FirstSequence: p.first.FirstSequence, FirstTimestamp: millis.Of(p.first.FirstTimestamp),
		LastSequence: r.Last, LastTimestamp: millis.Of(r.Timestamp),
	})
}

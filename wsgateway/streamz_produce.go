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

// chunkBytes is the size at which a chunk is stored even if it could hold more records: the next record might be too
// large for the rest of the frame.
const chunkBytes = streamhub.MaxFrameBytes - 5<<20

const (
	// A record that comes before its turn waits for those before it: once the queue of a released client (8,192 frames)
	// stalls, the client sends new frames before queued ones.
	maxAhead     = 16_384
	maxAheadTime = 10 * time.Second
	// The close may overtake records as well. They follow at once, so the wait for them ends after a short time without
	// a record. If the close overtook the last records, the gateway cannot see that any is missing. So it also waits if
	// the producer has sent enough records for a stall.
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
	bytes int // size of chunk; held is how many of these bytes are counted for the connection
	held  int
	first *streamhub.Status // the status of the segment before the first chunk, once it was read

	next  uint64                      // the next sequence to store; 0 before the first record
	ahead map[uint64]streamhub.Record // records that came early, by sequence
	since time.Time                   // when the next record was first missed
	taken int                         // records received
}

// produce takes records until the client closes the channel, and stores them. Records may arrive after the close too;
// see late.
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
		return err // records that are not stored yet are dropped
	}
	return p.store()
}

// take returns the queued payloads, and waits for the first one. While a record is missing, it waits at most
// maxAheadTime.
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

// ended returns why the channel ended: the client gave up, or the connection ended. It is nil as long as neither has
// happened.
func (p *producing) ended() error { return errors.Join(p.ch.aborted(), p.ch.ctx.Err()) }

// late takes the records that arrive after the close. If no record is missing and the queue of the client cannot have
// stalled, there are none. Otherwise it waits until lateTime has passed without a record. It waits for stallTime if a
// record is missing after a possible stall, or if another channel has shown that the queue stalled.
func (p *producing) late() error {
	for {
		patience := lateTime
		switch {
		case p.taken < stallRecords && p.ch.m.stalled():
			patience = stallTime
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

// gap returns the error for the next record, which did not arrive.
func (p *producing) gap() error {
	got := uint64(math.MaxUint64)
	for sequence := range p.ahead {
		got = min(got, sequence)
	}
	return &streamhub.SequenceError{Expected: p.next, Got: got}
}

// receive adds a record to the chunk, and then the records that waited for it.
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
		// The record was counted while it waited; add counts it again for the chunk.
		if p.ahead[p.next].Sequence != 0 {
			delete(p.ahead, p.next)
			p.ch.m.release(p.ch, recordCost(&next))
		}
		if err := p.add(&next); err != nil {
			return err
		}
	}
	if len(p.ahead) > 0 {
		p.since = time.Now() // the time for the next missing record starts now
	}
	return nil
}

// begin finds out which sequence comes first. For a later one than 1 it reads the status of the segment, which the
// first answer needs anyway.
func (p *producing) begin(r *streamhub.Record) error {
	p.next = 1
	// If the segment already has entries, the append of the first chunk reports that.
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
	if p.taken >= stallRecords {
		p.ch.m.overtaken.Store(time.Now().UnixNano())
	}
	return nil
}

// recordCost is the approximate memory, in bytes, of a record that waits.
func recordCost(r *streamhub.Record) int {
	n := len(r.Payload) + 64
	for k, v := range r.Metadata {
		n += len(k) + len(v) + 16
	}
	return n
}

// add puts a record into the chunk. A full chunk is stored when the next record arrives. If the connection has no room
// for the record, the chunk is stored at once.
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

// entrySize returns the length of an entry in this protocol, in bytes, or a little more.
func entrySize(at *muxSegment, r *streamhub.Record) int {
	const rest = 256 // bytes of the numbers, ids and names of fields
	payload := base64.StdEncoding.EncodedLen(len(r.Payload))
	n := rest + payload + 6*(len(at.Space)+len(at.Segment))
	for k, v := range r.Metadata {
		n += 6*(len(k)+len(v)) + 8
	}
	if n <= maxAnswer {
		return n
	}
	// Close to the limit the exact length is measured: released clients can fill a frame to the last byte.
	text, err := json.Marshal(&muxEntry{
		Sequence: r.Sequence, Timestamp: time.Now().UnixMilli(), TRX: streamhub.TRX{Number: streamhub.MaxInteger},
		Payload: []byte{}, Metadata: r.Metadata, Space: at.Space, Segment: at.Segment,
	})
	if err != nil {
		return n
	}
	return len(text) + payload
}

// status returns the status of the segment, zero if it does not exist. Every producer gets it with an answer, so the
// right to write is enough for it.
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

// store stores the chunk and sends the new status to the client.
func (p *producing) store() error {
	if len(p.chunk) == 0 {
		return nil
	}
	result, err := p.ch.run(&wire.Append{Append: streamhub.Append{Space: p.at.Space, Segment: p.at.Segment, Records: p.chunk}}, nil)
	if err != nil {
		return err
	}
	// Release held, not bytes: a record for which the connection had no room was never counted.
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

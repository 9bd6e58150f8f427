package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// chunkBytes is when a chunk is stored though it could hold more records: the next one might be as
// large as a frame leaves room for.
const chunkBytes = streamhub.MaxFrameBytes - 5<<20

// A producing stores what a client sends on one channel, in chunks of up to 10,000 records: each is
// stored whole, with one status, or not at all.
type producing struct {
	ch    *muxChannel
	at    muxSegment
	chunk []streamhub.Record
	bytes int
	raw   int               // bytes of the payloads that the chunk came in
	first *streamhub.Status // of the segment, once it was read
}

func (ch *muxChannel) produce(at *muxSegment) error {
	if at.Space == "" || at.Segment == "" {
		return protocolError("invalid produce args")
	}
	if err := ch.allowed(&wire.Append{Append: streamhub.Append{Space: at.Space, Segment: at.Segment}}); err != nil {
		return err
	}
	p := &producing{ch: ch, at: *at}
	for {
		payloads, open := ch.take(ch.ctx)
		for _, payload := range payloads {
			if err := p.add(payload); err != nil {
				return err
			}
		}
		if open {
			continue
		}
		if err := errors.Join(ch.aborted(), ch.ctx.Err()); err != nil {
			return err // what was not stored yet is not wanted any more
		}
		return p.store()
	}
}

// add takes a record. A chunk that is full is stored when the next record comes.
func (p *producing) add(payload []byte) error {
	var r streamhub.Record
	if err := json.Unmarshal(payload, &r); err != nil {
		return fmt.Errorf("%w: a record: %v", streamhub.ErrInvalidArgument, err)
	}
	if n := entrySize(&p.at, &r); n > maxAnswer {
		return fmt.Errorf("%w: record %d would have %d bytes when it is read, the limit is %d", streamhub.ErrTooLarge, r.Sequence, n, maxAnswer)
	}
	if len(p.chunk) == streamhub.MaxFrameRecords || p.bytes > chunkBytes {
		if err := p.store(); err != nil {
			return err
		}
	}
	if n := len(p.chunk); n > 0 && r.Sequence != p.chunk[n-1].Sequence+1 {
		return &streamhub.SequenceError{Expected: p.chunk[n-1].Sequence + 1, Got: r.Sequence}
	}
	if r.Sequence == 0 {
		status, err := p.status()
		if err != nil {
			return err
		}
		return &streamhub.SequenceError{Expected: status.LastSequence + 1}
	}
	p.chunk = append(p.chunk, r)
	p.raw += len(payload)
	p.bytes += len(r.Payload) + 64
	for k, v := range r.Metadata {
		p.bytes += len(k) + len(v) + 16
	}
	return nil
}

// entrySize is about how long an entry is in this protocol, rounded up.
func entrySize(at *muxSegment, r *streamhub.Record) int {
	const rest = 512 // numbers, ids and names of fields
	n := rest + (len(r.Payload)+2)/3*4 + 6*(len(at.Space)+len(at.Segment))
	for k, v := range r.Metadata {
		n += 6*(len(k)+len(v)) + 8
	}
	return n
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
	p.ch.letGo(p.raw)
	p.chunk, p.bytes, p.raw = nil, 0, 0
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
		FirstSequence: p.first.FirstSequence, FirstTimestamp: p.first.FirstTimestamp,
		LastSequence: r.Last, LastTimestamp: r.Timestamp,
	})
}

package durable

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
)

// A page is a part of a stream as clients get it. It does not change.
type page struct {
	// incarnation and lineage are those of the stream when the page was read. As long as it has both,
	// and is not shorter than it was, no entry of the page is another one.
	incarnation, lineage uint64
	after                uint64 // the sequence after which it begins
	end                  offset // after its last entry
	body                 []byte // as in [encode]
	whole                bool   // it is as long as a page gets
}

// pageAt is the empty page at a place of a stream.
func pageAt(status *streamhub.Status, end offset) *page {
	return &page{
		incarnation: status.Position.Incarnation, lineage: status.Position.Lineage, after: end.sequence, end: end,
		body: encode(nil, isJSON(status.ContentType)),
	}
}

func (p *page) empty() bool { return p.end.sequence == p.after }

// holds reports whether the page is what the stream has now, in its whole length. A page that is as long as a page gets
// stays the same while the stream grows; a shorter one would have more by now.
func (p *page) holds(status *streamhub.Status) bool {
	tail := tailOf(status)
	return p.incarnation == status.Position.Incarnation && p.lineage == status.Position.Lineage &&
		(p.end == tail || p.whole && p.end.sequence < tail.sequence)
}

// encode is what a client reads: the bytes one after the other, or an array of messages. The log takes
// any bytes, so the one place that promises JSON is the one that makes sure of it.
func encode(entries []streamhub.Entry, array bool) []byte {
	size := 2
	for i := range entries {
		size += len(entries[i].Payload) + 1
	}
	b := make([]byte, 0, size)
	if !array {
		for i := range entries {
			b = append(b, entries[i].Payload...)
		}
		return b
	}
	b = append(b, '[')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMessage(b, entries[i].Payload)
	}
	return append(b, ']')
}

// appendMessage appends one element of an array. A record that is not JSON is a string: of its text, or
// in base64 where it is not UTF-8.
func appendMessage(b, record []byte) []byte {
	text := utf8.Valid(record)
	switch {
	case text && json.Valid(record):
		return append(b, record...)
	case text:
		quoted, _ := json.Marshal(string(record)) // of a text it cannot fail
		return append(b, quoted...)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), record), '"')
}

// fetch returns what lies after a place of a stream, and the stream as it was at that moment.
func (d *Handler) fetch(ctx context.Context, s *stream, from offset) (*page, streamhub.Status, error) {
	key := pageKey{s.key(), from}
	if p, ok := d.pages.Get(key); ok {
		status, err := s.store.Status(ctx, s.space, s.segment)
		if err != nil {
			return nil, status, err
		}
		after, err := from.at(&status)
		if err != nil {
			return nil, status, err
		}
		if after == p.after && p.holds(&status) {
			return p, status, nil
		}
	}
	var snapshot port.Snapshot
	var err error
	if from.start() {
		snapshot, err = port.Of(s.store).ReadFrom(ctx, s.space, s.segment, 0)
	} else {
		snapshot, err = port.Of(s.store).ReadAfter(ctx, s.space, s.segment, from.sequence, from.proof)
	}
	// Where a copy begins, the offset has the proof of the source and the entry has another one.
	if errors.Is(err, streamhub.ErrHistoryLost) && d.copiedAt(ctx, s, from) {
		snapshot, err = port.Of(s.store).ReadFrom(ctx, s.space, s.segment, from.sequence+1)
	}
	status := snapshot.Status
	if err != nil {
		return nil, status, d.explain(ctx, s, from, err)
	}
	after, err := from.at(&status)
	if err != nil {
		return nil, status, err
	}
	end := offset{lifeOf(&status), after, from.proof}
	switch {
	// Nothing follows: the page ends where the stream does, and has its proof, whatever from was.
	case after == status.LastSequence:
		end = tailOf(&status)
	case from.start():
		end = offsetOf(end.life, &status.Kept)
	}
	p := pageAt(&status, end)
	p.whole = snapshot.More
	if n := len(snapshot.Entries); n > 0 {
		p.end = offsetOf(end.life, &snapshot.Entries[n-1].Position)
		p.body = encode(snapshot.Entries, isJSON(status.ContentType))
		d.keep(key, p)
	}
	return p, status, nil
}

// copiedAt reports whether a stream is a copy of its source up to an offset of the source.
func (d *Handler) copiedAt(ctx context.Context, s *stream, from offset) bool {
	status, err := s.store.Status(ctx, s.space, s.segment)
	return err == nil && from.copied(&status)
}

// explain says of an offset that cannot be read why.
func (d *Handler) explain(ctx context.Context, s *stream, from offset, err error) error {
	code := streamhub.CodeOf(err)
	if code != streamhub.CodeOf(streamhub.ErrTrimmed) && code != streamhub.CodeOf(streamhub.ErrHistoryLost) {
		return err
	}
	status, statusErr := s.store.Status(ctx, s.space, s.segment)
	if statusErr != nil {
		return statusErr
	}
	if _, gone := from.at(&status); gone != nil {
		return gone
	}
	if code == streamhub.CodeOf(streamhub.ErrHistoryLost) {
		return errLost
	}
	return err
}

type pageKey struct {
	streamKey
	from offset
}

// pageCost is what a page costs besides its body.
const pageCost = 512

// keep keeps a page, so that many readers of one stream cost one read. Whether it still holds is for the status of the stream
// to say, see [page.holds]. A page that would displace most others is not worth it.
func (d *Handler) keep(key pageKey, p *page) {
	if size := len(p.body) + pageCost; size <= d.opt.CacheBytes/4 {
		d.pages.Put(key, p, size)
	}
}

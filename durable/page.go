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

// A page is a part of a stream in the form that clients get. It is immutable.
type page struct {
	// incarnation and lineage of the stream when the page was read. While both are unchanged and the stream is not
	// shorter, the entries of the page are unchanged too.
	incarnation, lineage uint64
	after                uint64 // the sequence after which the page begins
	end                  offset // after the last entry of the page
	body                 []byte // as [encode] returns it
	whole                bool   // the page has reached the size limit
}

// pageAt returns the empty page at an offset of a stream.
func pageAt(status *streamhub.Status, end offset) *page {
	return &page{
		incarnation: status.Position.Incarnation, lineage: status.Position.Lineage, after: end.sequence, end: end,
		body: encode(nil, isJSON(status.ContentType)),
	}
}

func (p *page) empty() bool { return p.end.sequence == p.after }

// holds reports whether a read would return the same page now. A page at the size limit stays the same while the stream
// grows; a shorter page would have more entries by now.
func (p *page) holds(status *streamhub.Status) bool {
	tail := tailOf(status)
	return p.incarnation == status.Position.Incarnation && p.lineage == status.Position.Lineage &&
		(p.end == tail || p.whole && p.end.sequence < tail.sequence)
}

// encode returns the bytes that a client reads: the concatenated records, or a JSON array of messages. Other transports
// can append any bytes, so encode itself makes sure that the array is valid.
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

// appendMessage appends one element of an array. A record that is not JSON becomes a string: its text, or base64 if it
// is not UTF-8.
func appendMessage(b, record []byte) []byte {
	text := utf8.Valid(record)
	switch {
	case text && json.Valid(record):
		return append(b, record...)
	case text:
		quoted, _ := json.Marshal(string(record)) // cannot fail for a string
		return append(b, quoted...)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), record), '"')
}

// fetch returns the page after an offset of a stream, and the status of the stream at that moment.
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
	// At the place where a copy begins, the offset has the proof of the source entry, and the copied entry has another
	// one.
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
	// Nothing follows: the page ends at the end of the stream and has its proof, even if from has another form.
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

// explain returns the error that says why an offset cannot be read.
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

// pageCost is the memory of a page, in bytes, in addition to its body.
const pageCost = 512

// keep caches a page, so that many readers of one stream cost one read. A cached page is used only if the status of the
// stream confirms it, see [page.holds]. A page that would displace most others is not cached.
func (d *Handler) keep(key pageKey, p *page) {
	if size := len(p.body) + pageCost; size <= d.opt.CacheBytes/4 {
		d.pages.Put(key, p, size)
	}
}

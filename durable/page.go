package durable

import (
	"container/list"
	"context"
	"sync"

	"github.com/seed-147127fe/streamhub"
)

// A page is a part of a stream as clients get it. It does not change.
type page struct {
	incarnation uint64
	after, last uint64 // the sequences behind which it begins, and of its last entry
	body        []byte // as in [encode]
	whole       bool   // it is as long as a page gets
}

// encode is what a client reads: the bytes one behind the other, or an array of messages.
func encode(entries []streamhub.Entry, json bool) []byte {
	size := 2
	for i := range entries {
		size += len(entries[i].Payload) + 1
	}
	b := make([]byte, 0, size)
	if !json {
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
		b = append(b, entries[i].Payload...)
	}
	return append(b, ']')
}

// fetch returns what lies behind a place of a stream, and the stream as it was at that moment.
func (d *Handler) fetch(ctx context.Context, s *stream, from offset) (*page, streamhub.Status, error) {
	key := pageKey{s.key(), from.sequence}
	if p := d.pages.get(key); p != nil {
		status, err := s.store.Status(ctx, s.space, s.segment)
		if err != nil {
			return nil, status, err
		}
		after, err := from.at(&status)
		if err != nil {
			return nil, status, err
		}
		if after == p.after && p.incarnation == status.Position.Incarnation && (p.whole || p.last == status.LastSequence) {
			return p, status, nil
		}
	}
	snapshot, err := s.store.ReadFrom(ctx, s.space, s.segment, wanted(from))
	status := snapshot.Status
	if err != nil {
		return nil, status, d.explain(ctx, s, from, err)
	}
	after, err := from.at(&status)
	if err != nil {
		return nil, status, err
	}
	p := &page{incarnation: status.Position.Incarnation, after: after, last: after, whole: snapshot.More}
	if n := len(snapshot.Entries); n > 0 {
		p.last = snapshot.Entries[n-1].Sequence
	}
	p.body = encode(snapshot.Entries, isJSON(status.ContentType))
	if len(snapshot.Entries) > 0 {
		d.pages.put(key, p)
	}
	return p, status, nil
}

// wanted is the first sequence to read; 0 is the first one that is kept.
func wanted(from offset) uint64 {
	if from.start() {
		return 0
	}
	return from.sequence + 1
}

// explain says of an offset that cannot be read why.
func (d *Handler) explain(ctx context.Context, s *stream, from offset, err error) error {
	if streamhub.CodeOf(err) != streamhub.CodeOf(streamhub.ErrTrimmed) {
		return err
	}
	status, statusErr := s.store.Status(ctx, s.space, s.segment)
	if statusErr != nil {
		return statusErr
	}
	if _, gone := from.at(&status); gone != nil {
		return gone
	}
	return err
}

type pageKey struct {
	streamKey
	after uint64
}

// A pageCache keeps the pages that were read last, so that many readers of one stream cost one
// read. Whether a page still holds is for the status of the stream to say.
type pageCache struct {
	limit int

	mu    sync.Mutex
	bytes int
	pages map[pageKey]*list.Element
	order list.List // of *cached, the one used last first
}

type cached struct {
	key  pageKey
	page *page
}

// pageCost is what a page costs besides its body.
const pageCost = 512

func (c *pageCache) get(key pageKey) *page {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.pages[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).page
}

func (c *pageCache) put(key pageKey, p *page) {
	size := len(p.body) + pageCost
	if size > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pages == nil {
		c.pages = make(map[pageKey]*list.Element)
	}
	if e := c.pages[key]; e != nil {
		c.drop(e)
	}
	c.pages[key] = c.order.PushFront(&cached{key, p})
	for c.bytes += size; c.bytes > c.limit; {
		c.drop(c.order.Back())
	}
}

// drop is called with the lock held.
func (c *pageCache) drop(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	delete(c.pages, old.key)
	c.bytes -= len(old.page.body) + pageCost
}

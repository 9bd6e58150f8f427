package wsgateway

import (
	"context"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// entriesKey is the key under which a page caches its encoding in this protocol.
type entriesKey struct{}

func encodeEntries(entries []streamhub.Entry) []byte {
	size := 16
	for i := range entries {
		size += len(entries[i].Payload) + 96
	}
	return wire.AppendEntries(make([]byte, 0, size), entries)
}

// partBytes is the approximate size of the parts in which a large page is encoded. A reader that waits for credit holds
// one part and the page.
const partBytes = 128 << 10

// Page, like the other methods below, is called by package dispatch.
func (ch *channel) Page(p *port.Page) error {
	part, bytes := 0, 0
	for i := range p.Entries {
		if bytes += len(p.Entries[i].Payload); bytes < partBytes || i == len(p.Entries)-1 {
			continue
		}
		if err := ch.entries(encodeEntries(p.Entries[part : i+1])); err != nil {
			return err
		}
		part, bytes = i+1, 0
	}
	if part == 0 {
		return ch.entries(p.Encode(entriesKey{}, encodeEntries)) // encoded once for all followers
	}
	return ch.entries(encodeEntries(p.Entries[part:]))
}

// Offer sends a page if the client has credit for it and the connection is idle; it never blocks. Only one goroutine at
// a time calls the methods of this reply, so the credit cannot be used up meanwhile.
func (ch *channel) Offer(p *port.Page) bool {
	bytes := 0
	for i := range p.Entries {
		bytes += len(p.Entries[i].Payload)
	}
	if bytes > copied {
		return false
	}
	body := p.Encode(entriesKey{}, encodeEntries)
	if !ch.spend(len(body)) {
		return false
	}
	var header [16]byte
	if ch.c.out.offer(wire.AppendHeader(header[:0], wire.TypeItems, ch.id, len(body)), body) {
		return true
	}
	ch.c.mu.Lock()
	ch.credit += int64(len(body)) // the page was not sent, so it uses no credit
	ch.c.mu.Unlock()
	return false
}

// spend takes n bytes of credit if there is any, and reports whether there was.
func (ch *channel) spend(n int) bool {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	if ch.credit <= 0 {
		return false
	}
	ch.credit -= int64(n)
	return true
}

func (ch *channel) entries(body []byte) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(body)
}

// Name sends one name of a listing, in a message of its own: listings are short.
func (ch *channel) Name(name string) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.AppendName(nil, name))
}

// Status sends the status of a segment, and waits for credit first.
func (ch *channel) Status(s *streamhub.Status) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.AppendStatus(nil, s))
}

// Workers sends a list of workers, and waits for credit first.
func (ch *channel) Workers(workers []streamhub.Worker) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.AppendWorkers(nil, workers))
}

// Item sends an item of any other kind, and waits for credit first.
func (ch *channel) Item(item wire.Result) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.EncodeResult(item))
}

// Joined notifies the client that its worker is on the list, with an empty item.
func (ch *channel) Joined() error { return ch.items(nil) }

// wait blocks until the client's credit is above zero. A message is never split, so it may make the credit negative;
// see docs/protocol.md.
func (ch *channel) wait() error {
	c := ch.c
	c.mu.Lock()
	for ch.credit <= 0 {
		if ch.more == nil {
			ch.more = make(chan struct{})
		}
		more := ch.more
		c.mu.Unlock()
		select {
		case <-more:
		case <-ch.ctx.Done():
			return context.Cause(ch.ctx)
		}
		c.mu.Lock()
	}
	c.mu.Unlock()
	return nil
}

// items sends a message of items and charges it to the credit.
func (ch *channel) items(body []byte) error {
	ch.c.mu.Lock()
	ch.credit -= int64(len(body))
	ch.c.mu.Unlock()
	return ch.c.out.put(wire.AppendHeader(make([]byte, 0, 16), wire.TypeItems, ch.id, len(body)), body)
}

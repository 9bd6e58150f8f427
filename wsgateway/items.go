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

// partBytes is about how much of a large page is encoded at once. A reader that does not take it
// holds that, and the page.
const partBytes = 128 << 10

// Page is called by package dispatch, as are the others.
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

// Offer takes a page without waiting, if the client has room for it and the connection is idle. Only one
// goroutine at a time calls this or the others, so the credit is not used up in between.
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
	ch.credit += int64(len(body)) // a page that was not sent uses none
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

// Name takes one name. A listing has its names in messages of their own: they are few.
func (ch *channel) Name(name string) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.AppendName(nil, name))
}

// Status takes the status of a segment.
func (ch *channel) Status(s *streamhub.Status) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.AppendStatus(nil, s))
}

// Workers takes a list of workers.
func (ch *channel) Workers(workers []streamhub.Worker) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.AppendWorkers(nil, workers))
}

// Item takes anything else.
func (ch *channel) Item(item wire.Result) error {
	if err := ch.wait(); err != nil {
		return err
	}
	return ch.items(wire.EncodeResult(item))
}

// Joined tells the client that its worker is on the list.
func (ch *channel) Joined() error { return ch.items(nil) }

// wait returns when the client has room for another message: while its credit is above zero. A message is sent whole,
// so the credit may fall below; see docs/protocol.md.
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

// items sends one message.
func (ch *channel) items(body []byte) error {
	ch.c.mu.Lock()
	ch.credit -= int64(len(body))
	ch.c.mu.Unlock()
	return ch.c.out.put(wire.AppendHeader(make([]byte, 0, 16), wire.TypeItems, ch.id, len(body)), body)
}

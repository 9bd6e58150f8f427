package wsgateway

import (
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// sendAppends starts a trip to the hub with the waiting appends, unless maxTrips trips are in flight. No append waits
// to fill a batch: those that arrive while all trips are in flight share the next one.
func (c *conn) sendAppends() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendAppendsLocked()
}

// sendAppendsLocked is sendAppends with mu held.
func (c *conn) sendAppendsLocked() {
	if len(c.appends) > 0 && c.trips < maxTrips {
		c.trips++
		if !c.start(c.runAppends) {
			c.trips--
		}
	}
}

// runAppends makes trips until no append waits. It submits the next batch only after the answers to the last one.
func (c *conn) runAppends() {
	for {
		made := c.submitAppends()
		if made == nil {
			return
		}
		for _, m := range made {
			m.answer(c)
		}
	}
}

// A submitted is a batch of appends to one store that were submitted to the hub, and how to wait for their results.
type submitted struct {
	calls []*appendCall
	wait  func() ([]wire.Result, []error)
}

// submitAppends submits all waiting appends to the hub. Only one goroutine at a time submits, so that the appends keep
// their order. If no append waits, the trip ends.
func (c *conn) submitAppends() (made []*submitted) {
	c.submitting.Lock()
	defer c.submitting.Unlock()
	c.mu.Lock()
	// Under one lock: an append that arrives after the queue was found empty must see that this trip has ended, so that
	// it starts a new one.
	batch := c.appends
	c.appends = nil
	if len(batch) == 0 {
		c.trips--
	}
	c.mu.Unlock()
	stores := map[uuid.UUID]*submitted{}
	for _, a := range batch {
		s := stores[a.open.Store]
		if s == nil {
			s = &submitted{}
			stores[a.open.Store] = s
			made = append(made, s)
		}
		s.calls = append(s.calls, a)
	}
	for _, s := range made {
		requests := make([]*wire.Append, len(s.calls))
		for i, a := range s.calls {
			requests[i] = a.request
		}
		// The context is the context of the connection: an append that has been read is made, even if its channel is
		// cancelled.
		s.wait = dispatch.Appends(s.calls[0].ch.base, c.g.hub.Store(s.calls[0].open.Store), c, requests,
			func(i int) dispatch.Chain { return s.calls[i].chain })
	}
	return made
}

// answer waits for the appends and sends the answers together.
func (s *submitted) answer(c *conn) {
	results, errs := s.wait()
	answers := make([][]byte, len(s.calls))
	for i, a := range s.calls {
		c.close(a.ch)
		answers[i] = a.ch.encodeEnd(results[i], errs[i])
	}
	_ = c.out.put(answers...)
	c.finish(len(s.calls))
}

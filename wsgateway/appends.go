package wsgateway

import (
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// sendAppends starts a trip to the hub with the appends that wait, unless enough are under way.
// None waits for company: those that came while all trips were taken go together on the next.
func (c *conn) sendAppends() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendAppendsLocked()
}

func (c *conn) sendAppendsLocked() {
	if len(c.appends) > 0 && c.trips < maxTrips {
		c.trips++
		if !c.start(c.runAppends) {
			c.trips--
		}
	}
}

func (c *conn) runAppends() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.appends) > 0 {
		batch := c.appends
		c.appends = nil
		c.mu.Unlock()
		c.makeAppends(batch)
		c.mu.Lock()
	}
	c.trips--
}

// makeAppends makes one call for each store, and sends the answers together.
func (c *conn) makeAppends(batch []*appendCall) {
	for len(batch) > 0 {
		store := batch[0].open.Store
		var now, later []*appendCall
		for _, a := range batch {
			if a.open.Store == store {
				now = append(now, a)
			} else {
				later = append(later, a)
			}
		}
		c.appendTo(store, now)
		batch = later
	}
}

func (c *conn) appendTo(store uuid.UUID, batch []*appendCall) {
	requests := make([]*wire.Append, len(batch))
	for i, a := range batch {
		requests[i] = a.request
	}
	// An append that has been read is made, whatever becomes of its channel.
	results, errs := dispatch.Appends(batch[0].ch.base, c.g.hub.Store(store), c, requests)
	answers := make([][]byte, len(batch))
	for i, a := range batch {
		c.close(a.ch)
		answers[i] = a.ch.encodeEnd(results[i], errs[i])
	}
	_ = c.out.put(answers...)
	c.finish(len(batch))
}

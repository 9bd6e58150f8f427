package hotlog

import (
	"context"
	"time"
)

// A caller leads when it sends its own append to Redis because no batch of its lane is in flight. It saves handing the
// append to a goroutine of the lane and the answer back: two thread wake-ups, which cost more than the rest of the work
// for one append.
//
// The driver reads an answer until a deadline and does not see that a context was cancelled. So a lead has a deadline
// of its own, leadTime, for a caller whose context can end. After leadTime the lane sends the append again, as after
// any lost reply, while the caller waits. A lane whose last batch was not prompt carries the next one itself, so a slow
// server sees few repeats.

const (
	// leadTime is the time after which a leading caller hands its append to the lane. It also bounds how long a
	// cancelled caller is held up.
	leadTime = 200 * time.Millisecond
	// leadTrip is the longest round trip of the last batch of a lane with which a caller may lead.
	leadTrip = 10 * time.Millisecond
	// leadBytes is the largest append that its caller carries. A larger one may take its time.
	leadBytes = 256 << 10
)

// lead sends req to Redis if no batch of its lane is in flight, and reports whether it did. It runs under appender.mu,
// which it releases meanwhile.
func (a *appender) lead(ctx context.Context, req *request) bool {
	l := a.lanes[a.laneKey(req.place, req.durability)]
	if l == nil || !l.prompt || l.flights() > 0 || len(l.again) > 0 || len(l.ready) == 0 || len(req.body) > leadBytes ||
		waits(req.durability) || ctx.Done() != nil && !a.log.conn.HeedsDeadlines() || !a.log.conn.Known() {
		return false
	}
	if !a.log.tasks.Begin() {
		a.drop(l)
		return true
	}
	defer a.log.tasks.Done()
	batch := a.take(l)
	if len(batch) == 0 {
		return true
	}
	if ctx.Done() != nil {
		bounded, cancel := context.WithTimeout(ctx, leadTime)
		defer cancel()
		ctx = bounded
	}
	l.led++
	a.mu.Unlock()
	x := a.exchange(ctx, l.key.durability, batch)
	a.mu.Lock()
	a.settle(l, &x)
	l.led--
	a.wake(l)
	return true
}

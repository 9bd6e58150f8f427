package hotlog

import (
	"context"
	"time"
)

// A caller leads when it carries its own append to Redis because nothing of its lane is under way. It
// saves handing the append to a goroutine of the lane and the answer back: two wake-ups of threads, which
// cost more than all else that a process does for one append.
//
// The driver reads an answer until a deadline and does not see that a context was cancelled. So a lead
// has a deadline of its own, leadTime, for a caller whose context can end. What has no answer by then
// is sent again by the lane, as after any lost reply, while the caller waits for either. A lane whose
// last batch was not prompt carries the next one itself, so a slow server sees few repeats.

const (
	// leadTime is after what time a caller hands its append to the lane; a caller that is cancelled
	// is held up no longer than that.
	leadTime = 200 * time.Millisecond
	// leadTrip is how soon the last batch of a lane came back where a caller may lead.
	leadTrip = 10 * time.Millisecond
	// leadBytes is the largest append that its caller carries. A larger one may take its time.
	leadBytes = 256 << 10
)

// lead carries req to Redis if nothing of its lane is under way, and reports whether it did. It runs under
// appender.mu, which it releases meanwhile.
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

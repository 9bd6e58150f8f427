package follow

import (
	"context"
	"time"
)

// TellDelivered sets f, which is called with the timestamp of the first entry of each new batch of a segment or a
// space. f must not block. TellDelivered must be called before the first follower begins.
func (w *Watcher) TellDelivered(f func(ctx context.Context, appended time.Time)) { w.delivered = f }

// Lag returns how many known entries the slowest follower has not received yet. For followers of a space it counts only
// entries in memory.
func (w *Watcher) Lag() uint64 {
	w.mu.Lock()
	topics := make([]*topic, 0, len(w.topics))
	for _, t := range w.topics {
		topics = append(topics, t)
	}
	w.mu.Unlock()
	slowest := uint64(0)
	for _, t := range topics {
		slowest = max(slowest, t.lag())
	}
	return slowest
}

// admit adds a follower to those that Lag considers.
func (t *topic) admit(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.seen = f.at
	t.followed[f] = struct{}{}
}

func (t *topic) lag() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	slowest := uint64(0)
	for f := range t.followed {
		at := f.seen
		switch {
		case t.epoch == 0:
		case t.key.segment == "":
			slowest = max(slowest, t.window.after(at))
		case at.IsZero(), at.Incarnation == t.live.Incarnation && at.Sequence < t.live.Sequence:
			slowest = max(slowest, t.live.Sequence-at.Sequence)
		}
	}
	return slowest
}

// Connected reports whether the Pub/Sub connection works. Without a follower none is needed, and the result is true.
func (w *Watcher) Connected() bool { return !w.subscriber.wanted() || w.subscriber.serving.Load() }

package durable

import (
	"context"
	"sync"
	"time"
)

// renewals renew the sliding time to live of streams that are read. A process sends at most one renewal of a stream per
// renewEvery, however many readers the stream has.
type renewals struct {
	mu   sync.Mutex
	last map[streamKey]time.Time
}

const (
	// renewEvery is less than a tenth of the shortest time to live, which is a second.
	renewEvery  = 90 * time.Millisecond
	maxRenewals = 1 << 14
)

// touch renews the time to live. It ignores errors, so that the read does not fail: the next renewal makes up for it.
func (r *renewals) touch(ctx context.Context, s *stream) {
	if r.due(s.key(), time.Now()) {
		_, _ = s.store.Touch(ctx, s.space, s.segment)
	}
}

func (r *renewals) due(key streamKey, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.last[key]) < renewEvery {
		return false
	}
	if r.last == nil || len(r.last) >= maxRenewals {
		r.last = make(map[streamKey]time.Time)
	}
	r.last[key] = now
	return true
}

package follow

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/seed-147127fe/streamhub/internal/pause"
)

// A backoff is the time between tries that fail: it doubles, with jitter, up to longest.
type backoff struct{ next time.Duration }

const (
	shortest = 20 * time.Millisecond
	longest  = time.Second
)

func (b *backoff) reset() { b.next = 0 }

// wait reports false if ctx ended before.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, shortest), longest)
	return pause.For(ctx, b.next/2+rand.N(b.next/2+1))
}

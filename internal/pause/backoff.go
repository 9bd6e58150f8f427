package pause

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// A Backoff is the time between attempts that fail: it begins with First, doubles up to Longest, and each
// pause is a random time between half and all of it. It is used by one goroutine at a time.
type Backoff struct {
	First, Longest time.Duration
	next           time.Duration
}

// Next returns the next pause.
func (b *Backoff) Next() time.Duration {
	b.next = min(max(2*b.next, b.First), b.Longest)
	return Jitter(b.next)
}

// Wait waits for the next pause. It reports false if ctx ended before.
func (b *Backoff) Wait(ctx context.Context) bool { return For(ctx, b.Next()) }

// Reset begins again with First.
func (b *Backoff) Reset() { b.next = 0 }

// Jitter returns a random duration from d/2 to d.
func Jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// Worthwhile reports whether a call should make another attempt itself while its caller waits. That is
// [streamhub.Retryable] except for a full Redis: it stays full until an operator makes room, so the caller is
// told at once and decides.
func Worthwhile(err error) bool {
	var unavailable *streamhub.UnavailableError
	full := errors.As(err, &unavailable) && unavailable.Reason == streamhub.ReasonFull
	return !full && streamhub.Retryable(err)
}

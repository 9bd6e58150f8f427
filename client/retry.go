package client

import (
	"context"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// A RetryPolicy says how often a call is made and how long to wait in between. Each wait is between
// half and all of the time that is due, at random.
type RetryPolicy struct {
	// Attempts is how often at most; 1 or less is once.
	Attempts int
	// InitialDelay is after the first attempt; each further one is Multiplier times as long, up to
	// MaxDelay.
	InitialDelay, MaxDelay time.Duration
	Multiplier             float64
}

// DefaultRetryPolicy makes 5 attempts, 100 ms to 5 s apart, doubling.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{Attempts: 5, InitialDelay: 100 * time.Millisecond, MaxDelay: 5 * time.Second, Multiplier: 2}
}

// AggressiveRetryPolicy makes 8 attempts, 200 ms to 15 s apart, growing by half.
func AggressiveRetryPolicy() RetryPolicy {
	return RetryPolicy{Attempts: 8, InitialDelay: 200 * time.Millisecond, MaxDelay: 15 * time.Second, Multiplier: 1.5}
}

// NoRetryPolicy makes each call once.
func NoRetryPolicy() RetryPolicy { return RetryPolicy{Attempts: 1} }

// delay is how long to wait after an attempt, which counts from 0.
func (p RetryPolicy) delay(attempt int) time.Duration {
	d := float64(p.InitialDelay)
	for range attempt {
		if d *= p.Multiplier; d >= float64(p.MaxDelay) {
			d = float64(p.MaxDelay)
			break
		}
	}
	return pause.Jitter(time.Duration(d))
}

// IsRetryable is [streamhub.Retryable].
func IsRetryable(err error) bool { return streamhub.Retryable(err) }

// again makes a call by the policy of the client.
func again(ctx context.Context, c *Client, op string, call func(ctx context.Context) error) error {
	ctx, o := c.observe(ctx, op)
	var err error
	for attempt := 0; ; attempt++ {
		err = call(ctx)
		if err == nil || !streamhub.Retryable(err) || attempt+1 >= c.opt.retry.Attempts || !pause.For(ctx, c.opt.retry.delay(attempt)) {
			break
		}
		o.retried()
	}
	o.end(err)
	return err
}

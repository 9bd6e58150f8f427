package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// A RetryPolicy says how often a call is attempted and how long to wait between attempts. Each wait
// is random, between half of the current delay and all of it.
type RetryPolicy struct {
	// Attempts is the largest number of attempts; values below 1 count as 1.
	Attempts int
	// InitialDelay is the delay after the first attempt. Each further delay is Multiplier times as
	// long, up to MaxDelay.
	InitialDelay, MaxDelay time.Duration
	Multiplier             float64
}

// DefaultRetryPolicy makes 5 attempts; the delays between them double, from 100 ms to at most 5 s.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{Attempts: 5, InitialDelay: 100 * time.Millisecond, MaxDelay: 5 * time.Second, Multiplier: 2}
}

// AggressiveRetryPolicy makes 8 attempts; the delays between them grow by half, from 200 ms to at most 15 s.
func AggressiveRetryPolicy() RetryPolicy {
	return RetryPolicy{Attempts: 8, InitialDelay: 200 * time.Millisecond, MaxDelay: 15 * time.Second, Multiplier: 1.5}
}

// NoRetryPolicy makes each call once.
func NoRetryPolicy() RetryPolicy { return RetryPolicy{Attempts: 1} }

// delay returns how long to wait after an attempt; the first attempt is 0.
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

// again makes a call and retries it by the policy of the client. It makes no call after the client is closed.
func again(ctx context.Context, c *Client, op string, call func(ctx context.Context) error) error {
	ctx, o := c.observe(ctx, op)
	var err error
	// isOver is false while Close waits for its tasks: they may make last calls.
	if c.isOver() {
		err = &streamhub.Error{Op: op, Err: streamhub.ErrShutdown}
		o.end(err)
		return err
	}
	for attempt := 0; ; attempt++ {
		err = since(err, call(ctx))
		if err == nil || !streamhub.Retryable(err) || attempt+1 >= c.opt.retry.Attempts {
			break
		}
		if !pause.For(ctx, c.opt.retry.delay(attempt)) {
			err = interrupted(ctx, err)
			break
		}
		o.retried()
	}
	o.end(err)
	return err
}

// since returns the error of a call whose last two attempts ended with before and then err. If before is an unknown
// outcome and err says only that the last attempt did nothing, the outcome stays unknown.
func since(before, err error) error {
	var lost *streamhub.UnknownOutcomeError
	if !errors.As(before, &lost) || !inconclusive(err) {
		return err
	}
	return renamed(before, unknown(lost.TRX, err))
}

// inconclusive reports whether err says only that its own attempt did nothing.
func inconclusive(err error) bool {
	if errors.Is(err, streamhub.ErrUnknownOutcome) {
		return false
	}
	return isEnd(err) || errors.Is(err, streamhub.ErrShutdown) || errors.Is(err, streamhub.ErrUnavailable) ||
		errors.Is(err, streamhub.ErrUnauthenticated) || errors.Is(err, streamhub.ErrLimitExceeded)
}

// interrupted returns the error of a call whose context ended while it waited to retry after err.
func interrupted(ctx context.Context, err error) error {
	var lost *streamhub.UnknownOutcomeError
	if errors.As(err, &lost) {
		return renamed(err, &streamhub.UnknownOutcomeError{TRX: lost.TRX, Err: fmt.Errorf("%w: %v", ctx.Err(), lost.Err)})
	}
	cause := err
	var call *streamhub.Error
	if errors.As(err, &call) {
		cause = call.Err
	}
	return renamed(err, fmt.Errorf("%w: %v", ctx.Err(), cause))
}

// renamed wraps err in a copy of the [streamhub.Error] that named contains. If named contains none, it returns err.
func renamed(named, err error) error {
	var call *streamhub.Error
	if !errors.As(named, &call) {
		return err
	}
	again := *call
	again.Err = err
	return &again
}

package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	hubclient "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// A RetryPolicy says how often a call is attempted and how long to wait between attempts.
type RetryPolicy struct {
	MaxAttempts       int
	InitialBackoff    time.Duration
	MaxBackoff        time.Duration
	BackoffMultiplier float64
}

// DefaultRetryPolicy makes 5 attempts; the delays between them double, from 100 ms to at most 5 s.
func DefaultRetryPolicy() RetryPolicy { return policyOf(hubclient.DefaultRetryPolicy()) }

// AggressiveRetryPolicy makes 8 attempts; the delays between them grow by half, from 200 ms to at most 15 s.
func AggressiveRetryPolicy() RetryPolicy { return policyOf(hubclient.AggressiveRetryPolicy()) }

func policyOf(p hubclient.RetryPolicy) RetryPolicy {
	return RetryPolicy{MaxAttempts: p.Attempts, InitialBackoff: p.InitialDelay, MaxBackoff: p.MaxDelay, BackoffMultiplier: p.Multiplier}
}

func (p *RetryPolicy) policy() hubclient.RetryPolicy {
	return hubclient.RetryPolicy{Attempts: p.MaxAttempts, InitialDelay: p.InitialBackoff, MaxDelay: p.MaxBackoff, Multiplier: p.BackoffMultiplier}
}

// IsRetryable reports whether the same call can succeed later. It decides by the code of the error, also for an error
// that a program made with [api.NewTransientError] or [api.NewPermanentError].
func IsRetryable(err error) bool {
	var own *api.StreamsError
	if errors.As(err, &own) {
		return own.Code == 1
	}
	return hubclient.IsRetryable(err)
}

// RetryWithBackoff calls fn until it succeeds, fails for good, the attempts of the policy are used up, or ctx ends. It
// returns the last error of fn.
func RetryWithBackoff(ctx context.Context, policy RetryPolicy, fn func(ctx context.Context) error) error {
	delay := float64(policy.InitialBackoff)
	for attempt := 1; ; attempt++ {
		err := fn(ctx)
		if err == nil || !IsRetryable(err) || attempt >= policy.MaxAttempts || !pause.For(ctx, time.Duration(delay*(0.5+rand.Float64()/2))) {
			return err
		}
		delay = min(delay*policy.BackoffMultiplier, float64(policy.MaxBackoff))
	}
}

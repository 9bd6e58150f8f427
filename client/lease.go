package client

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/instance"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

const (
	// goodbye bounds the calls that are made after their context has ended.
	goodbye = time.Second
	// leasePoll is the longest delay between two attempts to acquire a lease that another holder has.
	leasePoll = 500 * time.Millisecond
)

// WithLease acquires the lease on key, runs fn while it renews the lease, and releases it. Pass token as Generation to
// appends. If another holder has the lease, WithLease retries until wait has passed; with a wait of 0 or less it does
// not retry. If it does not get the lease, fn is not called and the error is a [streamhub.LeaseHeldError]. The ttl is
// 10 ms to 24 h ([streamhub.ErrInvalidArgument]).
//
// The context of fn ends with [streamhub.ErrLeaseLost] as its cause when the lease is lost. It also ends when two
// thirds of the ttl have passed since the last confirmed renewal was sent, so without a network it ends before the
// lease does. Its Err is [context.Canceled] in each case: [context.Cause] says which. fn must then stop, and WithLease
// returns [streamhub.ErrLeaseLost] joined to the error of fn.
//
// The holder is "<host>/<process id>/<random id>". Another caller of Acquire sees it in its [streamhub.LeaseHeldError].
func (s *Store) WithLease(ctx context.Context, key string, ttl, wait time.Duration, fn func(ctx context.Context, token uint64) error) error {
	holder := instance.Name() + "/" + uuid.NewString()
	token, sent, err := s.acquire(ctx, key, holder, ttl, wait)
	release := func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		_, _ = s.inner.ReleaseLeaseAs(bye, key, holder) // if the release fails, the ttl ends the lease
	}
	// The lease may have been acquired. Unless it is released, it excludes others for its whole ttl.
	if errors.Is(err, streamhub.ErrUnknownOutcome) {
		release()
	}
	if err != nil {
		return err
	}
	held, lose := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		if err := s.renew(held, key, holder, ttl, sent, stop); err != nil {
			lose(fault.At(streamhub.Error{Op: "renew lease", Store: s.ID(), Lease: key}, err))
		}
	}()
	defer func() {
		// Renewals stop before the release: a renewal in flight could acquire the lease again after it.
		close(stop)
		<-renewed
		lose(nil)
		release()
	}()
	err = fn(held, token)
	if cause := context.Cause(held); errors.Is(cause, streamhub.ErrLeaseLost) && !errors.Is(err, streamhub.ErrLeaseLost) {
		err = errors.Join(err, cause)
	}
	return err
}

// acquire returns the token and when the request for it was sent.
func (s *Store) acquire(ctx context.Context, key, holder string, ttl, wait time.Duration) (uint64, time.Time, error) {
	until := time.Now().Add(wait)
	for {
		// Redis starts the ttl later than this. So a deadline that counts from here passes before the lease ends.
		sent := time.Now()
		token, err := s.AcquireLeaseAs(ctx, key, holder, ttl)
		var held *streamhub.LeaseHeldError
		if err == nil || !errors.As(err, &held) || !time.Now().Before(until) {
			return token, sent, err
		}
		if !pause.For(ctx, min(leasePoll, max(held.Left, time.Millisecond), max(time.Until(until), time.Millisecond))) {
			return 0, sent, fault.At(streamhub.Error{Op: "acquire lease", Store: s.ID(), Lease: key}, ctx.Err())
		}
	}
}

// renew renews at each third of the ttl until stop is closed. It returns an error when the lease is
// lost or can no longer be trusted. The end of ctx does not end it: fn may still be at work.
func (s *Store) renew(ctx context.Context, key, holder string, ttl time.Duration, sent time.Time, stop <-chan struct{}) error {
	ctx = context.WithoutCancel(ctx)
	trusted := sent.Add(ttl / 3 * 2)
	var last error // of the last renewal
	for next := sent.Add(ttl / 3); ; {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return nil
		}
		// As in acquire, the time before the request is the one that counts.
		now := time.Now()
		if !now.Before(trusted) {
			return fault.Unrenewed(last)
		}
		try, cancel := context.WithDeadline(ctx, trusted)
		unbind := make(chan struct{})
		// A stop cancels the attempt in flight, because WithLease waits for it.
		go func() {
			defer close(unbind)
			select {
			case <-stop:
				cancel()
			case <-try.Done():
			}
		}()
		// The retry policy of the client is not used: its delays could outlast trusted.
		_, err := s.inner.RenewLeaseAs(try, key, holder, ttl)
		cancel()
		<-unbind
		last = err
		switch {
		case err == nil:
			trusted = now.Add(ttl / 3 * 2)
			next = now.Add(ttl / 3)
		case errors.Is(err, streamhub.ErrLeaseLost):
			return err
		default:
			next = time.Now().Add(min(ttl/30, leasePoll))
			if next.After(trusted) {
				next = trusted
			}
		}
	}
}

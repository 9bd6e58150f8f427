package testredis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pollInterval is how often a condition is asked for; limits are generous, because they only matter on a machine that
// is busy with other tests.
const (
	pollInterval = 10 * time.Millisecond
	startLimit   = 30 * time.Second
	stopLimit    = 20 * time.Second
	formLimit    = 60 * time.Second
	askLimit     = 2 * time.Second
)

// errPermanent marks an error that more polling cannot cure.
var errPermanent = errors.New("permanent")

// poll calls check until it returns nil or an errPermanent, or until limit has passed.
func poll(limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil || errors.Is(err, errPermanent) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}

// each calls f(0) to f(n-1) at the same time and joins the errors.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

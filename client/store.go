package client

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// Append adds records, all or none, to the end of a segment. An attempt whose answer was lost is
// repeated with the same TRX id, so the records are stored once.
func (s *Store) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (r streamhub.AppendResult, err error) {
	o := withTRX(options)
	err = again(ctx, s.c, "append", func(ctx context.Context) (err error) {
		r, err = s.inner.Append(ctx, space, segment, records, o)
		return err
	})
	return r, err
}

// withTRX returns a copy of options with a TRX id, which all attempts share.
func withTRX(options *streamhub.AppendOptions) *streamhub.AppendOptions {
	o := value(options)
	if o.TRX == uuid.Nil {
		o.TRX = uuid.New()
	}
	return &o
}

// AppendAll makes several appends at once, those to one segment in the order given. Those that can
// succeed later are retried, in that order.
func (s *Store) AppendAll(ctx context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	results, errs := make([]streamhub.AppendResult, len(appends)), make([]error, len(appends))
	left := make([]int, len(appends))
	calls := make([]streamhub.Append, len(appends))
	for i, a := range appends {
		a.Options = withTRX(a.Options)
		calls[i], left[i] = a, i
	}
	gaveUp := again(ctx, s.c, "append all", func(ctx context.Context) (failed error) {
		batch := make([]streamhub.Append, len(left))
		for i, place := range left {
			batch[i] = calls[place]
		}
		done, failures := s.inner.AppendAll(ctx, batch)
		var next []int
		for i, place := range left {
			results[place], errs[place] = done[i], since(errs[place], failures[i])
			if streamhub.Retryable(errs[place]) {
				next = append(next, place)
				failed = errs[place]
			}
		}
		left = next
		return failed
	})
	for _, place := range left {
		switch {
		case errs[place] == nil: // no attempt was made
			errs[place] = gaveUp
		case ctx.Err() != nil:
			errs[place] = interrupted(ctx, errs[place])
		}
	}
	return results, errs
}

// Create makes a segment. If the answer to an attempt was lost, created can be false although this
// call made the segment.
func (s *Store) Create(ctx context.Context, space, segment string, options *streamhub.CreateOptions) (status streamhub.Status, created bool, err error) {
	err = again(ctx, s.c, "create", func(ctx context.Context) (err error) {
		status, created, err = s.inner.Create(ctx, space, segment, options)
		return err
	})
	return status, created, err
}

// CloseSegment ends a segment with a verdict: it is an append without records, and options are
// those of an append.
func (s *Store) CloseSegment(ctx context.Context, space, segment string, verdict streamhub.Verdict, options *streamhub.AppendOptions) (r streamhub.AppendResult, err error) {
	o := withTRX(options)
	err = again(ctx, s.c, "close", func(ctx context.Context) (err error) {
		r, err = s.inner.CloseSegment(ctx, space, segment, verdict, o)
		return err
	})
	return r, err
}

// Delete ends a segment and removes its entries.
func (s *Store) Delete(ctx context.Context, space, segment, reason string) error {
	return again(ctx, s.c, "delete", func(ctx context.Context) error { return s.inner.Delete(ctx, space, segment, reason) })
}

// Trim removes entries from the start of a segment up to sequence upTo, and returns the first sequence that is kept.
// Entries that were appended together are removed together. So up to one append's worth of the entries up to upTo may
// be kept.
func (s *Store) Trim(ctx context.Context, space, segment string, upTo uint64) (uint64, error) {
	return result(ctx, s, "trim", func(ctx context.Context) (uint64, error) { return s.inner.Trim(ctx, space, segment, upTo) })
}

// Expire lets a segment expire when ttl has passed, in place of its present time to live, and returns the deadline.
// Appends and touches do not renew it. A retried attempt counts the ttl from the retry. With a ttl of 0 the segment
// never expires, and the deadline is the zero Time.
func (s *Store) Expire(ctx context.Context, space, segment string, ttl time.Duration) (time.Time, error) {
	return result(ctx, s, "expire", func(ctx context.Context) (time.Time, error) { return s.inner.Expire(ctx, space, segment, ttl) })
}

// Touch renews the time to live of a segment and returns the deadline, the zero Time for
// none.
func (s *Store) Touch(ctx context.Context, space, segment string) (time.Time, error) {
	return result(ctx, s, "touch", func(ctx context.Context) (time.Time, error) { return s.inner.Touch(ctx, space, segment) })
}

// Status describes a segment. If it does not exist, the error is [streamhub.ErrNotFound].
func (s *Store) Status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	return result(ctx, s, "status", func(ctx context.Context) (streamhub.Status, error) { return s.inner.Status(ctx, space, segment) })
}

// SpaceEnd returns the cursor after the last entry of a space.
func (s *Store) SpaceEnd(ctx context.Context, space string) (streamhub.Cursor, error) {
	return result(ctx, s, "space end", func(ctx context.Context) (streamhub.Cursor, error) { return s.inner.SpaceEnd(ctx, space) })
}

// Peek returns the last entry of a segment; if it keeps none, the error is [streamhub.ErrNotFound].
func (s *Store) Peek(ctx context.Context, space, segment string) (streamhub.Entry, error) {
	return result(ctx, s, "peek", func(ctx context.Context) (streamhub.Entry, error) { return s.inner.Peek(ctx, space, segment) })
}

// AcquireLeaseAs acquires a lease for a holder that the caller names. The caller renews it; see [Store.WithLease] for
// one that is renewed.
func (s *Store) AcquireLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	return result(ctx, s, "acquire lease", func(ctx context.Context) (uint64, error) { return s.inner.AcquireLeaseAs(ctx, key, holder, ttl) })
}

// RenewLeaseAs restarts the ttl of a lease.
func (s *Store) RenewLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	return result(ctx, s, "renew lease", func(ctx context.Context) (uint64, error) { return s.inner.RenewLeaseAs(ctx, key, holder, ttl) })
}

// ReleaseLeaseAs reports whether the holder had the lease. If the answer to an attempt was lost, it
// can be false although this call released it.
func (s *Store) ReleaseLeaseAs(ctx context.Context, key, holder string) (bool, error) {
	return result(ctx, s, "release lease", func(ctx context.Context) (bool, error) { return s.inner.ReleaseLeaseAs(ctx, key, holder) })
}

func result[T any](ctx context.Context, s *Store, op string, call func(ctx context.Context) (T, error)) (r T, err error) {
	err = again(ctx, s.c, op, func(ctx context.Context) (err error) {
		r, err = call(ctx)
		return err
	})
	return r, err
}

// Spaces lists the spaces of the store in byte order.
func (s *Store) Spaces(ctx context.Context) iter.Seq2[string, error] {
	return s.names(ctx, s.inner.Spaces)
}

// Segments lists the segments of a space in byte order.
func (s *Store) Segments(ctx context.Context, space string) iter.Seq2[string, error] {
	return s.names(ctx, func(ctx context.Context) iter.Seq2[string, error] { return s.inner.Segments(ctx, space) })
}

// names runs list again after a lost connection, and skips the names that it has given.
func (s *Store) names(ctx context.Context, list func(ctx context.Context) iter.Seq2[string, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last, any := "", false
		resume(ctx, s.c, "list", s.c.opt.retry.Attempts, yield, func(ctx context.Context, pass func(string) bool) error {
			for name, err := range list(ctx) {
				if err != nil {
					return err
				}
				// The listing started again, and this name was already given.
				if any && name <= last {
					continue
				}
				last, any = name, true
				if !pass(name) {
					return nil
				}
			}
			return nil
		})
	}
}

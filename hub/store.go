package hub

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/instance"
	"github.com/seed-147127fe/streamhub/lease"
)

// A Store is one tenant; no call reaches the data of another one. It is safe for concurrent use.
type Store struct {
	hub *Hub
	log *hotlog.Store
}

// ID returns the id of the store.
func (s *Store) ID() uuid.UUID { return s.log.ID() }

// Append adds records, all or none, to the end of a segment, which is created if need be.
// Concurrent appends travel together; each keeps its own answer. Records may not be changed before it
// returns. Appends of one goroutine keep their order.
//
// If ctx ends before the append is sent, nothing has happened. If it ends later, the error is a
// [streamhub.UnknownOutcomeError]; repeat the call on the same hub with the TRX id of the error. To
// recognise repeats a hub remembers the last 64 appends of a segment, for up to ten minutes; those
// of a named producer are remembered in Redis. A result comes with an error only for
// [streamhub.ErrNotConfirmed].
func (s *Store) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	ctx, call := s.hub.observer.begin(ctx, "append", s, space, segment)
	r, err := s.log.Append(ctx, space, segment, records, options)
	call.endAppends(stored(records, options, &r, err), err)
	return r, err
}

// AppendAll makes several appends at once. Those to different segments travel together, those to one segment are stored
// in the order given; results and errors are in the order of appends. Each succeeds or fails by itself. An append that
// ends with [streamhub.ErrUnavailable] or [streamhub.ErrUnknownOutcome] can still be stored. So the later appends to
// the same segment are not made and end with ErrUnavailable. Repeat the failed ones in their order.
func (s *Store) AppendAll(ctx context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	ctx, call := s.hub.observer.begin(ctx, "append all", s, "", "")
	results, errs := s.log.AppendAll(ctx, appends)
	call.endAll(results, errs, func(i int) *streamhub.Append { return &appends[i] })
	return results, errs
}

// Create makes a segment with options. If the segment exists with the same options, created is false; with other
// options the error is [streamhub.ErrConflict].
func (s *Store) Create(ctx context.Context, space, segment string, options *streamhub.CreateOptions) (status streamhub.Status, created bool, err error) {
	ctx, call := s.hub.observer.begin(ctx, "create", s, space, segment)
	status, created, err = s.log.Create(ctx, space, segment, options)
	records := 0
	if created && options != nil {
		records = len(options.Records)
	}
	call.endAppends(records, err)
	return status, created, err
}

// CloseSegment ends a segment with a verdict: it is an append without records, and options are those of an append. If
// the segment is already closed, the error is a [streamhub.ClosedError].
func (s *Store) CloseSegment(ctx context.Context, space, segment string, verdict streamhub.Verdict, options *streamhub.AppendOptions) (r streamhub.AppendResult, err error) {
	ctx, call := s.hub.observer.begin(ctx, "close", s, space, segment)
	defer func() { call.end(err) }()
	return s.log.CloseSegment(ctx, space, segment, verdict, options)
}

// Delete ends a segment with the verdict deleted and removes its entries. Entries that forks read stay until the last
// fork is removed.
func (s *Store) Delete(ctx context.Context, space, segment, reason string) (err error) {
	ctx, call, err := s.begin(ctx, "delete", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return err
	}
	return s.log.Delete(ctx, space, segment, reason)
}

// Trim removes entries from the start of a segment up to sequence upTo, and returns the first sequence that is kept.
// Entries that were appended together are removed together. So up to one append's worth of the entries up to upTo may
// be kept.
func (s *Store) Trim(ctx context.Context, space, segment string, upTo uint64) (firstKept uint64, err error) {
	ctx, call, err := s.begin(ctx, "trim", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return 0, err
	}
	return s.log.Trim(ctx, space, segment, upTo)
}

// Expire lets a segment expire when ttl has passed, in place of its present time to live, and returns the deadline.
// Neither appends nor touches renew it. With a ttl of 0 the segment never expires, and the deadline is the zero Time.
func (s *Store) Expire(ctx context.Context, space, segment string, ttl time.Duration) (deadline time.Time, err error) {
	ctx, call, err := s.begin(ctx, "expire", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return time.Time{}, err
	}
	return s.log.Expire(ctx, space, segment, ttl)
}

// Touch renews the sliding time to live of a segment and returns the deadline in force, the zero
// Time if it has none.
func (s *Store) Touch(ctx context.Context, space, segment string) (deadline time.Time, err error) {
	ctx, call, err := s.begin(ctx, "touch", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return time.Time{}, err
	}
	return s.log.Touch(ctx, space, segment)
}

// Status describes a segment. If it does not exist, the error is [streamhub.ErrNotFound].
func (s *Store) Status(ctx context.Context, space, segment string) (status streamhub.Status, err error) {
	ctx, call, err := s.begin(ctx, "status", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return status, err
	}
	return s.log.Status(ctx, space, segment)
}

// SpaceEnd returns the cursor after the last entry of a space, "" if it never had one.
func (s *Store) SpaceEnd(ctx context.Context, space string) (cursor streamhub.Cursor, err error) {
	ctx, call, err := s.begin(ctx, "space end", space, "")
	defer func() { call.end(err) }()
	if err != nil {
		return "", err
	}
	end, err := s.log.SpaceEnd(ctx, space)
	if err != nil || end.IsZero() {
		return "", err
	}
	return end.Cursor(), nil
}

// Peek returns the last entry of a segment; if it keeps none, the error is [streamhub.ErrNotFound].
func (s *Store) Peek(ctx context.Context, space, segment string) (entry streamhub.Entry, err error) {
	ctx, call, err := s.begin(ctx, "peek", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return entry, err
	}
	return s.log.Peek(ctx, space, segment)
}

// Spaces lists the spaces of the store in byte order.
func (s *Store) Spaces(ctx context.Context) iter.Seq2[string, error] {
	return unlessClosed(s, streamhub.Error{Op: "spaces"}, s.log.AllSpaces(ctx))
}

// Segments lists the segments of a space in byte order. A space that does not exist has none.
func (s *Store) Segments(ctx context.Context, space string) iter.Seq2[string, error] {
	return unlessClosed(s, streamhub.Error{Op: "segments", Space: space}, s.log.AllSegments(ctx, space))
}

// ConsumeSegment reads the entries that a segment holds when the read begins, in order. If the segment does not exist,
// the error is [streamhub.ErrNotFound]; see docs/contracts.md for the errors of a cursor. The sequence can be ranged
// over again and then reads what the segment holds at that time.
func (s *Store) ConsumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.entries(ctx, "consume", space, segment, func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return s.log.ConsumeSegment(ctx, space, segment, options)
	})
}

// ConsumeSpace reads the entries that a space holds when the read begins, over all of its segments, in the order in
// which Redis took them. A space that does not exist is empty.
func (s *Store) ConsumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.entries(ctx, "consume", space, "", func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return s.log.ConsumeSpace(ctx, space, options)
	})
}

// Consume reads several spaces at once, each after its cursor ("" for the start), and merges their
// entries by timestamp.
func (s *Store) Consume(ctx context.Context, cursors map[string]streamhub.Cursor, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.entries(ctx, "consume", "", "", func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return s.log.Consume(ctx, cursors, options)
	})
}

// FollowSegment reads a segment and goes on with what is appended, until ctx ends, the segment ends or the
// loop is left. If the segment does not exist yet, the follower waits for it. After the last entry of a
// closed segment the error is a [streamhub.ClosedError] with the verdict.
func (s *Store) FollowSegment(ctx context.Context, space, segment string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return s.follow(ctx, space, segment, func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return s.hub.watcher.FollowSegment(ctx, s.log, space, segment, options)
	})
}

// FollowSpace follows all segments of a space, in the order in which Redis takes their entries.
func (s *Store) FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return s.follow(ctx, space, "", func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return s.hub.watcher.FollowSpace(ctx, s.log, space, options)
	})
}

// SubscribeSegment gives the status of a segment, if it exists, and then a new status after each change. A reader that
// is slower than the changes gets the newest status.
func (s *Store) SubscribeSegment(ctx context.Context, space, segment string) iter.Seq2[streamhub.Status, error] {
	return s.hub.watcher.SubscribeSegment(ctx, s.log, space, segment)
}

// SubscribeSpace gives the status of every segment of a space in byte order, and then the status of each segment that
// changes.
func (s *Store) SubscribeSpace(ctx context.Context, space string) iter.Seq2[streamhub.Status, error] {
	return s.hub.watcher.SubscribeSpace(ctx, s.log, space)
}

// JoinWorkers puts a worker on the list of the store, which every instance sees, and renews it
// until the worker leaves or ctx ends. If the process dies, the worker is removed after ttl.
func (s *Store) JoinWorkers(ctx context.Context, worker streamhub.Worker, ttl time.Duration) (streamhub.Membership, error) {
	if err := s.checkOpen(streamhub.Error{Op: "join"}); err != nil {
		return nil, err
	}
	m, err := s.hub.watcher.Join(ctx, s.ID(), worker, ttl)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Workers gives the list of workers, sorted by id, now and after each change of it.
func (s *Store) Workers(ctx context.Context) iter.Seq2[[]streamhub.Worker, error] {
	return s.hub.watcher.Workers(ctx, s.ID())
}

// AcquireLease acquires the lease on key for ttl, or returns a [streamhub.LeaseHeldError] at once. The
// caller renews and releases it, and passes its token as Generation to appends. See [Store.WithLease] for
// a lease that is renewed.
func (s *Store) AcquireLease(ctx context.Context, key string, ttl time.Duration) (*lease.Lease, error) {
	if err := s.checkOpen(streamhub.Error{Op: "acquire lease", Lease: key}); err != nil {
		return nil, err
	}
	return s.hub.leases.Acquire(ctx, s.ID(), key, ttl)
}

// AcquireLeaseAs, RenewLeaseAs and ReleaseLeaseAs act for a holder whose name the caller chooses; see
// [lease.Manager.AcquireAs].
func (s *Store) AcquireLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	if err := s.checkOpen(streamhub.Error{Op: "acquire lease", Lease: key}); err != nil {
		return 0, err
	}
	return s.hub.leases.AcquireAs(ctx, s.ID(), key, holder, ttl)
}

// RenewLeaseAs: see [Store.AcquireLeaseAs].
func (s *Store) RenewLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	if err := s.checkOpen(streamhub.Error{Op: "renew lease", Lease: key}); err != nil {
		return 0, err
	}
	return s.hub.leases.RenewAs(ctx, s.ID(), key, holder, ttl)
}

// ReleaseLeaseAs: see [Store.AcquireLeaseAs].
func (s *Store) ReleaseLeaseAs(ctx context.Context, key, holder string) (bool, error) {
	if err := s.checkOpen(streamhub.Error{Op: "release lease", Lease: key}); err != nil {
		return false, err
	}
	return s.hub.leases.ReleaseAs(ctx, s.ID(), key, holder)
}

// Leases gives the leases of the store that are held now; see [lease.Manager.List].
func (s *Store) Leases(ctx context.Context) iter.Seq2[lease.Listed, error] {
	return unlessClosed(s, streamhub.Error{Op: "list leases"}, s.hub.leases.List(ctx, s.ID()))
}

// WithLease acquires the lease on key, runs fn while it renews the lease, releases it and returns the error of fn. If
// another holder has the lease, WithLease retries until wait has passed; with a wait of 0 or less it does not retry. If
// it does not get the lease, fn is not called and the error is a [streamhub.LeaseHeldError]. The ttl is 10 ms to 24 h
// ([streamhub.ErrInvalidArgument]). Pass token as Generation to appends.
//
// If the lease is lost, the context of fn ends before the lease does. Its Err is [context.Canceled] and its cause,
// which [context.Cause] returns, [streamhub.ErrLeaseLost]; see [lease.Manager.WithLease].
func (s *Store) WithLease(ctx context.Context, key string, ttl, wait time.Duration, fn func(ctx context.Context, token uint64) error) error {
	if err := s.checkOpen(streamhub.Error{Op: "acquire lease", Lease: key}); err != nil {
		return err
	}
	leases := s.hub.leases
	if wait > 0 {
		leases = lease.New(s.hub.conn, &lease.Options{Name: instance.Name(), Wait: wait})
	}
	return leases.WithLease(ctx, s.ID(), key, ttl, func(ctx context.Context, l *lease.Lease) error { return fn(ctx, l.Token()) })
}

// begin starts the observation of a call. It fails if the hub is closed, so that nothing is sent to Redis. Appends and
// followers need no such check: the log and the watcher refuse them, and end those that are under way.
func (s *Store) begin(ctx context.Context, op, space, segment string) (context.Context, call, error) {
	ctx, call := s.hub.observer.begin(ctx, op, s, space, segment)
	return ctx, call, s.checkOpen(streamhub.Error{Op: op, Space: space, Segment: segment})
}

// checkOpen returns nil until the hub is closed. After that it returns [streamhub.ErrShutdown] wrapped in where, which
// names the call.
func (s *Store) checkOpen(where streamhub.Error) error {
	where.Store = s.ID()
	return s.hub.checkOpen(where)
}

// unlessClosed returns items. If the hub is closed when they are ranged over, they end at once with its error.
func unlessClosed[T any](s *Store, where streamhub.Error, items iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := s.checkOpen(where); err != nil {
			var none T
			yield(none, err)
			return
		}
		items(yield)
	}
}

// entries observes a read: one span and one count for all of it.
func (s *Store) entries(ctx context.Context, op, space, segment string, read func(ctx context.Context) iter.Seq2[streamhub.Entry, error]) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		ctx, call, failed := s.begin(ctx, op, space, segment)
		n := int64(0)
		defer func() {
			s.hub.observer.delivered.Add(ctx, n)
			call.end(failed)
		}()
		if failed != nil {
			yield(streamhub.Entry{}, failed)
			return
		}
		for e, err := range read(ctx) {
			if failed = err; err == nil {
				n++
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// follow counts a follower. It has no span, because it may live for days.
func (s *Store) follow(ctx context.Context, space, segment string, read func(ctx context.Context) iter.Seq2[streamhub.Entry, error]) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		o := s.hub.observer
		o.followers.Add(ctx, 1)
		defer o.followers.Add(ctx, -1)
		for e, err := range read(ctx) {
			if err == nil {
				o.delivered.Add(ctx, 1)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

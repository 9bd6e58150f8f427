package store

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A Store is one tenant; no call reaches the data of another one. It is safe for concurrent use.
type Store struct{ log *hotlog.Store }

// ID returns the id of the store.
func (s *Store) ID() uuid.UUID { return s.log.ID() }

// Append adds records, all or none, to the end of a segment, which is created unless
// [streamhub.AppendOptions.MustExist] says otherwise. Concurrent appends share round trips; each gets
// its own result.
//
// If ctx ends before the append was sent, nothing happened. If it ends later, the error is
// [streamhub.ErrUnknownOutcome]: the append may have been stored, and repeating it with the TRX id of
// the error is safe. A result comes with an error only for [streamhub.ErrNotConfirmed].
func (s *Store) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	return s.log.Append(ctx, space, segment, records, options)
}

// AppendAll makes several appends at once. Each succeeds or fails by itself; results and errors are
// in the order of appends, and those to one segment are stored in that order.
func (s *Store) AppendAll(ctx context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	return s.log.AppendAll(ctx, appends)
}

// Create makes a segment with options. If the segment exists with the same options, created is false; with other
// options the error is [streamhub.ErrConflict].
func (s *Store) Create(ctx context.Context, space, segment string, options *streamhub.CreateOptions) (status streamhub.Status, created bool, err error) {
	return s.log.Create(ctx, space, segment, options)
}

// CloseSegment ends a segment with a verdict. If the segment is already closed, the error is a [streamhub.ClosedError].
func (s *Store) CloseSegment(ctx context.Context, space, segment string, verdict streamhub.Verdict, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	return s.log.CloseSegment(ctx, space, segment, verdict, options)
}

// Delete ends a segment with the verdict deleted and removes its entries. Entries that forks read stay until the last
// fork is removed.
func (s *Store) Delete(ctx context.Context, space, segment, reason string) error {
	return s.log.Delete(ctx, space, segment, reason)
}

// Trim removes entries from the start of a segment up to sequence upTo, and returns the first sequence that is kept.
// Entries that were appended together are removed together. So up to one append's worth of the entries up to upTo may
// be kept.
func (s *Store) Trim(ctx context.Context, space, segment string, upTo uint64) (firstKept uint64, err error) {
	return s.log.Trim(ctx, space, segment, upTo)
}

// Expire lets a segment expire when ttl has passed, in place of its present time to live, and returns the deadline.
// Neither appends nor touches renew it. With a ttl of 0 the segment never expires, and the deadline is the zero Time.
func (s *Store) Expire(ctx context.Context, space, segment string, ttl time.Duration) (deadline time.Time, err error) {
	return s.log.Expire(ctx, space, segment, ttl)
}

// Touch renews the sliding time to live of a segment and returns the deadline in force, the zero
// Time if it has none.
func (s *Store) Touch(ctx context.Context, space, segment string) (deadline time.Time, err error) {
	return s.log.Touch(ctx, space, segment)
}

// Status describes a segment. If it does not exist, the error is [streamhub.ErrNotFound].
func (s *Store) Status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	return s.log.Status(ctx, space, segment)
}

// SpaceEnd returns the cursor after the last entry of a space, "" if it never had one.
func (s *Store) SpaceEnd(ctx context.Context, space string) (streamhub.Cursor, error) {
	end, err := s.log.SpaceEnd(ctx, space)
	if err != nil || end.IsZero() {
		return "", err
	}
	return end.Cursor(), nil
}

// Peek returns the last entry of a segment; if it keeps none, the error is [streamhub.ErrNotFound].
func (s *Store) Peek(ctx context.Context, space, segment string) (streamhub.Entry, error) {
	return s.log.Peek(ctx, space, segment)
}

// Spaces lists the spaces of the store in byte order. The sequence can be ranged over again.
func (s *Store) Spaces(ctx context.Context) iter.Seq2[string, error] { return s.log.AllSpaces(ctx) }

// Segments lists the segments of a space in byte order; a space that does not exist has none. The
// sequence can be ranged over again.
func (s *Store) Segments(ctx context.Context, space string) iter.Seq2[string, error] {
	return s.log.AllSegments(ctx, space)
}

// ConsumeSegment reads the entries that a segment holds when the read begins, in order. If the segment does not exist,
// the error is [streamhub.ErrNotFound]. The sequence can be ranged over again and then reads what the segment holds at
// that time.
func (s *Store) ConsumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.log.ConsumeSegment(ctx, space, segment, options)
}

// ConsumeSpace reads the entries that a space holds when the read begins, over all of its segments, in the order in
// which Redis stored them.
func (s *Store) ConsumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.log.ConsumeSpace(ctx, space, options)
}

// Consume reads several spaces at once, each after its cursor ("" for the start), and merges their
// entries by timestamp.
func (s *Store) Consume(ctx context.Context, cursors map[string]streamhub.Cursor, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.log.Consume(ctx, cursors, options)
}

// Sweep ends the expired segments of the store and removes the rows of idle appenders. A hub sweeps by itself; a
// program that uses this package should call Sweep about once a minute.
func (s *Store) Sweep(ctx context.Context) error { return s.log.Sweep(ctx) }

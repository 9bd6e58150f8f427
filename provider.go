package streamhub

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"
)

// A Provider gives access to a hub: package hub has one for a hub in the same process, package client one for a hub
// behind a gateway. It is safe for concurrent use.
type Provider interface {
	// Store returns the part of one store, a tenant. It costs nothing and needs no closing.
	Store(id uuid.UUID) Store
}

// A Store is one tenant's part of a hub. Nothing crosses it.
//
// Calls return the same errors of this package in process and over a network. Sequences of entries
// end with their context or with one last error, and may be ranged over again. Records may be
// reused when an append has returned; entries may be kept, but their payload and metadata must not
// be changed.
type Store interface {
	ID() uuid.UUID

	// Append adds records, all or none, to the end of a segment, which is created if need be.
	Append(ctx context.Context, space, segment string, records []Record, options *AppendOptions) (AppendResult, error)
	// AppendAll makes several appends at once, those to one segment in the order given. Each succeeds
	// or fails alone, with one exception. After an append that ends with [ErrUnavailable] or
	// [ErrUnknownOutcome] the later ones to the same segment are not made and end with
	// ErrUnavailable: the earlier one can still be stored, and the order must hold. Results and
	// errors are in the order of appends.
	AppendAll(ctx context.Context, appends []Append) ([]AppendResult, []error)
	// Create makes a segment with options. If the segment exists with the same options, created is false; with other
	// options the error is [ErrConflict].
	Create(ctx context.Context, space, segment string, options *CreateOptions) (status Status, created bool, err error)
	// CloseSegment ends a segment with a verdict; options are those of an append without records. If the segment is
	// already closed, the error is a [ClosedError].
	CloseSegment(ctx context.Context, space, segment string, verdict Verdict, options *AppendOptions) (AppendResult, error)
	// Delete ends a segment with the verdict deleted and removes its entries. Entries that forks read stay until the
	// last fork is removed. The reason has up to 4 KiB.
	Delete(ctx context.Context, space, segment, reason string) error
	// Trim removes entries from the start of a segment up to sequence upTo, and returns the first sequence that is
	// kept. Entries that were appended together are removed together. So up to one append's worth of the entries up to
	// upTo may be kept.
	Trim(ctx context.Context, space, segment string, upTo uint64) (firstKept uint64, err error)
	// Touch renews the sliding time to live of a segment and returns the deadline in force, the zero
	// Time if it has none.
	Touch(ctx context.Context, space, segment string) (deadline time.Time, err error)
	// Expire lets a segment expire when ttl has passed, in place of its present time to live, and returns the deadline.
	// Appends and touches do not renew it. With a ttl of 0 the segment never expires, and the deadline is the zero
	// Time. A repeated call counts the ttl from the repeat.
	Expire(ctx context.Context, space, segment string, ttl time.Duration) (deadline time.Time, err error)

	// Status describes a segment. If it does not exist, the error is [ErrNotFound].
	Status(ctx context.Context, space, segment string) (Status, error)
	// SpaceEnd returns the cursor after the last entry of a space, "" if it never had one.
	SpaceEnd(ctx context.Context, space string) (Cursor, error)
	// Peek returns the last entry of a segment; if it keeps none, the error is [ErrNotFound].
	Peek(ctx context.Context, space, segment string) (Entry, error)
	// Spaces and Segments list names in byte order. A space that does not exist has no segments.
	Spaces(ctx context.Context) iter.Seq2[string, error]
	Segments(ctx context.Context, space string) iter.Seq2[string, error]

	// ConsumeSegment and ConsumeSpace read the entries that exist when the read begins. If the segment does not exist,
	// the error is [ErrNotFound]; a space that does not exist has no entries. Consume reads several spaces, each after
	// its cursor ("" for the start), and merges their entries by timestamp.
	ConsumeSegment(ctx context.Context, space, segment string, options *ReadOptions) iter.Seq2[Entry, error]
	ConsumeSpace(ctx context.Context, space string, options *ReadOptions) iter.Seq2[Entry, error]
	Consume(ctx context.Context, cursors map[string]Cursor, options *ReadOptions) iter.Seq2[Entry, error]
	// FollowSegment and FollowSpace read stored entries and then those that are appended. After the last entry of a
	// closed segment the error is a [ClosedError] with the verdict. FollowSpace and ConsumeSpace return only entries:
	// no verdict ends them, and they leave out the unread entries of a deleted segment without an error. SubscribeSpace
	// reports both.
	FollowSegment(ctx context.Context, space, segment string, options *FollowOptions) iter.Seq2[Entry, error]
	FollowSpace(ctx context.Context, space string, options *FollowOptions) iter.Seq2[Entry, error]

	// SubscribeSegment and SubscribeSpace yield the status of existing segments, and then a new status after each
	// change. A reader that is slower than the changes gets the newest status.
	SubscribeSegment(ctx context.Context, space, segment string) iter.Seq2[Status, error]
	SubscribeSpace(ctx context.Context, space string) iter.Seq2[Status, error]
	// JoinWorkers puts a worker on the list of the store and renews it until the worker leaves or ctx
	// ends. If the process dies, the worker is removed after ttl.
	JoinWorkers(ctx context.Context, worker Worker, ttl time.Duration) (Membership, error)
	// Workers gives the list of workers, sorted by id, now and after each change of it.
	Workers(ctx context.Context) iter.Seq2[[]Worker, error]

	// AcquireLeaseAs acquires the lease on key for a holder that the caller names. It returns a [LeaseHeldError] at
	// once if another holder has the lease. The token is the generation to pass to appends. A holder that has the lease
	// gets it again with the same token. The ttl is 10 ms to 24 h.
	AcquireLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (token uint64, err error)
	// RenewLeaseAs restarts the ttl, or returns [ErrLeaseLost] if the holder does not have the
	// lease.
	RenewLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (token uint64, err error)
	// ReleaseLeaseAs reports whether the holder had the lease. With a ctx that has ended it sends nothing:
	// defer it with [context.WithoutCancel].
	ReleaseLeaseAs(ctx context.Context, key, holder string) (bool, error)
}

// A Membership keeps a worker on the list of its store.
type Membership interface {
	// Done is closed when the membership has ended. Err then returns the reason, or nil if this side ended it.
	Done() <-chan struct{}
	Err() error
	// Leave removes the worker from the list. It may be called again. Callers defer it: if ctx has ended, or ends
	// meanwhile, it takes up to a second more.
	Leave(ctx context.Context) error
}

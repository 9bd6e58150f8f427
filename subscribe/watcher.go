package subscribe

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Options configure a [Watcher]; nil stands for the defaults.
type Options struct {
	// Recheck is how often the watcher asks Redis for changes, with one command for each followed space. It bounds the
	// delay that a lost notification causes. The default is 5 s.
	Recheck time.Duration
	// PingInterval is how long the Pub/Sub connection may be silent before it is pinged; after two
	// such intervals without an answer it is replaced. The default is 2 s.
	PingInterval time.Duration
	// BufferBytes is roughly how many bytes of one followed segment are kept in memory for its
	// followers, besides the page read last. The default is 4 MiB.
	BufferBytes int
	// TotalBufferBytes bounds the buffers of all segments together, except for the page read last of each segment that
	// has a slow follower. The default is 64 MiB.
	TotalBufferBytes int
	// Logger receives background failures, which no call returns; the default discards them.
	Logger *slog.Logger
}

// A Watcher holds the Pub/Sub connection and the followers of one process on one Redis. It is safe
// for concurrent use.
type Watcher struct {
	log     *hotlog.Log
	watcher *follow.Watcher
}

// Open starts a watcher on client, which stays the caller's. It sends nothing while there is no follower. The client
// should honour the deadline of a context; in go-redis that is the option ContextTimeoutEnabled. ctx bounds the opening
// only.
func Open(ctx context.Context, client redis.UniversalClient, options *Options) (*Watcher, error) {
	if options == nil {
		options = &Options{}
	}
	conn, err := redisx.Connect(ctx, client)
	if err != nil {
		return nil, fault.At(streamhub.Error{Op: "open"}, err)
	}
	w := &Watcher{}
	if w.log, err = hotlog.Open(ctx, conn, &hotlog.Options{Logger: options.Logger}); err != nil {
		return nil, fault.At(streamhub.Error{Op: "open"}, err)
	}
	o := follow.Options(*options)
	if w.watcher, err = follow.Open(ctx, conn, w.log, &o); err != nil {
		return nil, errors.Join(fault.At(streamhub.Error{Op: "open"}, err), w.log.Close())
	}
	return w, nil
}

// Close ends every follower and subscription with [streamhub.ErrShutdown], removes the workers that joined here from
// the list, which may take a second, and waits for the goroutines of the watcher. It does not wait for the callers of
// the followers. It may be called twice.
func (w *Watcher) Close() error { return errors.Join(w.watcher.Close(), w.log.Close()) }

// FollowSegment replays a segment and then follows it live, without a gap, a duplicate or a change of order. Without
// options it begins with the first entry that is kept. It waits for a segment that does not exist yet, unless there is
// a cursor.
//
// The sequence runs in the caller's goroutine. It can be ranged over again, and then begins at the same position as
// before.
func (w *Watcher) FollowSegment(ctx context.Context, store uuid.UUID, space, segment string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return w.watcher.FollowSegment(ctx, w.log.Store(store), space, segment, options)
}

// FollowSpace is FollowSegment over all segments of a space, in the order in which Redis stored their entries, and
// includes segments that are created later. It ends only with its context, the watcher or an error.
func (w *Watcher) FollowSpace(ctx context.Context, store uuid.UUID, space string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return w.watcher.FollowSpace(ctx, w.log.Store(store), space, options)
}

// SubscribeSegment gives the status of a segment, if it exists, and then a new status after each change. A reader that
// is slower than the changes gets the newest status. A deleted segment gives its last status with
// [streamhub.StateDeleted], and the subscription continues, because the segment can be created again.
func (w *Watcher) SubscribeSegment(ctx context.Context, store uuid.UUID, space, segment string) iter.Seq2[streamhub.Status, error] {
	return w.watcher.SubscribeSegment(ctx, w.log.Store(store), space, segment)
}

// SubscribeSpace gives the status of every segment of a space, in byte order of their names, and then a status after
// each change of any segment, as SubscribeSegment does.
func (w *Watcher) SubscribeSpace(ctx context.Context, store uuid.UUID, space string) iter.Seq2[streamhub.Status, error] {
	return w.watcher.SubscribeSpace(ctx, w.log.Store(store), space)
}

// JoinWorkers puts worker on the list of a store, where every instance sees it, until ctx ends, the membership is left
// or the watcher is closed. If this process dies, the worker is removed after ttl. A ttl of 0 means 30 s; otherwise it
// is 100 ms to 24 h. LastSeen is ignored.
//
// A worker id that joins again, here or elsewhere, replaces the earlier membership, which ends with
// [streamhub.ErrLeaseLost].
func (w *Watcher) JoinWorkers(ctx context.Context, store uuid.UUID, worker streamhub.Worker, ttl time.Duration) (streamhub.Membership, error) {
	m, err := w.watcher.Join(ctx, store, worker, ttl)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Workers yields the list of workers of a store, sorted by id: at once, and again after a worker joins, leaves or
// changes its metadata. A change of LastSeen alone yields no new list. The slice must not be changed.
func (w *Watcher) Workers(ctx context.Context, store uuid.UUID) iter.Seq2[[]streamhub.Worker, error] {
	return w.watcher.Workers(ctx, store)
}

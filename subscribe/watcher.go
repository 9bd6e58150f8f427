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
	// Recheck is how often Redis is asked what changed, one command for each followed space. It
	// bounds what a lost notification costs. The default is 5 s.
	Recheck time.Duration
	// PingInterval is how long the Pub/Sub connection may be silent before it is pinged; after two
	// such intervals without an answer it is replaced. The default is 2 s.
	PingInterval time.Duration
	// BufferBytes is roughly how many bytes of one followed segment are kept in memory for its
	// followers, besides the page read last. The default is 4 MiB.
	BufferBytes int
	// TotalBufferBytes bounds all segments together, except for the page read last of each segment
	// that has a slow follower. The default is 64 MiB.
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

// Open starts a watcher on client, which stays the caller's. It sends nothing while there is
// no follower. The client should heed the deadline of a context, which with go-redis is the
// option ContextTimeoutEnabled. ctx bounds the opening only.
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

// Close ends every follower and subscription with [streamhub.ErrShutdown], takes the workers that
// joined here off the list, which may take a second, and waits for the goroutines of the watcher. It
// does not wait for the callers of the followers. It may be called twice.
func (w *Watcher) Close() error { return errors.Join(w.watcher.Close(), w.log.Close()) }

// FollowSegment replays a segment and then goes on live, without gap, duplicate or reorder. Without options
// it begins with the first entry that is kept. A segment that does not exist yet is waited for, unless
// there is a cursor.
//
// The sequence runs in the caller's goroutine. It can be ranged over again and then begins where it
// began before.
func (w *Watcher) FollowSegment(ctx context.Context, store uuid.UUID, space, segment string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return w.watcher.FollowSegment(ctx, w.log.Store(store), space, segment, options)
}

// FollowSpace is FollowSegment over all segments of a space, in the order in which Redis took their entries,
// segments that are created later included. It ends only with its context, the watcher or an error.
func (w *Watcher) FollowSpace(ctx context.Context, store uuid.UUID, space string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return w.watcher.FollowSpace(ctx, w.log.Store(store), space, options)
}

// SubscribeSegment gives the status of a segment, if it exists, and then one after each change of
// it. A reader that is slower than the changes gets the newest status. A deleted segment gives its
// last status with [streamhub.StateDeleted], and the subscription continues, because the segment can
// be created again.
func (w *Watcher) SubscribeSegment(ctx context.Context, store uuid.UUID, space, segment string) iter.Seq2[streamhub.Status, error] {
	return w.watcher.SubscribeSegment(ctx, w.log.Store(store), space, segment)
}

// SubscribeSpace gives the status of every segment of a space, in byte order of their names, and then
// one for each change of any of them, as SubscribeSegment does.
func (w *Watcher) SubscribeSpace(ctx context.Context, store uuid.UUID, space string) iter.Seq2[streamhub.Status, error] {
	return w.watcher.SubscribeSpace(ctx, w.log.Store(store), space)
}

// JoinWorkers puts worker on the list of a store, where every instance sees it, until ctx ends, the
// membership is left or the watcher is closed. If this process dies, the worker is taken off after
// ttl, which is 30 s if it is 0 and otherwise 100 ms to 24 h. LastSeen is ignored.
//
// A worker id that joins again, here or elsewhere, replaces the one before, whose membership ends with
// [streamhub.ErrLeaseLost].
func (w *Watcher) JoinWorkers(ctx context.Context, store uuid.UUID, worker streamhub.Worker, ttl time.Duration) (streamhub.Membership, error) {
	m, err := w.watcher.Join(ctx, store, worker, ttl)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Workers gives the workers of a store, sorted by id: at once, and again after a worker joins,
// leaves or changes its metadata. A change of LastSeen alone gives no new list. The slice must not
// be changed.
func (w *Watcher) Workers(ctx context.Context, store uuid.UUID) iter.Seq2[[]streamhub.Worker, error] {
	return w.watcher.Workers(ctx, store)
}

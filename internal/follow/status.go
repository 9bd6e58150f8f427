package follow

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// SubscribeSegment gives the status of a segment, if it exists, and then one for each change. Changes that come faster
// than the reader takes them are merged; the last one is never left out. A deleted segment gives its last status with
// [streamhub.StateDeleted]. The subscription continues, because the segment can be created again. The sequence ends
// only with an error, and can be ranged over again.
func (w *Watcher) SubscribeSegment(ctx context.Context, s *hotlog.Store, space, segment string) iter.Seq2[streamhub.Status, error] {
	return w.statuses(ctx, key{s.ID(), space, segment}, true)
}

// SubscribeSpace gives the status of every segment of a space, in byte order of their names, and then one for each
// change of any segment, as SubscribeSegment does. It includes segments that are created later.
func (w *Watcher) SubscribeSpace(ctx context.Context, s *hotlog.Store, space string) iter.Seq2[streamhub.Status, error] {
	return w.statuses(ctx, key{s.ID(), space, ""}, false)
}

func (w *Watcher) statuses(ctx context.Context, k key, segment bool) iter.Seq2[streamhub.Status, error] {
	return func(yield func(streamhub.Status, error) bool) {
		err := k.check(segment)
		if err == nil {
			err = w.subscribe(ctx, k, yield)
		}
		if err != nil {
			yield(streamhub.Status{}, k.fail("subscribe", err))
		}
	}
}

// subscribe returns nil when the caller has left the loop.
func (w *Watcher) subscribe(outer context.Context, k key, yield func(streamhub.Status, error) bool) error {
	ctx, done := w.scope(outer)
	defer done()
	if ctx.Err() != nil {
		return w.ended(outer)
	}
	r := &feedReader{feed: w.acquireFeed(k)}
	defer r.feed.release()
	snapshot, err := r.begin(ctx)
	if err != nil {
		return w.ended(outer)
	}
	defer r.end()
	for _, status := range snapshot {
		if ctx.Err() != nil {
			return w.ended(outer)
		}
		if !yield(*status, nil) {
			return nil
		}
	}
	for {
		status, err := r.next(ctx)
		if err != nil {
			return w.ended(outer)
		}
		if !yield(*status, nil) {
			return nil
		}
	}
}

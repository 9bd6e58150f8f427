package hub

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pages"
)

func init() {
	pages.Of = func(store streamhub.Store) pages.Reader { return pageReader{store.(*Store)} }
}

// A pageReader gives the transports of this module pages instead of entries.
type pageReader struct{ *Store }

func (r pageReader) FollowSegment(ctx context.Context, space, segment string, options *streamhub.FollowOptions) iter.Seq2[*pages.Page, error] {
	return r.count(ctx, r.hub.watcher.FollowPages(ctx, r.log, space, segment, options))
}

func (r pageReader) FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions) iter.Seq2[*pages.Page, error] {
	return r.count(ctx, r.hub.watcher.FollowSpacePages(ctx, r.log, space, options))
}

func (r pageReader) ReadFrom(ctx context.Context, space, segment string, from uint64) (page pages.Snapshot, err error) {
	ctx, call := r.hub.observer.begin(ctx, "read", r.Store, space, segment)
	defer func() { call.end(err) }()
	page, err = r.log.ReadFrom(ctx, space, segment, from)
	r.hub.observer.delivered.Add(ctx, int64(len(page.Entries)))
	return page, err
}

func (r pageReader) ReadAfter(ctx context.Context, space, segment string, sequence, proof uint64) (page pages.Snapshot, err error) {
	ctx, call := r.hub.observer.begin(ctx, "read", r.Store, space, segment)
	defer func() { call.end(err) }()
	page, err = r.log.ReadAfter(ctx, space, segment, sequence, proof)
	r.hub.observer.delivered.Add(ctx, int64(len(page.Entries)))
	return page, err
}

// count counts a follower. It has no span: it may live for days.
func (r pageReader) count(ctx context.Context, read iter.Seq2[*pages.Page, error]) iter.Seq2[*pages.Page, error] {
	return func(yield func(*pages.Page, error) bool) {
		o := r.hub.observer
		o.followers.Add(ctx, 1)
		defer o.followers.Add(ctx, -1)
		for p, err := range read {
			if err == nil {
				o.delivered.Add(ctx, int64(len(p.Entries)))
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

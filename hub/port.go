package hub

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/port"
)

func init() {
	port.Of = func(store streamhub.Store) port.Store { return portStore{store.(*Store)} }
}

// A portStore is a store as the transports of this module use it.
type portStore struct{ *Store }

func (r portStore) Submit(ctx context.Context, submissions []*port.Submission) (wait func() ([]streamhub.AppendResult, []error)) {
	ctx, call := r.hub.observer.begin(ctx, "append all", r.Store, "", "")
	r.log.Submit(submissions)
	return func() ([]streamhub.AppendResult, []error) {
		results, errs := make([]streamhub.AppendResult, len(submissions)), make([]error, len(submissions))
		for i, sub := range submissions {
			results[i], errs[i] = sub.Wait(ctx)
		}
		call.endAll(results, errs, func(i int) *streamhub.Append { return &submissions[i].Append })
		return results, errs
	}
}

func (r portStore) FollowSegment(ctx context.Context, space, segment string, options *streamhub.FollowOptions, offer port.Offer) iter.Seq2[*port.Page, error] {
	return r.count(ctx, r.hub.watcher.FollowSegmentPages(ctx, r.log, space, segment, options, r.offer(ctx, offer)))
}

func (r portStore) FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions, offer port.Offer) iter.Seq2[*port.Page, error] {
	return r.count(ctx, r.hub.watcher.FollowSpacePages(ctx, r.log, space, options, r.offer(ctx, offer)))
}

func (r portStore) ReadFrom(ctx context.Context, space, segment string, from uint64) (page port.Snapshot, err error) {
	ctx, call, err := r.begin(ctx, "read", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return page, err
	}
	page, err = r.log.ReadFrom(ctx, space, segment, from)
	r.hub.observer.delivered.Add(ctx, int64(len(page.Entries)))
	return page, err
}

func (r portStore) ReadAfter(ctx context.Context, space, segment string, sequence, proof uint64) (page port.Snapshot, err error) {
	ctx, call, err := r.begin(ctx, "read", space, segment)
	defer func() { call.end(err) }()
	if err != nil {
		return page, err
	}
	page, err = r.log.ReadAfter(ctx, space, segment, sequence, proof)
	r.hub.observer.delivered.Add(ctx, int64(len(page.Entries)))
	return page, err
}

func (r portStore) SpacesAfter(ctx context.Context, after string, limit int) ([]string, error) {
	if err := r.checkOpen(streamhub.Error{Op: "spaces"}); err != nil {
		return nil, err
	}
	return r.log.Spaces(ctx, after, limit)
}

func (r portStore) StatusesAfter(ctx context.Context, space, after string, limit int) ([]streamhub.Status, error) {
	if err := r.checkOpen(streamhub.Error{Op: "segments", Space: space}); err != nil {
		return nil, err
	}
	return r.log.Statuses(ctx, space, after, limit)
}

func (r portStore) Sizes(ctx context.Context, space string, segments []string) ([]port.Size, error) {
	if err := r.checkOpen(streamhub.Error{Op: "sizes", Space: space}); err != nil {
		return nil, err
	}
	return r.log.Sizes(ctx, space, segments)
}

func (r portStore) Redis() redis.UniversalClient { return r.hub.conn.UniversalClient }

func (r portStore) Archived(ctx context.Context, after string, limit int) ([]port.Archived, error) {
	if err := r.checkOpen(streamhub.Error{Op: "archive"}); err != nil {
		return nil, err
	}
	if r.hub.tier == nil {
		return nil, nil
	}
	ids, err := r.hub.tier.Archive().SpacesOf(ctx, r.ID(), after, limit)
	if err != nil {
		return nil, fault.At(streamhub.Error{Op: "archive", Store: r.ID()}, err)
	}
	var all []port.Archived
	for _, id := range ids {
		m, err := r.hub.tier.Archive().Manifest(ctx, id)
		if errors.Is(err, streamhub.ErrNotFound) {
			continue // the segment was removed after it was listed
		}
		a := port.Archived{Space: id.Space, Commit: m.Commit}
		if a.Figures, a.Here = r.hub.tier.Figures(id); err != nil {
			a.Failure, a.FailedAt = err.Error(), time.Now().UnixMilli()
		}
		all = append(all, a)
	}
	return all, nil
}

func (r portStore) VerifyArchive(ctx context.Context, space string, progress func(bytes int)) (archive.Report, error) {
	if err := r.checkOpen(streamhub.Error{Op: "verify", Space: space}); err != nil {
		return archive.Report{}, err
	}
	if r.hub.tier == nil {
		return archive.Report{}, fault.At(streamhub.Error{Op: "verify"}, errNoArchive)
	}
	report, err := r.hub.tier.Archive().Verify(ctx, archive.SpaceID{Store: r.ID(), Space: space}, progress)
	return report, fault.At(streamhub.Error{Op: "verify", Store: r.ID(), Space: space}, err)
}

// count counts a follower. It has no span: it may live for days.
func (r portStore) count(ctx context.Context, read iter.Seq2[*port.Page, error]) iter.Seq2[*port.Page, error] {
	return func(yield func(*port.Page, error) bool) {
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

// offer wraps an offer so that the entries it takes are counted.
func (r portStore) offer(ctx context.Context, offer port.Offer) port.Offer {
	if offer == nil {
		return nil
	}
	return func(p *port.Page) bool {
		taken := offer(p)
		if taken {
			r.hub.observer.delivered.Add(ctx, int64(len(p.Entries)))
		}
		return taken
	}
}

func (r portStore) RemoveLive(ctx context.Context, space, id string, generation uint64) error {
	return r.hub.live.Streams(r.ID(), space).RemoveGeneration(ctx, id, generation)
}

func (r portStore) MaxChunkBytes() int { return r.hub.live.MaxChunkBytes() }

func (r portStore) Import(ctx context.Context, space string) (*hotlog.Importer, error) {
	if err := r.checkOpen(streamhub.Error{Op: "import", Space: space}); err != nil {
		return nil, err
	}
	return r.log.Import(ctx, space)
}

package hub

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/subscribe"
)

// A Page is what followers of one process get at once and share; see [Store.FollowPages].
type Page = subscribe.Page

// FollowPages is [Store.Follow] by pages, for who passes entries on: each holds all that is due at
// the moment, and those who follow alike share it and what [Page.Encode] made of it.
func (s *Store) FollowPages(ctx context.Context, space, segment string, options *streamhub.FollowOptions) iter.Seq2[*Page, error] {
	return s.followPages(ctx, s.hub.watcher.FollowPages(ctx, s.log, space, segment, options))
}

// FollowSpacePages is [Store.FollowSpace] by pages.
func (s *Store) FollowSpacePages(ctx context.Context, space string, options *streamhub.FollowOptions) iter.Seq2[*Page, error] {
	return s.followPages(ctx, s.hub.watcher.FollowSpacePages(ctx, s.log, space, options))
}

// followPages counts a follower. It has no span: it may live for days.
func (s *Store) followPages(ctx context.Context, pages iter.Seq2[*Page, error]) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		o := s.hub.observer
		o.followers.Add(ctx, 1)
		defer o.followers.Add(ctx, -1)
		for p, err := range pages {
			if err == nil {
				o.delivered.Add(ctx, int64(len(p.Entries)))
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

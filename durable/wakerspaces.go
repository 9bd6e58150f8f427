package durable

import (
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// follow passes the statuses of a space to event: first the status of each segment, and then each change. After an
// error it subscribes again and gets all statuses once more, so that no growth is missed.
func (w *waker) follow(store *hub.Store, space string, event func(*streamhub.Status)) {
	for w.ctx.Err() == nil {
		for status, err := range store.SubscribeSpace(w.ctx, space) {
			if err != nil || !w.do(func() { event(&status) }) {
				break
			}
		}
		select {
		case <-time.After(again):
		case <-w.ctx.Done():
		}
	}
}

// watchSpaces follows the spaces in which streams of a subscription can be. A space is followed until the waker ends,
// even if no subscription names it any more.
func (w *waker) watchSpaces() {
	wanted, all := map[string]struct{}{}, false
	for _, s := range w.subscriptions {
		names, every := s.Config.spaces()
		all = all || every
		for _, name := range names {
			wanted[name] = struct{}{}
		}
		for path, l := range s.links {
			if l.Explicit {
				if stream, err := (&root{}).stream(path); err == nil {
					wanted[stream.space] = struct{}{}
				}
			}
		}
	}
	if all {
		for space, err := range w.store.Spaces(w.ctx) {
			if err != nil {
				break // the next look will find the others
			}
			wanted[space] = struct{}{}
		}
	}
	for space := range wanted {
		if _, ok := w.spaces[space]; !ok {
			w.spaces[space] = struct{}{}
			w.tasks.Go(func() { w.follow(w.store, space, w.grown) })
		}
	}
}

// grown handles the status of a stream: the current one first, and then each change. It updates for each subscription
// whether the stream is pending. It ignores a segment that no wake can name, which would be pending for ever.
func (w *waker) grown(status *streamhub.Status) {
	path, ok := wakeable(status.Space, status.Segment)
	if !ok {
		return
	}
	tail := tipOf(status)
	if status.State == streamhub.StateDeleted {
		delete(w.tails, path)
		tail = tip{}
	} else {
		w.tails[path] = tail
	}
	for _, s := range w.subscriptions {
		if s.stale || !s.linked(path) {
			continue
		}
		if l := s.links[path]; l != nil && !l.Explicit && status.State == streamhub.StateDeleted {
			if s.dropped == nil {
				s.dropped = map[string]uint64{}
			}
			s.dropped[path] = l.Acked.life
			delete(s.pending, path)
			w.drop(s, wakeStreams)
			continue
		}
		if s.links[path].pending(tail) {
			s.pending[path] = struct{}{}
			w.act(s)
		} else {
			delete(s.pending, path)
		}
	}
}

// drop removes the links of deleted streams if there are at least least of them.
func (w *waker) drop(s *watch, least int) {
	if !s.stale && len(s.dropped) >= least {
		w.save(s, nil)
	}
}

// gone reports whether a stream is certainly deleted. After an error of Redis it returns false, so that the link stays.
func (w *waker) gone(path string) bool {
	if _, there := w.tails[path]; there {
		return false
	}
	stream, err := (&root{}).stream(path)
	if err == nil {
		_, err = w.store.Status(w.ctx, stream.space, stream.segment)
	}
	return errors.Is(err, streamhub.ErrNotFound)
}

package follow

import (
	"context"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A space has all topics and feeds of one space in this process, and runs their re-check.
//
// Because of the re-check, Pub/Sub is only a hint. At every interval one read of the timeline names the segments that
// changed since the last re-check, for all topics of the space together. So a lost message delays a follower by one
// interval, and an idle space costs one command an interval however many segments of it are followed.
type space struct {
	w      *Watcher
	key    key
	store  *hotlog.Store
	cancel context.CancelFunc
	now    chan struct{} // requests a check

	members map[member]struct{} // guarded by Watcher.mu

	mu    sync.Mutex // held while the timeline is read
	based bool       // last is valid
	last  hotlog.Mark
	// suspects has the members that moved since the last successful check.
	suspects map[member]struct{}
}

// A member is a topic or a feed.
type member interface {
	// takeMoved reports whether the member has changed since the last call.
	takeMoved() bool
	// rechecked passes the changes in the timeline; suspect says that the member had moved before.
	rechecked(c *changed, suspect bool)
}

// changed is what a re-check has found.
type changed struct {
	segments map[string]struct{}
	// lost says that the timeline cannot tell, so anything may have changed.
	lost bool
}

func (c *changed) names(segment string) bool {
	_, ok := c.segments[segment]
	return ok
}

// joinLocked makes m a member of the space of k. Watcher.mu is held.
func (w *Watcher) joinLocked(k key, m member) *space {
	k = k.inSpace()
	s := w.spaces[k]
	if s == nil {
		ctx, cancel := context.WithCancel(w.ctx)
		s = &space{
			w: w, key: k, store: w.log.Store(k.store), cancel: cancel,
			now: make(chan struct{}, 1), members: map[member]struct{}{}, suspects: map[member]struct{}{},
		}
		w.spaces[k] = s
		w.tasks.Go(func() { s.run(ctx) })
	}
	s.members[m] = struct{}{}
	return s
}

// leaveLocked removes m. The last member ends the re-check of the space. Watcher.mu is held.
func (w *Watcher) leaveLocked(s *space, m member) {
	delete(s.members, m)
	if len(s.members) == 0 {
		s.cancel()
		delete(w.spaces, s.key)
	}
}

// poke requests a check now.
func (s *space) poke() {
	select {
	case s.now <- struct{}{}:
	default:
	}
}

// run checks at every interval and on request.
func (s *space) run(ctx context.Context) {
	var failing = pauses()
	for {
		timer := time.NewTimer(s.w.opt.Recheck)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.now:
			timer.Stop()
		case <-timer.C:
		}
		for s.check(ctx) != nil {
			if !failing.Wait(ctx) {
				return
			}
		}
		failing.Reset()
	}
}

// base records the end of the timeline, unless that was done. A later check finds all changes after it, so a segment
// that is read after base misses none.
func (s *space) base(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.based {
		return nil
	}
	_, last, _, err := s.store.Changes(ctx, s.key.space, hotlog.Mark{})
	if err != nil {
		if passing(err) {
			return err
		}
		last = hotlog.Mark{} // the reads will report the damage
	}
	s.last, s.based = last, true
	return nil
}

// seen returns the place in the timeline from which the next check continues.
func (s *space) seen() streamhub.TimelineID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.ID
}

// check reads the changes in the timeline and passes them to the members. A member that moved must read again whatever
// the timeline says: its entries may be lost together with their place in the timeline.
func (s *space) check(ctx context.Context) error {
	s.w.mu.Lock()
	for m := range s.members {
		if m.takeMoved() {
			s.suspects[m] = struct{}{}
		}
	}
	s.w.mu.Unlock()

	found, err := s.changes(ctx)
	if err != nil {
		return err
	}
	s.w.mu.Lock()
	members := make([]member, 0, len(s.members))
	for m := range s.members {
		members = append(members, m)
	}
	s.w.mu.Unlock()
	quiet := len(found.segments) == 0 && !found.lost
	for _, m := range members {
		if _, suspect := s.suspects[m]; suspect || !quiet {
			m.rechecked(found, suspect)
		}
	}
	clear(s.suspects)
	return nil
}

func (s *space) changes(ctx context.Context) (*changed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.based {
		return &changed{}, nil // no member has read anything yet
	}
	list, last, lost, err := s.store.Changes(ctx, s.key.space, s.last)
	if err != nil {
		if passing(err) || away(err) {
			return nil, err
		}
		s.w.opt.Logger.Error("a timeline cannot be read", "space", s.key.space, "error", err)
		return &changed{lost: true}, nil
	}
	found := &changed{segments: map[string]struct{}{}, lost: lost}
	if s.last.IsZero() && !last.IsZero() {
		found.lost = true // the timeline was empty, so everything in it is new
	}
	for i := range list {
		found.segments[list[i].Segment] = struct{}{}
	}
	s.last = last
	return found, nil
}

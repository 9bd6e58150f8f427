package follow

import (
	"context"
	"runtime"
	"sync"
)

// An Offer takes a page without waiting and reports true, or reports false at once. A follower that has
// one is served by it while it is at the end, from a goroutine of the watcher: that saves a switch to the
// follower's own goroutine for each page. What it does not take comes from the sequence instead, as does
// everything while the follower is not at the end, and the last error. So an Offer is never called
// while the sequence yields, nor twice at once, and all pages together come in order, each once.
type Offer func(*Page) (taken bool)

const (
	// stride is how many followers a walker takes at once.
	stride = 32
	// stay is how many pages a walker passes on to one follower. If more wait, the follower goes on by
	// itself, and the others have their turn.
	stay = 8
)

// walkers are the few goroutines that serve parked followers. Each walks along a list of them.
type walkers struct {
	once  sync.Once
	ready chan struct{} // a token for each walker that is needed

	mu     sync.Mutex // after topic.mu
	rounds [][]*follower
}

func (q *walkers) begin(w *Watcher) {
	q.once.Do(func() {
		for range cap(q.ready) {
			w.tasks.Go(func() { q.walk(w.ctx) })
		}
	})
}

func newWalkers() *walkers {
	return &walkers{ready: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// add has a list of parked followers served, each as far as it goes. The list is not the caller's any more.
func (q *walkers) add(list []*follower) {
	q.mu.Lock()
	q.rounds = append(q.rounds, list)
	q.mu.Unlock()
	for n := 0; n < len(list); n += stride {
		select {
		case q.ready <- struct{}{}:
		default:
			return // every walker has a signal waiting
		}
	}
}

// take returns the next followers to serve, nil if there are none.
func (q *walkers) take() []*follower {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.rounds) == 0 {
		q.rounds = nil
		return nil
	}
	list := q.rounds[0]
	if len(list) > stride {
		q.rounds[0] = list[stride:]
		return list[:stride]
	}
	q.rounds = q.rounds[1:]
	return list
}

// walk ends with the watcher. Followers that are left in rounds then are ended by their own goroutines.
func (q *walkers) walk(ctx context.Context) {
	for {
		select {
		case <-q.ready:
		case <-ctx.Done():
			return
		}
		for list := q.take(); list != nil; list = q.take() {
			for _, f := range list {
				f.serve()
			}
		}
	}
}

// A footing says which goroutine moves a follower that has an [Offer]. It is guarded by topic.mu.
type footing int

const (
	alone  footing = iota // its own
	parked                // none: it is in topic.parked, or in a round
	served                // a walker
)

// park leaves a follower that waits at the end to the walkers, if they can serve it. The lock is held.
func (t *topic) park(f *follower) bool {
	if f.offer == nil || f.leaving || f.limits || f.first > f.at.Sequence+1 {
		return false
	}
	if t.parked == nil {
		t.parked = make([]*follower, 0, t.crowd)
	}
	f.footing, f.place = parked, len(t.parked)
	t.parked = append(t.parked, f)
	return true
}

// stir has all parked followers look again. The lock is held.
func (t *topic) stir() {
	if t.crowd = len(t.parked); t.crowd > 0 {
		t.w.walkers.add(t.parked)
		t.parked = nil
	}
}

// serve passes on to a parked follower what there is. One that has to read, to wait or to end is left to its
// own goroutine. Walkers call it.
func (f *follower) serve() {
	t := f.t
	t.mu.Lock()
	if f.footing != parked {
		t.mu.Unlock()
		return // it ended while it was in the round
	}
	f.footing = served
	v := t.lookLocked(f)
	t.mu.Unlock()
	for pages := 0; pages < stay && v.kind == inside && f.take(v.page); pages++ {
		v = t.look(f)
	}
	if v.kind == atRest {
		return // and belongs to the next walker
	}
	t.mu.Lock()
	f.footing = alone
	t.mu.Unlock()
	f.wake <- struct{}{}
}

// take offers a page to a follower. The position moves only after it was taken.
func (f *follower) take(p *Page) bool {
	if f.ctx.Err() != nil || !f.offer(p) {
		return false
	}
	f.at = p.Entries[len(p.Entries)-1].Position
	return true
}

// rest waits until the follower has something to do itself.
func (f *follower) rest() error {
	select {
	case <-f.wake:
		return nil
	case <-f.ctx.Done():
		if !f.t.leave(f) {
			<-f.wake // a walker serves it at this moment, which takes no time
		}
		return f.ctx.Err()
	}
}

// leave takes a follower that ends out of the list. It reports false if a walker has the follower, and wakes
// it when it is done.
func (t *topic) leave(f *follower) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.leaving = true
	if f.footing != parked {
		return false
	}
	f.footing = alone
	if last := len(t.parked) - 1; f.place <= last && t.parked[f.place] == f {
		t.parked[f.place] = t.parked[last]
		t.parked[f.place].place = f.place
		t.parked[last] = nil
		t.parked = t.parked[:last]
		t.waiting--
	}
	return true
}

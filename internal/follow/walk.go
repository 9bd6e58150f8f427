package follow

import (
	"context"
	"runtime"
	"sync"
)

// An Offer takes a page without blocking and returns true, or returns false at once. While a follower with an Offer is
// at the end, a goroutine of the watcher passes it new pages. That saves a switch to the follower's own goroutine for
// each page. The sequence yields the pages that the Offer refuses, all pages while the follower is not at the end, and
// the last error. An Offer is never called while the sequence yields, nor concurrently. All pages together come in
// order, each once.
type Offer func(*Page) (taken bool)

const (
	// stride is how many followers a walker takes from the list at once.
	stride = 32
	// stay is how many pages a walker passes to one follower in a row. If there are more, the follower continues in its
	// own goroutine, so that the others get their turn.
	stay = 8
)

// walkers are the few goroutines that serve parked followers. Each walks along a list of them.
type walkers struct {
	once  sync.Once
	ready chan struct{} // one token for each walker that is needed

	mu     sync.Mutex // locked after topic.mu
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

// add makes walkers serve a list of parked followers. It takes ownership of the list.
func (q *walkers) add(list []*follower) {
	q.mu.Lock()
	q.rounds = append(q.rounds, list)
	q.mu.Unlock()
	for n := 0; n < len(list); n += stride {
		select {
		case q.ready <- struct{}{}:
		default:
			return // every walker has a token already
		}
	}
}

// take returns the next followers to serve, or nil.
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

// walk serves followers until the watcher ends. The goroutines of followers that are left then end them.
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
	alone  footing = iota // its own goroutine
	parked                // no goroutine: it is in topic.parked, or in a list for walkers
	served                // a walker
)

// park hands a follower that waits at the end over to the walkers, if it has an Offer. The lock is held.
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

// stir makes walkers serve all parked followers. The lock is held.
func (t *topic) stir() {
	if t.crowd = len(t.parked); t.crowd > 0 {
		t.w.walkers.add(t.parked)
		t.parked = nil
	}
}

// serve passes new pages to a parked follower. It wakes the follower's own goroutine if the follower must read, wait or
// end. Walkers call it.
func (f *follower) serve() {
	t := f.t
	t.mu.Lock()
	if f.footing != parked {
		t.mu.Unlock()
		return // the follower ended while it was in the list
	}
	f.footing = served
	v := t.lookLocked(f)
	t.mu.Unlock()
	for pages := 0; pages < stay && v.kind == inside && f.take(v.page); pages++ {
		v = t.look(f)
	}
	if v.kind == atRest {
		return // the follower now belongs to the next walker
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

// rest waits until the follower's own goroutine has something to do.
func (f *follower) rest() error {
	select {
	case <-f.wake:
		return nil
	case <-f.ctx.Done():
		if !f.t.leave(f) {
			<-f.wake // a walker serves it at this moment, and finishes soon
		}
		return f.ctx.Err()
	}
}

// leave removes a follower that ends from the parked ones. It returns false if a walker has the follower; the walker
// then wakes it.
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

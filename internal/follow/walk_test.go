package follow

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// A tray joins what a follower is offered with what its sequence yields, in the order in which they come. It
// has room for two pages: more are refused, and make the sequence wait. Some are refused at random.
type tray struct {
	t       testing.TB
	busy    atomic.Bool // a page is given at this moment
	offers  atomic.Int64
	yields  atomic.Int64
	mu      sync.Mutex
	changed sync.Cond
	pages   []*Page
	err     error
	over    bool // no page comes any more, or none is wanted
}

func newTray(t testing.TB) *tray {
	y := &tray{t: t}
	y.changed.L = &y.mu
	return y
}

// enter sees that a follower gives one page at a time.
func (y *tray) enter() func() {
	if y.busy.Swap(true) {
		y.t.Error("two pages at once")
	}
	return func() { y.busy.Store(false) }
}

func (y *tray) offer(p *Page) bool {
	defer y.enter()()
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(y.pages) >= 2 || rand.IntN(8) == 0 {
		return false
	}
	y.offers.Add(1)
	y.pages = append(y.pages, p)
	y.changed.Broadcast()
	return true
}

func (y *tray) put(p *Page) {
	defer y.enter()()
	y.mu.Lock()
	defer y.mu.Unlock()
	for len(y.pages) >= 2 && !y.over {
		y.changed.Wait()
	}
	y.yields.Add(1)
	y.pages = append(y.pages, p)
	y.changed.Broadcast()
}

func (y *tray) end(err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.err, y.over = err, true
	y.changed.Broadcast()
}

// next returns the next page, and after the last one the error that the follower ended with.
func (y *tray) next() (*Page, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for len(y.pages) == 0 && !y.over {
		y.changed.Wait()
	}
	if len(y.pages) == 0 {
		return nil, y.err
	}
	p := y.pages[0]
	y.pages = y.pages[1:]
	y.changed.Broadcast()
	return p, nil
}

// offered is a sequence of entries over a tray.
func offered(t testing.TB, ctx context.Context, follow func(context.Context, Offer) iter.Seq2[*Page, error]) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		y := newTray(t)
		var follower sync.WaitGroup
		defer follower.Wait()
		defer y.end(nil)
		defer cancel()
		follower.Go(func() {
			for p, err := range follow(ctx, y.offer) {
				if err != nil {
					y.end(err)
					return
				}
				y.put(p)
			}
			y.end(nil)
		})
		for {
			p, err := y.next()
			if p == nil {
				if err != nil {
					yield(streamhub.Entry{}, err)
				}
				return
			}
			for i := range p.Entries {
				if !yield(p.Entries[i], nil) {
					return
				}
			}
		}
	}
}

// followSegment follows as the world says: with offers or without.
func (w *world) followSegment(ctx context.Context, by *Watcher, space, segment string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	if !w.offers {
		return by.FollowSegment(ctx, w.store, space, segment, o)
	}
	return offered(w.t, ctx, func(ctx context.Context, offer Offer) iter.Seq2[*Page, error] {
		return by.FollowSegmentPages(ctx, w.store, space, segment, o, offer)
	})
}

func (w *world) followSpace(ctx context.Context, by *Watcher, space string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	if !w.offers {
		return by.FollowSpace(ctx, w.store, space, o)
	}
	return offered(w.t, ctx, func(ctx context.Context, offer Offer) iter.Seq2[*Page, error] {
		return by.FollowSpacePages(ctx, w.store, space, o, offer)
	})
}

// A guest is a follower whose test decides what becomes of each page.
type guest struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of its end
	last   atomic.Uint64
	pages  atomic.Int64 // that were offered and taken
}

// invite starts a follower from the first entry. Its pages go to take, offered or not.
func (w *world) invite(by *Watcher, segment string, take func(offered bool, p *Page) bool) *guest {
	ctx, cancel := context.WithCancel(w.t.Context())
	g := &guest{cancel: cancel, done: make(chan struct{})}
	note := func(p *Page) {
		for i := range p.Entries {
			if want := g.last.Load() + 1; p.Entries[i].Sequence != want {
				w.t.Errorf("entry %d instead of %d", p.Entries[i].Sequence, want)
			}
			g.last.Add(1)
		}
	}
	go func() {
		defer close(g.done)
		for p, err := range by.FollowSegmentPages(ctx, w.store, "a", segment, nil, func(p *Page) bool {
			select {
			case <-g.done:
				w.t.Error("a page is offered after the end")
			default:
			}
			if !take(true, p) {
				return false
			}
			g.pages.Add(1)
			note(p)
			return true
		}) {
			if err != nil {
				g.err = err
				return
			}
			take(false, p)
			note(p)
		}
	}()
	w.t.Cleanup(func() { cancel(); <-g.done })
	return g
}

func (g *guest) at(last uint64) func() bool { return func() bool { return g.last.Load() == last } }

// TestOffers: followers at the end get everything by offers, and their own goroutines sleep. One that refuses
// everything and gets stuck, and one that takes every second page, hold no other.
func TestOffers(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	w.append("a", "b", 1)
	always := func(bool, *Page) bool { return true }
	var fast []*guest
	for range 3 * stride {
		fast = append(fast, w.invite(by, "b", always))
	}
	stuck := make(chan struct{})
	still := w.invite(by, "b", func(offered bool, p *Page) bool {
		if !offered && p.Entries[0].Sequence > 1 {
			<-stuck
		}
		return !offered
	})
	odd := w.invite(by, "b", func(offered bool, p *Page) bool { return !offered || p.Entries[0].Sequence%2 == 1 })
	idle(t, by, w.key("a", "b"), len(fast)+2)
	for sequence := uint64(2); sequence <= 41; sequence++ {
		w.append("a", "b", 1)
		for _, g := range append(fast, odd) {
			until(t, "an entry", g.at(sequence))
		}
	}
	for _, g := range fast {
		require.EqualValues(t, 40, g.pages.Load())
	}
	require.Positive(t, odd.pages.Load())
	require.EqualValues(t, 1, still.last.Load())
	close(stuck)
	until(t, "the stuck one", still.at(41))
	require.Zero(t, still.pages.Load())

	// The end comes from the sequence, after what was offered.
	w.append("a", "b", 1)
	w.close("a", "b")
	for _, g := range append(fast, odd, still) {
		<-g.done
		closedAt(t, g.err, 42)
		require.EqualValues(t, 42, g.last.Load())
	}
}

// TestOffersEnd cancels followers that are parked, in a round or being served, while pages come. What has
// ended is offered nothing, the others get everything, and nothing is kept of them.
func TestOffersEnd(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	w.append("a", "b", 1)
	var all []*guest
	for range 200 {
		all = append(all, w.invite(by, "b", func(bool, *Page) bool { return rand.IntN(10) > 0 }))
	}
	idle(t, by, w.key("a", "b"), len(all))
	var canceller sync.WaitGroup
	canceller.Go(func() {
		for _, g := range all[:150] {
			g.cancel()
			<-g.done
			require.ErrorIs(t, g.err, context.Canceled)
		}
	})
	last := w.append("a", "b", 100)
	canceller.Wait()
	last = max(last, w.append("a", "b", 1))
	for _, g := range all[150:] {
		until(t, "the last entry", g.at(last))
	}
	idle(t, by, w.key("a", "b"), 50)
	by.mu.Lock()
	topic := by.topics[w.key("a", "b")]
	by.mu.Unlock()
	topic.mu.Lock()
	require.Len(t, topic.parked, 50)
	require.Len(t, topic.followed, 50)
	topic.mu.Unlock()
	for _, g := range all[150:] {
		g.cancel() // while nothing comes
		<-g.done
	}
}

// TestOffersInRound cancels followers that walkers have yet to come to, while every walker is held up. They
// end at once, and are offered nothing afterwards.
func TestOffersInRound(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	w.append("a", "b", 1)
	walkers := cap(by.walkers.ready)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	all := make([]*guest, (walkers+1)*stride)
	held := make([]atomic.Bool, len(all))
	for i := range all {
		all[i] = w.invite(by, "b", func(offered bool, p *Page) bool {
			if offered {
				held[i].Store(true)
				<-gate
			}
			return true
		})
	}
	idle(t, by, w.key("a", "b"), len(all))
	w.append("a", "b", 1)
	count := func() (n int) {
		for i := range held {
			if held[i].Load() {
				n++
			}
		}
		return n
	}
	until(t, "the walkers are held up", func() bool { return count() == walkers })
	for i, g := range all {
		if !held[i].Load() {
			g.cancel()
			<-g.done
			require.ErrorIs(t, g.err, context.Canceled)
		}
	}
	open()
	idle(t, by, w.key("a", "b"), walkers)
	require.Equal(t, walkers, count())
	last := w.append("a", "b", 1)
	for i, g := range all {
		if held[i].Load() {
			until(t, "the next entry", g.at(last))
		}
	}
}

// TestOffersShutdown closes a watcher while its followers are served.
func TestOffersShutdown(t *testing.T) {
	w := onRedis(t)
	for run := range 5 {
		segment := fmt.Sprint("run ", run)
		by := w.watch(nil)
		w.append("a", segment, 1)
		var all []*guest
		for range 100 {
			all = append(all, w.invite(by, segment, func(bool, *Page) bool { return true }))
		}
		idle(t, by, w.key("a", segment), len(all))
		w.append("a", segment, 1+run)
		require.NoError(t, by.Close())
		for _, g := range all {
			<-g.done
			require.ErrorIs(t, g.err, streamhub.ErrShutdown)
		}
	}
}

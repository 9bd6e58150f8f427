//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// A load is a number of clients that do a bit of everything, drawn from a seed, and of followers
// that watch them. Segments follow each other, so that none gets larger than the checker takes.
type load struct {
	t         *testing.T
	seed      uint64
	rec       *history.Recorder
	writers   []*hub.Hub
	followers []*hub.Hub
	spaces    []string
	options   loadOptions

	stopWriting, stopFollowing context.CancelFunc
	writing, following         sync.WaitGroup
	followCtx                  context.Context

	mu       sync.Mutex
	lives    map[string]*life // the one that each space is at
	places   []place
	watched  []*watched
	schedule []string
}

type loadOptions struct {
	// PerHub is the number of clients of each hub.
	PerHub int
	// Ops is how many operations a segment gets, about.
	Ops int64
	// Pause is the longest time between two operations of a client.
	Pause time.Duration
	// Durability is that of every append.
	Durability *streamhub.Durability
	// Losing says that followers may be told that history was lost.
	Losing bool
}

// A life is one segment.
type life struct {
	place
	ops        atomic.Int64
	tail       atomic.Uint64
	generation atomic.Uint64
}

// A watched is one follower of one segment, or of a space.
type watched struct {
	*history.Following
	place
}

func startLoad(t *testing.T, seed uint64, writers, followers []*hub.Hub, spaces []string, o loadOptions) *load {
	l := &load{
		t: t, seed: seed, rec: history.NewRecorder(clock), writers: writers, followers: followers, spaces: spaces,
		options: o, lives: map[string]*life{},
	}
	writing, stopWriting := context.WithCancel(t.Context())
	l.stopWriting = stopWriting
	l.followCtx, l.stopFollowing = context.WithCancel(t.Context())
	t.Cleanup(func() {
		l.stopWriting()
		l.stopFollowing()
		l.writing.Wait()
		l.following.Wait()
	})
	for _, space := range spaces {
		l.mu.Lock()
		l.advance(space, nil)
		l.mu.Unlock()
		if len(followers) > 0 {
			s := followers[0].Store(testStore)
			l.watch("space follower", place{space, ""}, 0, s.FollowSpace(l.followCtx, space, nil))
		}
	}
	for h, w := range writers {
		for g := range o.PerHub {
			name := fmt.Sprintf("w%d.%d", h, g)
			c := &loader{
				l: l, name: name, client: l.rec.Client(name, w.Store(testStore)),
				rand: random(seed, uint64(h*100+g)), producers: map[string]*ownProducer{},
			}
			l.writing.Go(func() {
				for writing.Err() == nil {
					c.act(writing)
					if !pause.For(writing, time.Duration(c.rand.Int64N(int64(o.Pause)+1))) {
						return
					}
				}
			})
		}
	}
	return l
}

// advance begins the next segment of a space, unless somebody else has done so. The caller holds
// mu.
func (l *load) advance(space string, old *life) *life {
	if l.lives[space] != old {
		return l.lives[space]
	}
	next := &life{place: place{space, fmt.Sprintf("segment-%d", len(l.places))}}
	l.lives[space] = next
	l.places = append(l.places, next.place)
	for i, f := range l.followers {
		s := f.Store(testStore)
		l.watchLocked(fmt.Sprintf("follower %d", i), next.place, 1, s.FollowSegment(l.followCtx, next.space, next.segment, nil))
	}
	return next
}

func (l *load) watch(name string, at place, from uint64, entries func(func(streamhub.Entry, error) bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchLocked(name, at, from, entries)
}

func (l *load) watchLocked(name string, at place, from uint64, entries func(func(streamhub.Entry, error) bool)) {
	f, wait := history.Start(name, at.space, at.segment, from, entries, l.rec.Now, nil)
	l.following.Go(wait)
	l.watched = append(l.watched, &watched{f, at})
}

// note adds a line to the schedule.
func (l *load) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schedule = append(l.schedule, fmt.Sprintf("%10.3f ms  ", float64(l.rec.Now())/1e6)+fmt.Sprintf(format, args...))
}

// acked waits until n more appends were acknowledged than now.
func (l *load) acked(n int, limit time.Duration, what string) {
	l.t.Helper()
	target := l.rec.Acked() + n
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	for l.rec.Acked() < target {
		if !pause.For(ctx, 20*time.Millisecond) {
			l.t.Fatalf("the traffic has stalled %s: %d of %d appends within %v", what, n-(target-l.rec.Acked()), n, limit)
		}
	}
}

// settle ends the writers and waits until every follower has all there is. It returns what the
// followers got.
func (l *load) settle(s *hub.Store, limit time.Duration) []history.Session {
	l.t.Helper()
	l.stopWriting()
	l.writing.Wait()
	ctx := within(l.t, limit)
	last := map[string]uint64{}
	for _, at := range l.places {
		status, err := s.Status(ctx, at.space, at.segment)
		if errors.Is(err, streamhub.ErrNotFound) {
			continue
		}
		require.NoError(l.t, err, "status of %s", at.key())
		last[at.key()] = status.LastSequence
		last[at.space] += status.LastSequence
	}
	begin := time.Now()
	var behind []error
	for _, w := range l.watched {
		want := last[w.key()]
		if w.segment == "" {
			want = last[w.space]
		}
		if err := w.Wait(ctx, want); err != nil && !l.options.Losing {
			behind = append(behind, err)
		}
	}
	l.note("followers had caught up after %v", time.Since(begin).Round(time.Millisecond))
	l.stopFollowing()
	l.following.Wait()
	require.NoError(l.t, errors.Join(behind...), "followers did not catch up by themselves within %v; seed %d\n%v", limit, l.seed, l.schedule)
	var sessions []history.Session
	for _, w := range l.watched {
		session := w.Session()
		if !l.options.Losing {
			session.Reach = last[w.key()]
			if w.segment == "" {
				session.Reach = last[w.space]
			}
		}
		sessions = append(sessions, session)
	}
	return sessions
}

// A loader is one client of a load.
type loader struct {
	l         *load
	name      string
	client    *history.Client
	rand      *rand.Rand
	producers map[string]*ownProducer // by segment
}

// An ownProducer is the producer of one client in one segment.
type ownProducer struct {
	epoch, seq uint64
	last       []streamhub.Record // of seq - 1
}

// chance reports true in n of 100 cases.
func (c *loader) chance(n int) bool { return c.rand.IntN(100) < n }

// act does one thing.
func (c *loader) act(ctx context.Context) {
	space := c.l.spaces[c.rand.IntN(len(c.l.spaces))]
	c.l.mu.Lock()
	at := c.l.lives[space]
	c.l.mu.Unlock()
	if at.ops.Add(1) > c.l.options.Ops {
		if c.chance(80) {
			c.append(ctx, at, records(c.rand, c.rand.IntN(3)), streamhub.AppendOptions{
				Generation: at.generation.Load(), Close: &streamhub.Verdict{Kind: streamhub.VerdictDone}, Durability: c.l.options.Durability,
			})
		}
		c.l.mu.Lock()
		c.l.advance(space, at)
		c.l.mu.Unlock()
		return
	}
	call, cancel := c.limit(ctx)
	defer cancel()
	switch n := c.rand.IntN(100); {
	case n < 10:
		_, _ = c.client.Status(call, at.space, at.segment)
	case n < 11:
		_, _ = c.client.ReadAll(call, at.space, at.segment)
	case n < 25:
		c.produce(ctx, at)
	default:
		o := streamhub.AppendOptions{Generation: c.generation(at), Durability: c.l.options.Durability}
		if c.chance(25) {
			o.ExpectedSequence = at.tail.Load() + 1
			if c.chance(15) {
				o.ExpectedSequence += uint64(c.rand.IntN(3))
			}
		}
		c.append(ctx, at, records(c.rand, 1+c.rand.IntN(4)), o)
	}
}

// generation is the one in force as far as is known, now and then a higher or a lower one.
func (c *loader) generation(at *life) uint64 {
	g := at.generation.Load()
	switch {
	case c.chance(1):
		return at.generation.Add(1)
	case g > 0 && c.chance(3):
		return g - 1
	}
	return g
}

// limit gives some calls little time.
func (c *loader) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if c.chance(5) {
		return context.WithTimeout(ctx, time.Duration(c.rand.IntN(20))*time.Millisecond)
	}
	return context.WithTimeout(ctx, 15*time.Second)
}

// append makes one append, and repeats it, most often, while its outcome is unknown. It reports
// whether that is still so.
func (c *loader) append(ctx context.Context, at *life, r []streamhub.Record, o streamhub.AppendOptions) (unknown bool) {
	if o.Producer == nil {
		o.TRX = uuid.New()
	}
	for {
		call, cancel := c.limit(ctx)
		result, err := c.client.Append(call, at.space, at.segment, r, &o)
		cancel()
		if err == nil {
			for {
				old := at.tail.Load()
				if old >= result.Last || at.tail.CompareAndSwap(old, result.Last) {
					break
				}
			}
		}
		unknown = errors.Is(err, streamhub.ErrUnknownOutcome)
		if !unknown || ctx.Err() != nil || o.Producer == nil && c.chance(30) {
			return unknown
		}
	}
}

// produce makes the next append of the own producer, or one that has to be refused or recognised.
func (c *loader) produce(ctx context.Context, at *life) {
	p := c.producers[at.key()]
	if p == nil {
		p = &ownProducer{}
		c.producers[at.key()] = p
	}
	o := streamhub.AppendOptions{
		Generation: at.generation.Load(), Durability: c.l.options.Durability,
		Producer: &streamhub.Producer{ID: c.name, Epoch: p.epoch, Seq: p.seq},
	}
	r := records(c.rand, 1+c.rand.IntN(3))
	switch {
	case p.seq > 0 && c.chance(20): // a repeat
		o.Producer.Seq--
		c.append(ctx, at, p.last, o)
	case p.seq > 0 && c.chance(5): // another append under the same number
		o.Producer.Seq--
		c.append(ctx, at, r, o)
	case c.chance(5): // one left out
		o.Producer.Seq++
		c.append(ctx, at, r, o)
	case p.epoch > 0 && c.chance(10): // the past
		o.Producer.Epoch--
		c.append(ctx, at, r, o)
	default:
		if c.chance(5) {
			o.Producer.Epoch++
			o.Producer.Seq = 0
		}
		if c.next(ctx, at, r, o) {
			p.epoch, p.seq, p.last = o.Producer.Epoch, o.Producer.Seq+1, r
		}
	}
}

// next reports whether the append of the producer was stored.
func (c *loader) next(ctx context.Context, at *life, r []streamhub.Record, o streamhub.AppendOptions) bool {
	for {
		call, cancel := c.limit(ctx)
		_, err := c.client.Append(call, at.space, at.segment, r, &o)
		cancel()
		switch {
		case err == nil, errors.Is(err, streamhub.ErrNotConfirmed):
			return true
		case errors.Is(err, streamhub.ErrUnknownOutcome) && ctx.Err() == nil:
			continue
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			continue
		}
		return false
	}
}

//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// minTraffic is how many appends have to be acknowledged before the first fault, and after the
// last: a run without traffic proves nothing.
const minTraffic = 200

// A patient is what breakages break: one server, that loses nothing, and the links to it.
type patient struct {
	ctx    context.Context
	server *testredis.Server
	links  *relay
	admin  *redis.Client // past the links
	rand   *rand.Rand
}

func (p *patient) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(p.rand.Int64N(int64(longest-shortest)))
}

// last lets a fault of the links last for d.
func (p *patient) last(f faultproxy.Faults, d time.Duration) {
	p.links.set(f)
	pause.For(p.ctx, d)
	p.links.set(faultproxy.Faults{})
}

// breakages are the faults that a schedule is drawn from. Each breaks something, heals it, and says
// what it did.
var breakages = []struct {
	name string
	do   func(p *patient) string
}{
	{"kill", func(p *patient) string {
		d := p.between(0, 300*time.Millisecond)
		p.server.Kill()
		pause.For(p.ctx, d)
		p.server.Restart()
		return d.String()
	}},
	{"freeze", func(p *patient) string {
		d := p.between(20*time.Millisecond, 2500*time.Millisecond)
		p.server.Pause()
		pause.For(p.ctx, d)
		p.server.Resume()
		return d.String()
	}},
	{"cut replies", func(p *patient) string {
		d, share := p.between(200*time.Millisecond, 2*time.Second), 0.01+p.rand.Float64()/4
		p.last(faultproxy.Faults{CutReply: share, EOF: p.rand.IntN(2) == 0}, d)
		return fmt.Sprintf("%.0f%% for %v", share*100, d)
	}},
	{"cut requests", func(p *patient) string {
		d, share := p.between(200*time.Millisecond, time.Second), 0.01+p.rand.Float64()/4
		p.last(faultproxy.Faults{CutRequest: share}, d)
		return fmt.Sprintf("%.0f%% for %v", share*100, d)
	}},
	{"cut all", func(p *patient) string {
		n := 0
		for _, proxy := range p.links.all() {
			n += proxy.CutAll()
		}
		return fmt.Sprintf("%d connections", n)
	}},
	{"half open", func(p *patient) string {
		n := 0
		for _, proxy := range p.links.all() {
			n += proxy.HalfOpen()
		}
		return fmt.Sprintf("%d connections", n)
	}},
	{"late requests", func(p *patient) string { // copies of what was sent again arrive after it
		d := p.between(500*time.Millisecond, 2*time.Second)
		p.last(faultproxy.Faults{ToServer: faultproxy.Flow{Jitter: 2500 * time.Millisecond}}, d)
		return d.String()
	}},
	{"late replies", func(p *patient) string {
		d := p.between(500*time.Millisecond, 2*time.Second)
		p.last(faultproxy.Faults{ToClient: faultproxy.Flow{Jitter: 1500 * time.Millisecond}}, d)
		return d.String()
	}},
	{"slices", func(p *patient) string {
		d := p.between(200*time.Millisecond, time.Second)
		p.last(faultproxy.Faults{ToServer: faultproxy.Flow{Slice: 7}, ToClient: faultproxy.Flow{Slice: 7}}, d)
		return d.String()
	}},
	{"black hole", func(p *patient) string {
		d := p.between(200*time.Millisecond, 3*time.Second)
		p.last(faultproxy.Faults{ToClient: faultproxy.Flow{Blackhole: true}}, d)
		return d.String()
	}},
	{"refuse", func(p *patient) string {
		d := p.between(200*time.Millisecond, 2*time.Second)
		p.links.set(faultproxy.Faults{Refuse: true})
		for _, proxy := range p.links.all() {
			proxy.CutAll()
		}
		pause.For(p.ctx, d)
		p.links.set(faultproxy.Faults{})
		return d.String()
	}},
	{"flush scripts", func(p *patient) string {
		return fmt.Sprint(p.admin.ScriptFlush(p.ctx).Err())
	}},
	{"kill subscriptions", func(p *patient) string {
		return fmt.Sprint(p.admin.ClientKillByFilter(p.ctx, "TYPE", "pubsub").Err())
	}},
}

// TestChaosSingle breaks one Redis, that writes through, and the links to it. Nothing may be lost,
// told wrong or delivered wrong, and it all goes on by itself.
func TestChaosSingle(t *testing.T) {
	for range pick(1, 60) {
		seed := seedOf(t)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaosSingle(t, seed, pick(8, 30)) })
	}
}

func chaosSingle(t *testing.T, seed uint64, faults int) {
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	links := newRelay(t, seed, faultproxy.Faults{}, server)
	var writers, followers []*hub.Hub
	for i := range 4 {
		// Short patience makes outcomes unknown.
		o := &hub.Options{RetryFor: []time.Duration{300 * time.Millisecond, time.Second, 5 * time.Second, 5 * time.Second}[i]}
		writers = append(writers, open(t, links.through(t, server.URL()), o))
	}
	for range 2 {
		followers = append(followers, open(t, links.through(t, server.URL()), &hub.Options{Recheck: time.Second}))
	}
	l := startLoad(t, seed, writers, followers, []string{"space"}, loadOptions{PerHub: 3, Ops: 1500, Pause: 6 * time.Millisecond})
	l.acked(minTraffic, 20*time.Second, "before the first fault")

	p := &patient{ctx: t.Context(), server: server, links: links, admin: server.Client(), rand: random(seed, 1<<32)}
	order := p.rand.Perm(len(breakages))
	for i := range faults {
		b := breakages[order[i%len(order)]]
		l.note("%s begins", b.name)
		l.note("%s ended: %s", b.name, b.do(p))
		pause.For(t.Context(), p.between(0, 600*time.Millisecond))
	}
	l.note("all is whole")
	healed := time.Now()
	l.acked(1, 10*time.Second, "after the last fault")
	l.note("the first append was acknowledged after %v", time.Since(healed).Round(time.Millisecond))
	l.acked(minTraffic, 20*time.Second, "after the last fault")
	s := open(t, client(t, server.URL()), nil).Store(testStore)
	sessions := l.settle(s, 10*time.Second)
	check(t, l.rec.History(), s, l.places, history.Options{Seed: seed, Schedule: l.schedule, Sessions: sessions})
	if testing.Verbose() {
		for _, line := range l.schedule {
			t.Log(line)
		}
	}
}

// TestKillRestart kills a Redis that writes through again and again while it is written to. No
// acknowledged entry is lost, and followers catch up by themselves.
func TestKillRestart(t *testing.T) {
	seed := seedOf(t)
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	url := server.URL()
	writers := []*hub.Hub{open(t, client(t, url), nil), open(t, client(t, url), nil), open(t, client(t, url), nil)}
	followers := []*hub.Hub{open(t, client(t, url), nil), open(t, client(t, url), nil)}
	l := startLoad(t, seed, writers, followers, []string{"space"}, loadOptions{PerHub: 3, Ops: 1500, Pause: 6 * time.Millisecond})
	r := random(seed, 1<<32)
	s := open(t, client(t, url), nil).Store(testStore)
	var slowest time.Duration
	for n := range pick(5, 50) {
		l.acked(minTraffic, 20*time.Second, "before a kill")
		down := time.Duration(r.Int64N(int64(500 * time.Millisecond)))
		l.note("kill %d, for %v", n, down)
		server.Kill()
		pause.For(t.Context(), down)
		server.Restart()
		begin := time.Now()
		l.mu.Lock()
		at := l.lives["space"].place
		watchers := l.watched[len(l.watched)-len(followers):]
		l.mu.Unlock()
		ctx := within(t, 10*time.Second)
		status, err := s.Status(ctx, at.space, at.segment)
		for errors.Is(err, streamhub.ErrNotFound) && pause.For(ctx, 10*time.Millisecond) { // nobody has appended to it yet
			status, err = s.Status(ctx, at.space, at.segment)
		}
		require.NoError(t, err)
		for _, w := range watchers {
			require.NoError(t, w.Wait(ctx, status.LastSequence), "a follower did not come back")
		}
		slowest = max(slowest, time.Since(begin))
	}
	l.acked(minTraffic, 20*time.Second, "after the last kill")
	sessions := l.settle(s, 10*time.Second)
	check(t, l.rec.History(), s, l.places, history.Options{Seed: seed, Schedule: l.schedule, Sessions: sessions})
	t.Logf("followers were back within %v", slowest.Round(time.Millisecond))
}

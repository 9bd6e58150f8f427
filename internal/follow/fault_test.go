package follow

import (
	"context"
	"fmt"
	"iter"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// everyKind starts one of each kind of follower at the end of "a"/"b", which has n entries, and
// returns a function that appends one more and sees that all of them get it.
func everyKind(t *testing.T, w *world, by *Watcher, n int) (oneMore func(lose func())) {
	last := w.append("a", "b", n)
	segment, space := w.follower(by, "a", "b", nil), w.spaceFollower(by, "a", nil)
	one := pull(t, t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return by.SubscribeSegment(ctx, w.store, "a", "b")
	})
	all := pull(t, t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return by.SubscribeSpace(ctx, w.store, "a")
	})
	expect(segment, 1, last)
	expect(space, 1, last)
	require.Equal(t, last, one.next(soon).LastSequence)
	require.Equal(t, last, all.next(soon).LastSequence)
	return func(lose func()) {
		t.Helper()
		segment.ask()
		space.ask()
		one.ask()
		all.ask()
		idle(t, by, w.key("a", "b"), 1)
		idle(t, by, w.key("a", ""), 1)
		quiet(t, by, w.key("a", "b"))
		quiet(t, by, w.key("a", ""))
		lose()
		last = w.append("a", "b", 1)
		require.Equal(t, last, segment.take(soon).value.Sequence)
		require.Equal(t, last, space.take(soon).value.Sequence)
		require.Equal(t, last, one.take(soon).value.LastSequence)
		require.Equal(t, last, all.take(soon).value.LastSequence)
	}
}

// quiet waits until a feed has nothing to do.
func quiet(t *testing.T, by *Watcher, k key) {
	t.Helper()
	until(t, "a quiet feed", func() bool {
		by.mu.Lock()
		f := by.feeds[k]
		by.mu.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.served == f.asked && !f.running
	})
}

// TestLostNotices: what is lost in silence is found by the next re-check, which is the only thing
// that can find it here.
func TestLostNotices(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: 100 * time.Millisecond, PingInterval: never})
		more := everyKind(t, w, by, 3)
		more(func() {})
		require.Len(t, w.link.pubsubs(), 1, "Pub/Sub connections")
		for range 5 {
			more(w.link.mute)
		}
	})
}

// TestLostFirstNotice: also where the timeline was empty before.
func TestLostFirstNotice(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: 100 * time.Millisecond, PingInterval: never})
		segment, space := w.follower(by, "a", "b", nil), w.spaceFollower(by, "a", nil)
		segment.ask()
		space.ask()
		for _, k := range []key{w.key("a", "b"), w.key("a", "")} {
			// A re-check looks once more at what has begun.
			until(t, "the first re-check", func() bool {
				by.mu.Lock()
				topic := by.topics[k]
				by.mu.Unlock()
				if topic == nil {
					return false
				}
				topic.mu.Lock()
				defer topic.mu.Unlock()
				return topic.epoch > 0 && !topic.moved
			})
			idle(t, by, k, 1)
		}
		w.link.mute()
		w.append("a", "b", 1)
		segment.take(soon)
		space.take(soon)
	})
}

// TestLostBetween: one notice is lost and the next one comes.
func TestLostBetween(t *testing.T) {
	ways(t, func(t *testing.T, offers bool) {
		w := onRedis(t)
		w.offers = offers
		by := w.watch(&Options{Recheck: never, PingInterval: never})
		p := w.follower(by, "a", "b", nil)
		p.ask()
		idle(t, by, w.key("a", "b"), 1)
		for i := uint64(1); i < 100; i += 3 {
			w.link.mute()
			before := w.link.lost.Load()
			w.append("a", "b", 2)
			until(t, "notices are lost", func() bool { return w.link.lost.Load() > before })
			w.link.unmute()
			w.append("a", "b", 1)
			require.Equal(t, i, p.take(soon).value.Sequence)
			expect(p, i+1, i+2)
			p.ask()
			idle(t, by, w.key("a", "b"), 1)
		}
	})
}

// TestReplaced: the segment is another one all of a sudden, and shorter. Only its notice tells.
func TestReplaced(t *testing.T) {
	ways(t, func(t *testing.T, offers bool) {
		server := testredis.Start(t, nil)
		w := newWorld(t, server.Addr())
		w.offers = offers
		by := w.watch(&Options{Recheck: never, PingInterval: never})
		w.append("a", "b", 10)
		p := w.follower(by, "a", "b", nil)
		expect(p, 1, 10)
		p.ask()
		idle(t, by, w.key("a", "b"), 1)
		require.NoError(t, server.Client().FlushAll(t.Context()).Err())
		fresh := newWorld(t, server.Addr())
		fresh.store = fresh.log.Store(w.store.ID())
		fresh.append("a", "b", 1)
		require.ErrorIs(t, p.ended(soon), streamhub.ErrHistoryLost)
	})
}

// TestReconnect: what is lost while the connection is away is read when it is back.
func TestReconnect(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never, PingInterval: never})
		more := everyKind(t, w, by, 3)
		for range 10 {
			more(func() {
				w.link.mute() // so that it is surely lost
				time.AfterFunc(20*time.Millisecond, w.link.cut)
			})
			until(t, "the connection is back", func() bool { return len(w.link.pubsubs()) == 1 })
		}
	})
}

// TestSilence: a connection on which nothing comes, not even an answer to a ping, is replaced.
func TestSilence(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never, PingInterval: 50 * time.Millisecond})
		more := everyKind(t, w, by, 3)
		for range 3 {
			more(w.link.mute)
		}
	})
}

// TestProxy cuts and half-opens all connections, and blackholes both directions, under a writer.
func TestProxy(t *testing.T) {
	w := onRedis(t)
	proxy, err := faultproxy.New(w.addrs[0], 1, faultproxy.Faults{})
	require.NoError(t, err)
	defer proxy.Close()
	direct := *w
	w.addrs = []string{proxy.Addr()}
	by := w.watch(&Options{Recheck: 200 * time.Millisecond, PingInterval: 100 * time.Millisecond})
	w = &direct

	const total = 3000
	var followers sync.WaitGroup
	var got atomic.Int64
	for range 10 {
		followers.Go(func() {
			next := uint64(1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for e, err := range w.followSegment(ctx, by, "a", "b", nil) {
				if err != nil {
					t.Error(err)
					return
				}
				if e.Sequence != next {
					t.Errorf("%d, want %d", e.Sequence, next)
					return
				}
				got.Add(1)
				if next++; next > total {
					return
				}
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range total {
		w.append("a", "b", 1)
		switch i % 500 {
		case 100:
			proxy.CutAll()
		case 200:
			proxy.HalfOpen()
		case 300:
			proxy.Set(faultproxy.Faults{ToServer: faultproxy.Flow{Blackhole: true}, ToClient: faultproxy.Flow{Blackhole: true}})
		case 350:
			proxy.Set(faultproxy.Faults{CutReply: 0.02})
			proxy.CutAll()
		case 450:
			proxy.Set(faultproxy.Faults{})
		}
		<-tick.C
	}
	followers.Wait()
	require.EqualValues(t, 10*total, got.Load())
}

// TestUnconfirmed: what is appended after the read that a follower starts with is not missed, even
// if the subscription takes its time.
func TestUnconfirmed(t *testing.T) {
	w := onRedis(t)
	proxy, err := faultproxy.New(w.addrs[0], 1, faultproxy.Faults{})
	require.NoError(t, err)
	defer proxy.Close()
	conn := w.connect(nil)
	// Only the Pub/Sub connection goes through the proxy: it is the only one that subscribes.
	sub := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true})
	defer sub.Close()
	conn, err = redisx.Connect(t.Context(), split{conn.UniversalClient, sub})
	require.NoError(t, err)
	by, err := Open(t.Context(), conn, w.log, &Options{Recheck: never, PingInterval: never})
	require.NoError(t, err)
	defer by.Close()
	w.append("a", "b", 1)
	// The first subscription makes the connection; the second one is held on its way.
	first := w.follower(by, "a", "other", nil)
	first.ask()
	idle(t, by, w.key("a", "other"), 1)
	proxy.Set(faultproxy.Faults{ToServer: faultproxy.Flow{Hold: true}})
	p := w.follower(by, "a", "b", nil)
	p.ask()
	until(t, "the subscription is on its way", func() bool {
		by.subscriber.mu.Lock()
		defer by.subscriber.mu.Unlock()
		c := by.subscriber.channels[w.key("a", "b").channel()]
		return c != nil && c.state == joining
	})
	p.silent() // a read now could be overtaken by what nobody tells
	w.append("a", "b", 1)
	proxy.Set(faultproxy.Faults{})
	require.EqualValues(t, 1, p.take(soon).value.Sequence)
	expect(p, 2, 2)
	first.stop()
	p.stop()
}

// A split subscribes on another client.
type split struct {
	redis.UniversalClient
	sub *redis.Client
}

func (s split) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	return s.sub.Subscribe(ctx, channels...)
}

// TestHistoryLost: followers that wait are told by a re-check.
func TestHistoryLost(t *testing.T) {
	ways(t, func(t *testing.T, offers bool) {
		server := testredis.Start(t, nil)
		w := newWorld(t, server.Addr())
		w.offers = offers
		by := w.watch(&Options{Recheck: 100 * time.Millisecond})
		w.append("a", "b", 10)
		w.append("a", "c", 1)
		w.append("z", "b", 1)
		other := w.follower(by, "z", "b", nil)
		expect(other, 1, 1)
		var waiting []*puller[streamhub.Entry]
		for range 5 {
			p := w.follower(by, "a", "b", nil)
			expect(p, 1, 10)
			p.ask()
			waiting = append(waiting, p)
		}
		behind := w.follower(by, "a", "b", nil)
		behind.next(soon)
		space := w.spaceFollower(by, "a", nil)
		expect(space, 1, 10)
		expect(space, 1, 1)
		space.ask()
		empty := w.follower(by, "a", "never was", nil)
		empty.ask()
		waits := 5
		if offers {
			waits++ // behind has a tray, and so is at the end
		}
		idle(t, by, w.key("a", "b"), waits)
		idle(t, by, w.key("a", ""), 1)
		idle(t, by, w.key("a", "never was"), 1)
		require.NoError(t, server.Client().FlushAll(t.Context()).Err())
		for _, p := range append(waiting, space) {
			require.ErrorIs(t, p.ended(soon), streamhub.ErrHistoryLost)
		}
		// One that is slower goes on from memory, or finds out at its next read.
		for {
			behind.ask()
			if v := behind.take(soon); v.err != nil {
				require.ErrorIs(t, v.err, streamhub.ErrHistoryLost)
				break
			}
		}
		require.ErrorIs(t, other.end(soon), streamhub.ErrHistoryLost)
		empty.silent()
		// The name has another life now.
		again := w.follower(by, "a", "b", nil)
		again.ask()
		idle(t, by, w.key("a", "b"), 1)
		fresh := newWorld(t, server.Addr())
		fresh.store = fresh.log.Store(w.store.ID())
		fresh.append("a", "b", 1)
		fresh.append("a", "never was", 1)
		require.EqualValues(t, 1, again.take(soon).value.Sequence)
		require.EqualValues(t, 1, empty.take(soon).value.Sequence)
	})
}

// TestTailLost: the end of the log vanishes together with its place in the timeline, so that no
// timeline names what was lost, and nothing else happens. The connection stays.
func TestTailLost(t *testing.T) {
	ways(t, func(t *testing.T, offers bool) {
		server := testredis.Start(t, nil)
		w := newWorld(t, server.Addr())
		w.offers = offers
		by := w.watch(&Options{Recheck: 300 * time.Millisecond})
		w.append("a", "b", 10)
		w.append("a", "c", 1)
		p, other := w.follower(by, "a", "b", nil), w.follower(by, "a", "c", nil)
		expect(p, 1, 10)
		expect(other, 1, 1)
		p.ask()
		other.ask()
		idle(t, by, w.key("a", "b"), 1)
		idle(t, by, w.key("a", "c"), 1)
		restore := saved(t, server.Client())
		w.append("a", "b", 1)
		require.EqualValues(t, 11, p.take(soon).value.Sequence)
		p.ask()
		restore()
		err := p.ended(soon)
		var lost *streamhub.HistoryLostError
		require.ErrorAs(t, err, &lost)
		require.EqualValues(t, 11, lost.FirstLost)
		other.silent()
	})
}

// TestBegunAfterLoss: a follower that begins after entries were lost does not get them from the window, and the topic
// finds out.
func TestBegunAfterLoss(t *testing.T) {
	ways(t, func(t *testing.T, offers bool) {
		for _, kept := range []int{0, 10} {
			server := testredis.Start(t, nil)
			w := newWorld(t, server.Addr())
			w.offers = offers
			by := w.watch(&Options{Recheck: never, PingInterval: never})
			w.append("a", "another", 1)
			w.append("a", "b", kept)
			slow := w.follower(by, "a", "b", nil)
			expect(slow, 1, uint64(kept))
			slow.ask()
			idle(t, by, w.key("a", "b"), 1)
			restore := saved(t, server.Client())
			w.append("a", "b", 1)
			slow.take(soon)
			w.append("a", "b", 1)
			last := uint64(kept) + 2
			untilTopic(t, by, w.key("a", "b"), "what is to be lost", func(topic *topic) bool { return topic.live.Sequence == last && !topic.running })
			restore()
			late := w.follower(by, "a", "b", &streamhub.FollowOptions{Live: true})
			late.ask()
			untilTopic(t, by, w.key("a", "b"), "another epoch", func(topic *topic) bool { return topic.epoch == 2 && !topic.running })
			late.silent()
			fresh := newWorld(t, server.Addr())
			fresh.store = fresh.log.Store(w.store.ID())
			want := fresh.append("a", "b", 1)
			require.Equal(t, want, late.take(soon).value.Sequence)
		}
	})
}

// TestBegunAfterDelete: a follower that begins after a segment was deleted does not get its entries from the window, also
// if it needs several reads to the end.
func TestBegunAfterDelete(t *testing.T) {
	ways(t, func(t *testing.T, offers bool) {
		w := onRedis(t)
		by := w.watch(&Options{Recheck: never, PingInterval: never})
		slow := w.spaceFollower(by, "a", nil)
		slow.ask()
		idle(t, by, w.key("a", ""), 1)
		w.append("a", "b", 100)
		w.append("a", "deleted", 1)
		slow.take(soon)
		untilTopic(t, by, w.key("a", ""), "everything in the window", func(topic *topic) bool {
			n := len(topic.window.chunks)
			return n > 0 && topic.window.chunks[n-1].Entries[len(topic.window.chunks[n-1].Entries)-1].Segment == "deleted" && !topic.running
		})
		require.NoError(t, w.store.Delete(t.Context(), "a", "deleted", ""))
		w.offers = offers
		late := w.spaceFollower(by, "a", nil)
		expect(late, 1, 100)
		w.append("a", "after", 1)
		require.Equal(t, "after", late.next(soon).Segment)
	})
}

// saved returns what undoes later appends key by key, as a failover to a replica that lags would do it.
func saved(t *testing.T, client *redis.Client) (restore func()) {
	t.Helper()
	keys, err := client.Keys(t.Context(), "sh:*").Result()
	require.NoError(t, err)
	values := map[string]string{}
	for _, k := range keys {
		values[k], err = client.Dump(t.Context(), k).Result()
		require.NoError(t, err)
	}
	return func() {
		t.Helper()
		since, err := client.Keys(t.Context(), "sh:*").Result()
		require.NoError(t, err)
		for _, k := range since {
			if _, ok := values[k]; !ok {
				require.NoError(t, client.Del(t.Context(), k).Err())
			}
		}
		for k, v := range values {
			require.NoError(t, client.RestoreReplace(t.Context(), k, 0, v).Err())
		}
	}
}

// TestRestart: a server that comes back with its data disturbs nobody.
func TestRestart(t *testing.T) {
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	w := newWorld(t, server.Addr())
	by := w.watch(&Options{Recheck: time.Second})
	more := everyKind(t, w, by, 20)
	for range 2 {
		more(func() {
			server.Kill()
			p := w.follower(by, "a", "b", nil) // starts while Redis is down
			p.ask()
			server.Restart()
			require.EqualValues(t, 1, p.take(soon).value.Sequence)
			p.stop()
		})
	}
	more(server.Restart)
}

// TestClusterNodeDies: the node that the Pub/Sub connection is on goes away for good.
func TestClusterNodeDies(t *testing.T) {
	cluster := testredis.StartCluster(t, 3, 1, nil)
	w := newWorld(t, cluster.Addrs()...)
	by := w.watch(&Options{Recheck: never}) // only the way back to Pub/Sub may heal
	// The space is on a master that stays.
	segment := w.follower(by, "a", "b", nil)
	w.append("a", "b", 1)
	expect(segment, 1, 1)
	segment.ask()
	idle(t, by, w.key("a", "b"), 1)
	holder := func() string {
		for _, c := range w.link.pubsubs() {
			return c.RemoteAddr().String()
		}
		return ""
	}
	first := holder()
	require.NotEmpty(t, first)
	for i, n := range cluster.Nodes {
		if n.Addr() == first {
			cluster.Kill(i)
		}
	}
	cluster.WaitReady()
	begin := time.Now()
	until(t, "another node", func() bool { h := holder(); return h != "" && h != first })
	w.append("a", "b", 1)
	require.EqualValues(t, 2, segment.take(soon).value.Sequence)
	require.Less(t, time.Since(begin), 30*time.Second)
}

// TestIdleRate: two hundred followers that wait cost one connection and less than a command a
// second.
func TestIdleRate(t *testing.T) {
	server := testredis.Start(t, nil)
	w := newWorld(t, server.Addr())
	by := w.watch(nil)
	const followers = 200
	for i := range followers {
		segment := fmt.Sprint("segment ", i)
		w.append("a", segment, 1)
		p := w.follower(by, "a", segment, nil)
		expect(p, 1, 1)
		p.ask()
	}
	for i := range followers {
		idle(t, by, w.key("a", fmt.Sprint("segment ", i)), 1)
	}
	require.Len(t, w.link.pubsubs(), 1)
	client := server.Client()
	count := func() (total int) {
		info, err := client.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		for line := range strings.Lines(info) {
			name, rest, _ := strings.Cut(line, ":calls=")
			if strings.HasPrefix(name, "cmdstat_") && name != "cmdstat_info" {
				calls, _, _ := strings.Cut(rest, ",")
				n, err := strconv.Atoi(calls)
				require.NoError(t, err)
				total += n
			}
		}
		return total
	}
	// The first re-check looks once more at what moved, which is everything: a meta and a frame.
	begin := count()
	until(t, "the first re-check", func() bool { return count() >= begin+2*followers })
	for i := range followers {
		idle(t, by, w.key("a", fmt.Sprint("segment ", i)), 1)
	}
	window := 12 * time.Second
	if testing.Short() {
		window = 4 * time.Second
	}
	before := count()
	<-time.After(window)
	n := count() - before
	t.Logf("%d followers that wait: %d commands in %v, %.2f/s", followers, n, window, float64(n)/window.Seconds())
	require.LessOrEqual(t, float64(n)/window.Seconds(), 1.0)
}

// TestSlowFollower: one that reads nothing costs bounded memory, delays nobody, and gets all in
// the end.
func TestSlowFollower(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{BufferBytes: 256 << 10})
		const total = 20_000
		w.append("a", "b", 1)
		var slow []*puller[streamhub.Entry]
		for range maxReads + 2 {
			p := w.follower(by, "a", "b", nil)
			expect(p, 1, 1)
			slow = append(slow, p)
		}
		var most atomic.Int64
		var fast sync.WaitGroup
		for range 5 {
			fast.Go(func() {
				next := uint64(1)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for e, err := range w.followSegment(ctx, by, "a", "b", nil) {
					if err != nil || e.Sequence != next {
						t.Errorf("%d, want %d: %v", e.Sequence, next, err)
						return
					}
					if n := by.buffered.Load(); n > most.Load() {
						most.Store(n)
					}
					if next++; next > total {
						return
					}
				}
			})
		}
		for at := 1; at < total; {
			n := min(100, total-at)
			w.appendSome("a", "b", n, 100)
			at += n
		}
		fast.Wait()
		require.Less(t, most.Load(), int64(256<<10+4<<20), "a window and the page read last")
		for i, p := range slow {
			if i < 3 {
				expect(p, 2, total)
			}
		}
	})
}

// TestSharing: followers that keep up cost no read each.
func TestSharing(t *testing.T) {
	w := onRedis(t)
	counter := &counter{}
	by := w.watch(&Options{Recheck: never, PingInterval: never}, counter)
	w.append("a", "b", 1)
	var all []*puller[streamhub.Entry]
	for range 100 {
		p := w.follower(by, "a", "b", nil)
		expect(p, 1, 1)
		p.ask()
		all = append(all, p)
	}
	idle(t, by, w.key("a", "b"), 100)
	before := counter.n.Load()
	w.append("a", "b", 1) // carried by its notice
	for _, p := range all {
		require.EqualValues(t, 2, p.take(soon).value.Sequence)
		p.ask()
	}
	require.Equal(t, before, counter.n.Load(), "commands for what the notice carries")
	idle(t, by, w.key("a", "b"), 100)
	require.Zero(t, by.buffered.Load(), "bytes that everybody has seen")
	w.appendSome("a", "b", 1, 10_000) // too large for that
	for _, p := range all {
		require.EqualValues(t, 3, p.take(soon).value.Sequence)
	}
	require.LessOrEqual(t, counter.n.Load()-before, int64(2), "commands of one read")
}

type counter struct{ n atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

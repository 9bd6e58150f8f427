//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

const liveSpace = "live"

func startLive(t *testing.T, name, url string) *worker {
	t.Helper()
	return start(t, "live", name, liveConfig{base: base{URL: url, Store: testStore, Name: name}, Space: liveSpace})
}

// TestLiveProducerKilled kills a producer in the middle. Readers in three processes get everything
// that it was told is stored, and then the verdict, within the ten seconds that are promised.
func TestLiveProducerKilled(t *testing.T) {
	server := testredis.Start(t, nil)
	producer := startLive(t, "producer", server.URL())
	readers := []*worker{startLive(t, "reader a", server.URL()), startLive(t, "reader b", server.URL())}
	here := open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace)
	var line liveLine
	producer.tell("register chat")
	producer.next(&line)
	require.True(t, line.Created, line.Error)
	for _, r := range readers {
		r.tell("read chat")
	}
	ctx := within(t, time.Minute)
	s, err := here.Get(ctx, "chat")
	require.NoError(t, err)
	type end struct {
		n       int
		verdict streamhub.VerdictKind
		err     error
		at      int64
	}
	ended := make(chan end, 1)
	go func() {
		n, v, err := readNumbers(ctx, s, "")
		ended <- end{n, v, err, clock()}
	}()
	producer.tell("publish chat")
	for line.Stored < 300 {
		producer.next(&line)
	}
	require.True(t, pause.For(ctx, 6*time.Second)) // they have known each other for a while

	producer.kill()
	killed := clock()
	stored := strings.Count(string(producer.written()), `"Stored"`) + 1
	e := <-ended
	require.NoError(t, e.err)
	require.Equal(t, streamhub.VerdictLost, e.verdict)
	require.GreaterOrEqual(t, e.n, stored)
	took := []time.Duration{time.Duration(e.at - killed)}
	for _, r := range readers {
		var line liveLine
		r.next(&line)
		require.Empty(t, line.Error)
		require.Equal(t, streamhub.VerdictLost, line.Verdict)
		require.Equal(t, e.n, line.Read)
		took = append(took, time.Duration(line.At-killed))
	}
	t.Logf("%d chunks, %d of them acknowledged; lost was seen %v after the kill", e.n, stored, took)
	require.LessOrEqual(t, slices.Max(took), 10*time.Second+time.Second, "the promise, and a second for a busy machine")

	readers[0].tell("register chat")
	line = liveLine{}
	readers[0].next(&line)
	require.True(t, line.Created, line.Error)
	require.Greater(t, line.Generation, s.Generation())
}

// TestLiveReconnects cuts the reading of a stream of 5,000 chunks at 500 places, the last part of
// them after Redis was restarted: what was seen and what is resumed are all of it, always.
func TestLiveReconnects(t *testing.T) {
	const chunks, cuts = 5000, 500
	r := random(seedOf(t), 0)
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	ctx := within(t, 2*time.Minute)
	hubs := []live.Streams{
		open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace),
		open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace),
	}
	p, _, err := hubs[0].Register(ctx, "chat", nil)
	require.NoError(t, err)
	require.NotNil(t, p)
	cursors := []live.Cursor{""}
	publish := func(n int) {
		for range n {
			require.NoError(t, p.Publish(ctx, fmt.Append(nil, len(cursors)-1)))
			cursors = append(cursors, "")
		}
		require.NoError(t, p.Flush(ctx))
	}
	// resume reads on from after chunk k, on either instance, up to the one with sequence end.
	resume := func(k, end int) {
		s, err := hubs[r.IntN(2)].Get(ctx, "chat")
		require.NoError(t, err)
		o := &live.SubscribeOptions{Cursor: cursors[k], BatchReplay: r.IntN(4) == 0}
		at := k
		for c, err := range s.Subscribe(ctx, o) {
			require.NoError(t, err)
			var want strings.Builder
			for n := at; n < int(c.Sequence); n++ {
				fmt.Fprint(&want, n)
			}
			require.Equal(t, want.String(), string(c.Data), "after %d", at)
			at = int(c.Sequence)
			cursors[at] = c.Cursor()
			if at >= end {
				return
			}
		}
	}
	publish(chunks / 2)
	resume(0, chunks/2)
	// Some cursors are known only where the chunk was read by itself.
	known := func(limit int) int {
		for {
			if k := r.IntN(limit + 1); k == 0 || cursors[k] != "" {
				return k
			}
		}
	}
	for range cuts / 2 {
		resume(known(chunks/2-1), chunks/2)
	}
	restarted := make(chan struct{})
	go func() { defer close(restarted); server.Restart() }()
	publish(chunks / 2) // before, during and after
	<-restarted
	for range cuts / 2 {
		resume(known(chunks/2), chunks)
	}
	require.NoError(t, p.Done(ctx, nil))
	for _, h := range hubs {
		s, err := h.Get(ctx, "chat")
		require.NoError(t, err)
		n, v, err := readNumbers(ctx, s, "")
		require.NoError(t, err)
		require.Equal(t, chunks, n)
		require.Equal(t, streamhub.VerdictDone, v)
	}
}

// TestLiveCancel cancels streams of another process. Each producer is told once.
func TestLiveCancel(t *testing.T) {
	const streams = 100
	server := testredis.Start(t, nil)
	producer := startLive(t, "producer", server.URL())
	here := open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace)
	ctx := within(t, time.Minute)
	var p99s []time.Duration
	for run := range 3 {
		asked := map[string]int64{}
		for n := range streams {
			id := fmt.Sprintf("%d/%d", run, n)
			producer.tell("register " + id)
			var line liveLine
			producer.next(&line)
			require.True(t, line.Created, line.Error)
		}
		var took []time.Duration
		for n := range streams {
			id := fmt.Sprintf("%d/%d", run, n)
			s, err := here.Get(ctx, id)
			require.NoError(t, err)
			asked[id] = clock()
			_, err = s.Cancel(ctx, &live.CancelOptions{NoWait: true})
			require.NoError(t, err)
			var line liveLine
			producer.next(&line)
			require.Equal(t, id, line.ID)
			require.NotZero(t, line.Told)
			took = append(took, time.Duration(line.Told-asked[id]))
			producer.tell("done " + id)
		}
		slices.Sort(took)
		p99s = append(p99s, took[streams*99/100])
		t.Logf("run %d: median %v, p99 %v, max %v", run, took[streams/2], took[streams*99/100], took[streams-1])
	}
	producer.stop()
	require.Equal(t, 3*streams, strings.Count(string(producer.written()), `"Told"`), "told more than once")
	slices.Sort(p99s)
	t.Logf("cancel to producer: p99 %v, the median of three runs", p99s[1])
	require.Less(t, p99s[1], time.Second)
}

// TestLiveCancelUnheard cancels while the notifications for the producer get lost, and after all of
// its connections were cut: the re-check brings it.
func TestLiveCancelUnheard(t *testing.T) {
	for _, fault := range []string{"deaf", "cut", "blackholed"} {
		t.Run(fault, func(t *testing.T) {
			server := testredis.Start(t, nil)
			relay := newRelay(t, 1, faultproxy.Faults{}, server)
			swallowed := make(chan struct{}, 1<<10)
			if fault == "deaf" {
				relay.wrap = func(c net.Conn) net.Conn { return newDeaf(c, swallowed) }
			}
			const recheck = 2 * time.Second
			there := open(t, relay.through(t, server.URL()), &hub.Options{Recheck: recheck}).Store(testStore).Live(liveSpace)
			here := open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace)
			ctx := within(t, time.Minute)
			told := make(chan error, 10)
			p, _, err := there.Register(ctx, "chat", &live.RegisterOptions{OnCancel: func(err error) { told <- err }})
			require.NoError(t, err)
			require.NotNil(t, p)
			require.NoError(t, p.Publish(ctx, []byte("0")))
			require.NoError(t, p.Flush(ctx))
			require.True(t, pause.For(ctx, recheck)) // it listens
			s, err := here.Get(ctx, "chat")
			require.NoError(t, err)
			switch fault {
			case "cut":
				relay.all()[0].CutAll()
			case "blackholed":
				relay.all()[0].HalfOpen() // connections that are made later work
			}
			asked := time.Now()
			_, err = s.Cancel(ctx, &live.CancelOptions{By: "anna", NoWait: true})
			require.NoError(t, err)
			reason := <-told
			took := time.Since(asked)
			t.Logf("told after %v, with a re-check every %v", took.Round(time.Millisecond), recheck)
			require.ErrorAs(t, reason, new(*live.CancelError))
			require.NoError(t, p.Close(ctx))
			require.True(t, pause.For(ctx, recheck))
			require.Empty(t, told)
			if fault == "deaf" {
				require.NotEmpty(t, swallowed, "no notification was lost")
			}
			// A silent connection is found out within two pings, 4 s.
			require.Less(t, took, recheck+5*time.Second)
		})
	}
}

// TestLiveRegisterRace lets two processes race for one id after the other.
func TestLiveRegisterRace(t *testing.T) {
	const rounds = 1000
	server := testredis.Start(t, nil)
	racers := []*worker{startLive(t, "a", server.URL()), startLive(t, "b", server.URL())}
	wins := map[string]int{}
	for n := range rounds {
		id := fmt.Sprintf("race-%d", n)
		for i := range racers {
			racers[(n+i)%2].tell("register " + id)
		}
		lines := make([]liveLine, len(racers))
		for i, w := range racers {
			w.next(&lines[i])
			require.Empty(t, lines[i].Error)
			require.Equal(t, id, lines[i].ID)
		}
		winner, loser := 0, 1
		if lines[1].Created {
			winner, loser = 1, 0
		}
		require.True(t, lines[winner].Created, "nobody won %s", id)
		require.False(t, lines[loser].Created, "both won %s", id)
		require.Equal(t, lines[winner].Generation, lines[loser].Generation, "the loser was not told of the generation in force")
		wins[racers[winner].name]++
	}
	t.Logf("wins: %v", wins)
	for _, w := range racers {
		require.NotZero(t, wins[w.name], "there was no race")
	}
}

// A counter counts the commands that a client sends, but for those of Pub/Sub.
type counter struct{ sent atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.sent.Add(1)
		return next(ctx, cmd)
	}
}
func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.sent.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// TestLiveTokens publishes 10,000 tokens a second to 200 streams of one space, each with a reader
// on another instance, and counts what that costs.
func TestLiveTokens(t *testing.T) {
	const streams, each = 200, 50 // a second
	length := pick(4*time.Second, 30*time.Second)
	server := testredis.Start(t, nil)
	sent := &counter{}
	c := client(t, server.URL())
	there := open(t, c, nil).Store(testStore).Live(liveSpace)
	here := open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace)
	ctx := within(t, length+time.Minute)
	producers := make([]live.Producer, streams)
	var readers sync.WaitGroup
	latencies := make([][]time.Duration, streams)
	for n := range producers {
		var err error
		producers[n], _, err = there.Register(ctx, fmt.Sprint(n), nil)
		require.NoError(t, err)
		s, err := here.Get(ctx, fmt.Sprint(n))
		require.NoError(t, err)
		readers.Go(func() {
			for chunk, err := range s.Subscribe(ctx, nil) {
				if err != nil {
					if !errors.Is(err, streamhub.ErrClosed) {
						t.Error(err)
					}
					return
				}
				var at int64
				_, _ = fmt.Sscan(string(chunk.Data), &at)
				latencies[n] = append(latencies[n], time.Duration(clock()-at))
			}
		})
	}
	require.True(t, pause.For(ctx, time.Second))
	c.AddHook(sent)
	begin := time.Now()
	tick := time.NewTicker(time.Second / each)
	defer tick.Stop()
	tokens := 0
	for time.Since(begin) < length {
		<-tick.C
		// Streams do not speak in unison.
		for tokens < int(time.Since(begin).Seconds()*streams*each) {
			require.NoError(t, producers[tokens%streams].Publish(ctx, fmt.Append(nil, clock())))
			tokens++
		}
	}
	for _, p := range producers {
		require.NoError(t, p.Flush(ctx))
	}
	elapsed := time.Since(begin)
	commands := sent.sent.Load()
	for _, p := range producers {
		require.NoError(t, p.Done(ctx, nil))
	}
	readers.Wait()
	all := slices.Concat(latencies...)
	require.Len(t, all, tokens)
	slices.Sort(all)
	perToken := float64(commands) / float64(tokens)
	t.Logf("%d tokens in %v (%.0f a second), %d commands, %.4f a token; token to reader: median %v, p99 %v, max %v",
		tokens, elapsed.Round(time.Millisecond), float64(tokens)/elapsed.Seconds(), commands, perToken,
		all[len(all)/2].Round(time.Microsecond), all[len(all)*99/100].Round(time.Microsecond), all[len(all)-1].Round(time.Microsecond))
	require.LessOrEqual(t, perToken, 0.2)
}

// TestLiveIdle has two hundred streams and as many readers wait. Everything that the process sends,
// heartbeats of the producers and pings too, is at most one command a second.
func TestLiveIdle(t *testing.T) {
	const streams = 200
	quiet := pick(20*time.Second, time.Minute)
	server := testredis.Start(t, nil)
	relay := newRelay(t, 1, faultproxy.Faults{}, server)
	here := open(t, relay.through(t, server.URL()), nil).Store(testStore).Live(liveSpace)
	ctx := within(t, quiet+time.Minute)
	var readers sync.WaitGroup
	var producers []live.Producer
	for n := range streams {
		p, _, err := here.Register(ctx, fmt.Sprint(n), nil)
		require.NoError(t, err)
		require.NoError(t, p.Publish(ctx, []byte("0")))
		producers = append(producers, p)
		readers.Go(func() {
			if n, v, err := readNumbers(ctx, p, ""); err != nil || n != 2 || v != streamhub.VerdictDone {
				t.Errorf("%d chunks, %s, %v", n, v, err)
			}
		})
	}
	require.True(t, pause.For(ctx, 7*time.Second)) // what this has set off comes to rest
	requests := func() (n int64) {
		for _, p := range relay.all() {
			n += p.Counters().Requests
		}
		return n
	}
	before, begin := requests(), time.Now()
	require.True(t, pause.For(ctx, quiet))
	sum, elapsed := requests()-before, time.Since(begin)
	perSecond := float64(sum) / elapsed.Seconds()
	t.Logf("%d commands in %v, %.2f a second", sum, elapsed.Round(time.Millisecond), perSecond)
	require.LessOrEqual(t, perSecond, 1.0)
	require.Positive(t, sum, "nothing was counted")
	for _, p := range producers {
		require.NoError(t, p.Publish(ctx, []byte("1")))
		require.NoError(t, p.Done(ctx, nil))
	}
	readers.Wait()
}

// TestLiveRestart takes Redis away for three seconds. No producer is ended and no chunk is lost.
func TestLiveRestart(t *testing.T) {
	const streams = 20
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	there := open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace)
	here := open(t, client(t, server.URL()), nil).Store(testStore).Live(liveSpace)
	ctx := within(t, time.Minute)
	var readers, writers sync.WaitGroup
	var published [streams]atomic.Int64
	stop := make(chan struct{})
	for n := range streams {
		id := fmt.Sprint(n)
		p, _, err := there.Register(ctx, id, &live.RegisterOptions{OnCancel: func(err error) { t.Errorf("stream %s was ended: %v", id, err) }})
		require.NoError(t, err)
		require.NotNil(t, p)
		s, err := here.Get(ctx, id)
		require.NoError(t, err)
		readers.Go(func() {
			read, v, err := readNumbers(ctx, s, "")
			if err != nil || v != streamhub.VerdictDone || int64(read) != published[n].Load() {
				t.Errorf("stream %s: %d of %d chunks, %s, %v", id, read, published[n].Load(), v, err)
			}
		})
		writers.Go(func() {
			for {
				select {
				case <-stop:
					if err := p.Done(ctx, nil); err != nil {
						t.Error(err)
					}
					return
				case <-time.After(20 * time.Millisecond):
				}
				if err := p.Publish(ctx, fmt.Append(nil, published[n].Load())); err != nil {
					t.Error(err)
					return
				}
				published[n].Add(1)
			}
		})
	}
	require.True(t, pause.For(ctx, 2*time.Second))
	server.Kill()
	require.True(t, pause.For(ctx, 3*time.Second))
	server.Restart()
	require.True(t, pause.For(ctx, 11*time.Second)) // in which somebody would have given a verdict
	close(stop)
	writers.Wait()
	readers.Wait()
	t.Logf("%d chunks of the first stream", published[0].Load())
}

package hotlog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// An address is where a client dials; it may change.
type address struct{ atomic.Value }

func addressOf(s string) *address {
	a := new(address)
	a.Store(s)
	return a
}

func (a *address) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, a.Load().(string))
}

func proxied(t *testing.T, server *testredis.Server, faults faultproxy.Faults) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(server.Addr(), 1, faults)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// through opens a log behind the proxy. The options of its client are the driver's defaults, with
// its own retries.
func through(t *testing.T, p *faultproxy.Proxy, options *hotlog.Options) *hotlog.Log {
	t.Helper()
	faults := p.Faults()
	p.Set(faultproxy.Faults{})
	conn := connect(t, redis.NewClient(&redis.Options{Addr: p.Addr(), ContextTimeoutEnabled: true}), nil)
	p.Set(faults)
	log, err := hotlog.Open(t.Context(), conn, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

// TestLostReplies loses replies and requests by chance. Every append is accepted once, and what a
// caller was told is where it lies.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	for _, faults := range []faultproxy.Faults{{CutReply: 0.1}, {CutRequest: 0.1}, {CutReply: 0.05, CutRequest: 0.05, EOF: true}} {
		for _, expect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v/expect=%v", faults, expect), func(t *testing.T) {
				p := proxied(t, server, faults)
				log := through(t, p, &hotlog.Options{RetryFor: 30 * time.Second})
				s := log.Store(uuid.New())
				const writers, each = 16, 40
				var wg sync.WaitGroup
				results := make([][]streamhub.AppendResult, writers)
				// The more travel together on a slow machine, the fewer calls there are to cut.
				cuts := func() int64 { c := p.Counters(); return c.CutReplies + c.CutRequests }
				for w := range writers {
					segment := fmt.Sprint("seg", w%4) // without an expectation four share it, and its frames
					if expect {
						segment = fmt.Sprint("seg", w)
					}
					wg.Go(func() {
						for i := 0; i < each || cuts() <= 15 && i < 100*each; i++ {
							o := &streamhub.AppendOptions{}
							if expect {
								o.ExpectedSequence = uint64(i) + 1
							}
							r, err := s.Append(t.Context(), "space", segment, []streamhub.Record{{Payload: []byte(fmt.Sprint(w, "/", i))}}, o)
							if err != nil {
								t.Errorf("append %d/%d: %v", w, i, err)
								return
							}
							results[w] = append(results[w], r)
						}
					})
				}
				wg.Wait()
				p.Set(faultproxy.Faults{})
				require.Greater(t, cuts(), int64(15))
				entries := map[string][]streamhub.Entry{}
				total := 0
				for e, err := range s.ConsumeSpace(t.Context(), "space", nil) {
					require.NoError(t, err)
					entries[e.Segment] = append(entries[e.Segment], e)
					require.EqualValues(t, len(entries[e.Segment]), e.Sequence)
					total++
				}
				for w, all := range results {
					total -= len(all)
					segment := fmt.Sprint("seg", w%4)
					if expect {
						segment = fmt.Sprint("seg", w)
					}
					for i, r := range all {
						e := entries[segment][r.First-1]
						require.Equal(t, fmt.Sprint(w, "/", i), string(e.Payload))
						require.Equal(t, r.TRX, e.TRX)
						require.Equal(t, r.Timestamp, e.Timestamp)
					}
				}
				require.Zero(t, total, "each append is stored once")
			})
		}
	}
}

// TestScriptFlush forgets the scripts all the time.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	s := logOn(t, server, uuid.New(), nil)
	admin := server.Client()
	ctx, stop := context.WithCancel(t.Context())
	var flushes atomic.Int64
	var wg, flusher sync.WaitGroup
	flusher.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if err := admin.ScriptFlush(t.Context()).Err(); err != nil {
				t.Error(err)
			}
			flushes.Add(1)
		}
	})
	const writers = 8
	for w := range writers {
		wg.Go(func() {
			for i := 0; i < 50 || flushes.Load() < 50; i++ {
				if _, err := s.Append(t.Context(), "space", fmt.Sprint("seg", w), []streamhub.Record{{Payload: []byte{1}}}, &streamhub.AppendOptions{ExpectedSequence: uint64(i) + 1}); err != nil {
					t.Errorf("append %d/%d: %v", w, i, err)
					return
				}
				if i%10 == 9 {
					if _, err := s.Trim(t.Context(), "space", fmt.Sprint("seg", w), uint64(i)-5); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	stop()
	flusher.Wait()
}

// unavailable requires that err is definite and says why.
func unavailable(t *testing.T, err error, reason streamhub.UnavailableReason) {
	t.Helper()
	var u *streamhub.UnavailableError
	require.ErrorAs(t, err, &u)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
	require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome)
	require.Equal(t, reason, u.Reason, "%v", err)
}

const retryFor = 300 * time.Millisecond

// once makes an append after last that must fail in due time, heals what is wrong, and repeats it
// twice.
func once(t *testing.T, s *hotlog.Store, last uint64, reason streamhub.UnavailableReason, heal func()) {
	t.Helper()
	o := &streamhub.AppendOptions{TRX: uuid.New()}
	start := time.Now()
	// Of a caller whose context can end nothing is definite after 200 ms without an answer.
	_, err := s.Append(context.WithoutCancel(t.Context()), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, o)
	unavailable(t, err, reason)
	require.Less(t, time.Since(start), 20*retryFor)
	heal()
	for i := range 2 {
		r, err := s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, o)
		require.NoError(t, err)
		require.Equal(t, last+1, r.First)
		require.Equal(t, i == 1, r.Repeated)
	}
	after, err := s.Status(t.Context(), "space", "seg")
	require.NoError(t, err)
	require.Equal(t, last+1, after.LastSequence)
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	admin := server.Client()
	set := func(t *testing.T, args ...any) {
		t.Helper()
		require.NoError(t, admin.Do(t.Context(), args...).Err())
	}
	open := func(t *testing.T) *hotlog.Store {
		s := logOn(t, server, uuid.New(), &hotlog.Options{RetryFor: retryFor})
		add(t, s, "seg", "1")
		return s
	}
	t.Run("ReadOnly", func(t *testing.T) {
		s := open(t)
		set(t, "replicaof", "127.0.0.1", "1")
		t.Cleanup(func() { _ = admin.Do(context.Background(), "replicaof", "no", "one") })
		once(t, s, 1, streamhub.ReasonReadOnly, func() { set(t, "replicaof", "no", "one") })
	})
	t.Run("NoReplicas", func(t *testing.T) {
		s := open(t)
		set(t, "config", "set", "min-replicas-to-write", "1")
		once(t, s, 1, streamhub.ReasonReplicas, func() { set(t, "config", "set", "min-replicas-to-write", "0") })
	})
	t.Run("Full", func(t *testing.T) {
		s := open(t)
		set(t, "config", "set", "maxmemory", "1")
		r, err := s.Status(t.Context(), "space", "seg")
		require.NoError(t, err, "reads go on")
		require.EqualValues(t, 1, r.LastSequence)
		once(t, s, 1, streamhub.ReasonFull, func() { set(t, "config", "set", "maxmemory", "0") })
	})
	t.Run("Denied", func(t *testing.T) {
		s := open(t)
		set(t, "acl", "setuser", "default", "-evalsha")
		once(t, s, 1, streamhub.ReasonDenied, func() { set(t, "acl", "setuser", "default", "+evalsha") })
	})
	t.Run("Busy", func(t *testing.T) {
		s := open(t)
		set(t, "config", "set", "busy-reply-threshold", "1")
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Client().Eval(t.Context(), "while true do end", nil).Err() })
		require.Eventually(t, func() bool { return redis.HasErrorPrefix(admin.Ping(t.Context()).Err(), "BUSY") }, 10*time.Second, time.Millisecond)
		once(t, s, 1, streamhub.ReasonBusy, func() {
			set(t, "script", "kill")
			wg.Wait()
		})
		set(t, "config", "set", "busy-reply-threshold", "5000")
	})
}

// TestRefusedDial is a server that is not there, and one whose connections are all taken.
func TestRefusedDial(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	p := proxied(t, server, faultproxy.Faults{})
	at := addressOf(p.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: "moves", Dialer: at.dial, ContextTimeoutEnabled: true, DialerRetries: 1,
		PoolSize: 1, PipelinePoolSize: 1, PoolTimeout: 200 * time.Millisecond, ReadTimeout: time.Minute,
	})
	conn := connect(t, client, nil)
	log, err := hotlog.Open(t.Context(), conn, &hotlog.Options{RetryFor: retryFor})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	add(t, s, "seg", "1")

	// The driver has a pool for pipelines, and one that these may use as well.
	busy := client.Conn()
	require.NoError(t, busy.Ping(t.Context()).Err())
	requests := p.Counters().Requests
	p.Set(faultproxy.Faults{ToServer: faultproxy.Flow{Hold: true}})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Ping(t.Context()).Err() })
		if err != nil {
			t.Error(err)
		}
	})
	require.Eventually(t, func() bool { return p.Counters().Requests > requests }, 10*time.Second, time.Millisecond)
	once(t, s, 1, streamhub.ReasonPool, func() {
		p.Set(faultproxy.Faults{})
		wg.Wait()
		require.NoError(t, busy.Close())
	})

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at.Store(nobody.Addr().String())
	require.NoError(t, nobody.Close())
	p.CutAll()
	// The first attempt meets the connection that was cut, which looks like a lost reply.
	_, err = s.Append(t.Context(), "space", "other", []streamhub.Record{{}}, nil)
	require.True(t, errors.Is(err, streamhub.ErrUnavailable) || errors.Is(err, streamhub.ErrUnknownOutcome), "%v", err)
	once(t, s, 2, streamhub.ReasonDown, func() {
		at.Store(p.Addr())
		// The pools of the driver look once a second whether the server is back.
		require.Eventually(t, func() bool {
			_, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Ping(t.Context()).Err() })
			return err == nil && client.Ping(t.Context()).Err() == nil
		}, 10*time.Second, 10*time.Millisecond)
	})
}

// TestLoading restarts a server that takes its time to read its data.
func TestLoading(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &testredis.Options{AOF: "everysec", Config: []string{"enable-debug-command yes", "key-load-delay 100"}})
	s := logOn(t, server, uuid.New(), &hotlog.Options{RetryFor: retryFor})
	add(t, s, "seg", "1")
	admin := server.Client()
	_, err := admin.Pipelined(t.Context(), func(p redis.Pipeliner) error { // it looks up once every 1024 commands
		for i := range 16_000 {
			p.Set(t.Context(), fmt.Sprint("key", i), "x", 0)
		}
		return nil
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Client().Do(t.Context(), "debug", "loadaof").Err() })
	require.Eventually(t, func() bool { return redis.HasErrorPrefix(admin.Get(t.Context(), "x").Err(), "LOADING") }, 10*time.Second, time.Millisecond)
	once(t, s, 1, streamhub.ReasonLoading, wg.Wait)
}

// TestFull fills a server and makes room by trimming, which needs none.
func TestFull(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &testredis.Options{MaxMemory: "12mb"})
	s := logOn(t, server, uuid.New(), &hotlog.Options{RetryFor: retryFor})
	payload := make([]byte, 200_000)
	n := uint64(0)
	patient := context.WithoutCancel(t.Context()) // as in once
	for {
		_, err := s.Append(patient, "space", "seg", []streamhub.Record{{Payload: payload}}, nil)
		if err == nil {
			n++
			continue
		}
		unavailable(t, err, streamhub.ReasonFull)
		break
	}
	require.Greater(t, n, uint64(10))
	count := uint64(0)
	for _, err := range s.ConsumeSegment(t.Context(), "space", "seg", nil) {
		require.NoError(t, err)
		count++
	}
	require.Equal(t, n, count, "reads go on")
	first, err := s.Trim(t.Context(), "space", "seg", n-2)
	require.NoError(t, err)
	require.Equal(t, n-1, first)
	require.Eventually(t, func() bool { // memory is freed after the scenes
		_, err = s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: payload}}, nil)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	status, err := s.Status(t.Context(), "space", "seg")
	require.NoError(t, err)
	require.Equal(t, n+1, status.LastSequence)
	require.NoError(t, s.Delete(t.Context(), "space", "seg", ""))
}

// TestHungServer pauses the server for longer than callers wait. What they were told to be unknown, or not
// made, is there once when they ask again.
func TestHungServer(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, ReadTimeout: 50 * time.Millisecond})
	log, err := hotlog.Open(t.Context(), connect(t, client, nil), &hotlog.Options{RetryFor: retryFor})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	const callers = 6
	for i := range callers {
		add(t, s, fmt.Sprint("seg", i), "1")
	}
	server.Pause()
	var wg sync.WaitGroup
	var ids [callers]uuid.UUID
	var unknown atomic.Int64
	for i := range callers {
		ids[i] = uuid.New()
		wg.Go(func() {
			_, err := s.Append(t.Context(), "space", fmt.Sprint("seg", i), []streamhub.Record{{Payload: []byte("2")}}, &streamhub.AppendOptions{TRX: ids[i]})
			switch {
			case errors.Is(err, streamhub.ErrUnknownOutcome):
				unknown.Add(1)
			case !errors.Is(err, streamhub.ErrUnavailable): // none of its attempts had a connection
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	server.Resume()
	require.Positive(t, unknown.Load())
	for i := range callers {
		if i%2 == 1 {
			add(t, s, fmt.Sprint("seg", i), "between")
		}
		_, err := s.Append(t.Context(), "space", fmt.Sprint("seg", i), []streamhub.Record{{Payload: []byte("2")}}, &streamhub.AppendOptions{TRX: ids[i]})
		require.NoError(t, err)
		status, err := s.Status(t.Context(), "space", fmt.Sprint("seg", i))
		require.NoError(t, err)
		require.EqualValues(t, 2+i%2, status.LastSequence)
	}
}

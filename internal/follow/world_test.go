package follow

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// never is an interval that no test lives to see.
const never = time.Hour

// A world is a Redis, and a producer that reaches it undisturbed.
type world struct {
	t     *testing.T
	addrs []string
	user  string // empty: the one of every server
	link  *wire  // of the watchers
	log   *hotlog.Log
	store *hotlog.Store
	// declared is a hook of every client, nil on a cluster.
	declared redis.Hook
	offers   bool // followers have an [Offer]
}

// backends runs test on every kind of server.
func backends(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("miniredis", func(t *testing.T) { test(t, newWorld(t, miniredis.RunT(t).Addr())) })
	t.Run("redis", func(t *testing.T) { test(t, newWorld(t, testredis.Shared(t).Addr())) })
	t.Run("redis, with offers, as the documented user", func(t *testing.T) {
		server := testredis.Start(t, nil)
		testredis.AsUser(t, server)
		w := &world{t: t, addrs: []string{server.Addr()}, user: testredis.User, offers: true}
		test(t, w.open())
	})
	t.Run("cluster", func(t *testing.T) { test(t, newWorld(t, testredis.SharedCluster(t).Addrs()...)) })
}

// ways runs test with followers that have an [Offer], and without.
func ways(t *testing.T, test func(t *testing.T, offers bool)) {
	t.Run("sequence", func(t *testing.T) { test(t, false) })
	t.Run("offers", func(t *testing.T) { test(t, true) })
}

func onRedis(t *testing.T) *world { return newWorld(t, testredis.Shared(t).Addr()) }

func newWorld(t *testing.T, addrs ...string) *world {
	w := &world{t: t, addrs: addrs}
	return w.open()
}

// open connects a world that has its server.
func (w *world) open() *world {
	w.t.Helper()
	w.link = &wire{}
	if len(w.addrs) == 1 {
		w.declared = testredis.DeclaredKeys(w.t, &redis.Options{Addr: w.addrs[0]})
	}
	var err error
	w.log, err = hotlog.Open(w.t.Context(), w.connect(nil), nil)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { w.log.Close() })
	w.store = w.log.Store(uuid.New())
	return w
}

// connect makes a connection over link, or a direct one.
func (w *world) connect(link *wire, hooks ...redis.Hook) *redisx.Conn {
	o := &redis.UniversalOptions{
		Addrs: w.addrs, ContextTimeoutEnabled: true, IsClusterMode: len(w.addrs) > 1,
		DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: 2 * time.Second,
		DisableIdentity: true,
	}
	if w.user != "" {
		o.Username, o.Password = w.user, testredis.Password
	}
	if link != nil {
		o.Dialer = link.dial
	}
	var client redis.UniversalClient
	if o.IsClusterMode {
		c := o.Cluster()
		c.ClusterStateReloadInterval = 500 * time.Millisecond
		client = redis.NewClusterClient(c)
	} else {
		client = redis.NewClient(o.Simple())
	}
	w.t.Cleanup(func() { client.Close() })
	if w.declared != nil {
		client.AddHook(w.declared)
	}
	conn, err := redisx.Connect(w.t.Context(), client)
	require.NoError(w.t, err)
	for _, h := range hooks {
		client.AddHook(h)
	}
	return conn
}

// watch opens a watcher that lives as long as the test.
func (w *world) watch(o *Options, hooks ...redis.Hook) *Watcher {
	w.t.Helper()
	conn := w.connect(w.link, hooks...)
	log, err := hotlog.Open(w.t.Context(), conn, nil)
	require.NoError(w.t, err)
	watcher, err := Open(w.t.Context(), conn, log, o)
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		require.NoError(w.t, watcher.Close())
		require.NoError(w.t, log.Close())
		require.Zero(w.t, watcher.buffered.Load(), "bytes in windows without followers")
		require.Empty(w.t, watcher.topics)
		require.Empty(w.t, watcher.feeds)
		require.Empty(w.t, watcher.spaces)
		require.Empty(w.t, watcher.crews)
	})
	return watcher
}

// later adds a record whose time is not that of any before it.
func (w *world) later(space, segment string) {
	w.t.Helper()
	end, err := w.store.SpaceEnd(w.t.Context(), space)
	require.NoError(w.t, err)
	until(w.t, "another millisecond", func() bool {
		w.append(space, segment, 1)
		now, err := w.store.SpaceEnd(w.t.Context(), space)
		require.NoError(w.t, err)
		return now.Timeline.MS > end.Timeline.MS
	})
}

// append adds n records of some size, each an append of its own, and returns the last sequence.
func (w *world) append(space, segment string, n int) uint64 {
	w.t.Helper()
	var last uint64
	for range n {
		last = w.appendSome(space, segment, 1, 20)
	}
	return last
}

// appendSome adds n records of size bytes at once.
func (w *world) appendSome(space, segment string, n, size int) uint64 {
	w.t.Helper()
	records := make([]streamhub.Record, n)
	for i := range records {
		records[i].Payload = make([]byte, size)
	}
	r, err := w.store.Append(w.t.Context(), space, segment, records, nil)
	require.NoError(w.t, err)
	return r.Last
}

func (w *world) close(space, segment string) {
	w.t.Helper()
	_, err := w.store.CloseSegment(w.t.Context(), space, segment, done, nil)
	require.NoError(w.t, err)
}

var done = streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "test"}

// A puller takes one value at a time from a sequence, in a goroutine of its own.
type puller[T any] struct {
	t    *testing.T
	want chan struct{}
	got  chan pulled[T]
	stop func()
}

type pulled[T any] struct {
	value T
	err   error
	ok    bool
}

// pull starts a sequence when the first value is asked for, with ready or next. It ends with the
// test, and what it was made from has to end then.
func pull[T any](t *testing.T, ctx context.Context, from func(ctx context.Context) iter.Seq2[T, error]) *puller[T] {
	ctx, cancel := context.WithCancel(ctx)
	p := &puller[T]{t: t, want: make(chan struct{}), got: make(chan pulled[T])}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		next, stop := iter.Pull2(from(ctx))
		defer stop()
		for {
			select {
			case <-p.want:
			case <-ctx.Done():
				return
			}
			v, err, ok := next()
			select {
			case p.got <- pulled[T]{v, err, ok}:
			case <-ctx.Done():
				return
			}
		}
	}()
	p.stop = func() { cancel(); <-ended }
	t.Cleanup(p.stop)
	return p
}

// ask begins to wait for the next value; take returns it.
func (p *puller[T]) ask() { p.want <- struct{}{} }

func (p *puller[T]) take(limit time.Duration) pulled[T] {
	p.t.Helper()
	select {
	case v := <-p.got:
		return v
	case <-time.After(limit):
		require.FailNow(p.t, "nothing came", "within %v", limit)
		return pulled[T]{}
	}
}

func (p *puller[T]) next(limit time.Duration) T {
	p.t.Helper()
	p.ask()
	v := p.take(limit)
	require.NoError(p.t, v.err)
	require.True(p.t, v.ok, "the sequence ended")
	return v.value
}

// end takes the last error and sees that nothing comes after it.
func (p *puller[T]) end(limit time.Duration) error {
	p.t.Helper()
	p.ask()
	return p.ended(limit)
}

func (p *puller[T]) ended(limit time.Duration) error {
	p.t.Helper()
	v := p.take(limit)
	require.Error(p.t, v.err)
	p.ask()
	require.False(p.t, p.take(limit).ok, "something came after the error %v", v.err)
	return v.err
}

// silent sees that what was asked for has not come yet.
func (p *puller[T]) silent() {
	p.t.Helper()
	select {
	case v := <-p.got:
		require.FailNow(p.t, "something came", "%v", v)
	default:
	}
}

const soon = 10 * time.Second

// follower pulls from a segment.
func (w *world) follower(by *Watcher, space, segment string, o *streamhub.FollowOptions) *puller[streamhub.Entry] {
	return pull(w.t, w.t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return w.followSegment(ctx, by, space, segment, o)
	})
}

func (w *world) spaceFollower(by *Watcher, space string, o *streamhub.FollowOptions) *puller[streamhub.Entry] {
	return pull(w.t, w.t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Entry, error] {
		return w.followSpace(ctx, by, space, o)
	})
}

// expect takes the entries from first to last.
func expect(p *puller[streamhub.Entry], first, last uint64) (e streamhub.Entry) {
	p.t.Helper()
	for want := first; want <= last; want++ {
		e = p.next(soon)
		require.Equal(p.t, want, e.Sequence)
	}
	return e
}

// until waits for a condition inside the watcher.
func until(t *testing.T, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(soon)
	for !check() {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "not in time", what)
		}
	}
}

// idle waits until all followers of a topic have seen everything and wait.
func idle(t *testing.T, w *Watcher, k key, followers int) {
	t.Helper()
	untilTopic(t, w, k, fmt.Sprint(followers, " idle followers"), func(topic *topic) bool {
		return topic.epoch > 0 && topic.waiting == followers && !topic.running
	})
}

// placed waits until so many followers of a topic know where they are, wherever that is.
func placed(t *testing.T, w *Watcher, k key, followers int) {
	t.Helper()
	untilTopic(t, w, k, fmt.Sprint(followers, " followers that know where they are"), func(topic *topic) bool {
		n := 0
		for f := range topic.followed {
			if !f.seen.IsZero() {
				n++
			}
		}
		return n == followers
	})
}

// untilTopic waits for a condition inside a topic, whose lock is held meanwhile.
func untilTopic(t *testing.T, w *Watcher, k key, what string, check func(*topic) bool) {
	t.Helper()
	until(t, fmt.Sprintf("%s of %v", what, k), func() bool {
		w.mu.Lock()
		topic := w.topics[k]
		w.mu.Unlock()
		if topic == nil {
			return false
		}
		topic.mu.Lock()
		defer topic.mu.Unlock()
		return check(topic)
	})
}

func (w *world) key(space, segment string) key { return key{w.store.ID(), space, segment} }

func closedAt(t *testing.T, err error, last uint64) {
	t.Helper()
	var closed *streamhub.ClosedError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, done, closed.Verdict)
	require.Equal(t, last, closed.LastSequence)
	require.ErrorIs(t, err, streamhub.ErrClosed)
}

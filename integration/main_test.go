//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // what fails here is meant to
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(work(role))
	}
	testredis.Main(m, goleak.IgnoreCurrent())
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// origin is when the run began; workers are told.
var origin = func() int64 {
	if told, err := strconv.ParseInt(os.Getenv(originVariable), 10, 64); err == nil {
		return told
	}
	return machineClock()
}()

// clock is the time since the run began, the same for all processes.
func clock() int64 { return machineClock() - origin }

// zero is the time at which clock was 0.
var zero = time.Now().Add(-time.Duration(clock()))

// pick chooses the size of a run.
func pick[T any](small, large T) T {
	if long {
		return large
	}
	return small
}

// rounds is how often a test does what it is about: as a variable says, or n times.
func rounds(t *testing.T, variable string, n int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err, variable)
	}
	return n
}

// seedOf returns the seed of a test, that of STREAMHUB_SEED if it is set, and prints it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64() >> 32
	if text := os.Getenv("STREAMHUB_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "STREAMHUB_SEED")
	}
	t.Logf("STREAMHUB_SEED=%d", seed)
	return seed
}

func random(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// within is a context that fails what it is given to instead of letting it hang.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually asks until check has no objection.
func eventually(t *testing.T, limit time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if !pause.For(ctx, 20*time.Millisecond) {
			require.FailNow(t, "not in time", "within %v: %v", limit, err)
		}
	}
}

// client makes the client that programs are told to use.
func client(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	c, err := hub.NewClient(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// open opens a hub. It never sweeps, unless the test says so.
func open(t *testing.T, c redis.UniversalClient, options *hub.Options) *hub.Hub {
	t.Helper()
	var o hub.Options
	if options != nil {
		o = *options
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = -1
	}
	h, err := hub.Open(t.Context(), c, &o)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close the hub: %v", err)
		}
	})
	return h
}

// The URLs of servers, as hub.NewClient takes them.
func clusterURL(c *testredis.Cluster) string {
	return "redis+cluster://" + strings.Join(c.Addrs(), ",")
}

func sentinelURL(s *testredis.Sentinel) string {
	return "redis+sentinel://" + strings.Join(s.SentinelAddrs(), ",") + "/" + s.MasterName()
}

// A relay is a proxy before each of several servers.
type relay struct {
	proxies map[string]*faultproxy.Proxy // by the address of the server
	// wrap, if set, is given every connection.
	wrap func(net.Conn) net.Conn
}

// newRelay puts a proxy before each server.
func newRelay(t *testing.T, seed uint64, faults faultproxy.Faults, servers ...*testredis.Server) *relay {
	t.Helper()
	r := &relay{proxies: map[string]*faultproxy.Proxy{}}
	for i, s := range servers {
		p, err := faultproxy.New(s.Addr(), seed+uint64(i), faults)
		require.NoError(t, err)
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Errorf("close a proxy: %v", err)
			}
		})
		r.proxies[s.Addr()] = p
	}
	return r
}

func (r *relay) all() []*faultproxy.Proxy {
	var all []*faultproxy.Proxy
	for _, p := range r.proxies {
		all = append(all, p)
	}
	return all
}

func (r *relay) set(f faultproxy.Faults) {
	for _, p := range r.proxies {
		p.Set(f)
	}
}

func (r *relay) counters() (sum faultproxy.Counters) {
	for _, p := range r.proxies {
		c := p.Counters()
		sum.Replies += c.Replies
		sum.CutReplies += c.CutReplies
		sum.Connections += c.Connections
	}
	return sum
}

// dial connects to the proxy of a server, or to any other address itself.
func (r *relay) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if p := r.proxies[address]; p != nil {
		address = p.Addr()
	}
	dialer := net.Dialer{Timeout: 500 * time.Millisecond}
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil && r.wrap != nil {
		conn = r.wrap(conn)
	}
	return conn, err
}

// DialHook, ProcessHook and ProcessPipelineHook make it a hook of go-redis.
func (r *relay) DialHook(redis.DialHook) redis.DialHook               { return r.dial }
func (r *relay) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (r *relay) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// through makes the client that programs are told to use, with its connections over r.
func (r *relay) through(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	if addresses, ok := strings.CutPrefix(url, "redis+sentinel://"); ok {
		// The driver finds the master after the hooks, so this client is made by hand.
		hosts, master, _ := strings.Cut(addresses, "/")
		c := redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: master, SentinelAddrs: strings.Split(hosts, ","), Dialer: r.dial,
			DialTimeout: 500 * time.Millisecond, ReadTimeout: time.Second, WriteTimeout: time.Second,
			DialerRetries: 1, PoolSize: 32, ContextTimeoutEnabled: true, DisableIdentity: true,
		})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := client(t, url)
	if cluster, ok := c.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(r) })
		return c
	}
	c.AddHook(r)
	return c
}

// calls returns how often each command ran on the servers, but for INFO and HELLO, which asking takes.
func calls(t *testing.T, servers ...*testredis.Server) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for _, s := range servers {
		c := redis.NewClient(&redis.Options{Addr: s.Addr(), DisableIdentity: true})
		text, err := c.Info(t.Context(), "commandstats").Result()
		require.NoError(t, c.Close())
		require.NoError(t, err)
		for line := range strings.Lines(text) {
			name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
			if !ok || name == "info" || name == "hello" {
				continue
			}
			digits, _, _ := strings.Cut(rest, ",")
			n, err := strconv.ParseInt(digits, 10, 64)
			require.NoError(t, err)
			all[name] += n
		}
	}
	return all
}

// since returns what was added to before, and the sum of that.
func since(before, after map[string]int64) (added map[string]int64, sum int64) {
	added = map[string]int64{}
	for name, n := range after {
		if n -= before[name]; n != 0 {
			added[name] = n
			sum += n
		}
	}
	return added, sum
}

// check reads the logs and fails the test if package history finds anything.
func check(t *testing.T, ops []history.Op, s history.Store, places []place, o history.Options) *history.Report {
	t.Helper()
	r := history.Check(ops, readLogs(t, s, places), &o)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	return r
}

// A place is a segment.
type place struct{ space, segment string }

func (p place) key() string { return p.space + "/" + p.segment }

func readLogs(t *testing.T, s history.Store, places []place) []history.Log {
	t.Helper()
	ctx := within(t, time.Minute)
	var logs []history.Log
	for _, p := range places {
		l, err := history.ReadLog(ctx, s, p.space, p.segment)
		require.NoError(t, err, "read %s", p.key())
		logs = append(logs, l)
	}
	return logs
}

// records makes n records that nobody else makes.
func records(r *rand.Rand, n int) []streamhub.Record {
	all := make([]streamhub.Record, n)
	for i := range all {
		all[i].Payload = fmt.Appendf(nil, "%016x%s", r.Uint64(), strings.Repeat("x", r.IntN(100)))
		if r.IntN(8) == 0 {
			all[i].Metadata = map[string]string{"k": strconv.Itoa(r.IntN(10))}
		}
	}
	return all
}

// lost fails unless err says that history was lost from sequence first on.
func lost(t *testing.T, err error, first uint64, what string) {
	t.Helper()
	var e *streamhub.HistoryLostError
	if !errors.As(err, &e) {
		t.Errorf("%s: want ErrHistoryLost from %d, got %v", what, first, err)
	} else if e.FirstLost != first {
		t.Errorf("%s: history was lost from %d, reported was %d", what, first, e.FirstLost)
	}
}

// testStore is the tenant of tests that have their servers for themselves.
var testStore = uuid.MustParse("5eed0000-0000-4000-8000-000000000001")

// tagOf is a key of a space, to ask a cluster where it lies.
func tagOf(space string) string { return "{" + testStore.String() + "." + space + "}" }

package redisx_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

func clientOf(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	o.ContextTimeoutEnabled, o.DialerRetries, o.DisableIdentity = true, 1, true
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func reasonOf(t *testing.T, err error) streamhub.UnavailableReason {
	t.Helper()
	var u *streamhub.UnavailableError
	require.ErrorAs(t, err, &u)
	require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome, "opening writes nothing")
	return u.Reason
}

// guarded writes a key by a script, as every hub does, and frees by one that may run in a full server.
var (
	writes = redisx.NewScript("redis.call('SET', KEYS[1], 'x') return reign()")
	frees  = redisx.NewScript("redis.call('DEL', KEYS[1]) return 'ok'").AllowOOM()
)

// TestOpenInAnyState opens a server that refuses writes, and finds it able once it has recovered.
func TestOpenInAnyState(t *testing.T) {
	t.Parallel()
	full := func(t *testing.T, c *redis.Client) {
		require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "1").Err())
	}
	for _, test := range []struct {
		word  string
		spoil func(*testing.T, *redis.Client)
		cure  func(*testing.T, *redis.Client)
	}{
		{"full", full, func(t *testing.T, c *redis.Client) {
			require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "0").Err())
		}},
		{"replicas", func(t *testing.T, c *redis.Client) {
			require.NoError(t, c.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
		}, func(t *testing.T, c *redis.Client) {
			require.NoError(t, c.ConfigSet(t.Context(), "min-replicas-to-write", "0").Err())
		}},
		{"read-only", func(t *testing.T, c *redis.Client) {
			require.NoError(t, c.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err())
		}, func(t *testing.T, c *redis.Client) {
			require.NoError(t, c.Do(t.Context(), "replicaof", "no", "one").Err())
		}},
	} {
		t.Run(test.word, func(t *testing.T) {
			t.Parallel()
			server := testredis.Start(t, nil)
			admin := server.Client()
			test.spoil(t, admin)
			conn, err := redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: server.Addr()}))
			require.NoError(t, err)
			require.Equal(t, test.word, redisx.Word(conn.Probe(t.Context())))
			_, err = conn.Run(t.Context(), writes, 1, "sh:k")
			require.Equal(t, test.word, redisx.Word(redisx.Outcome(err)))
			if test.word == "full" {
				_, err = conn.Run(t.Context(), frees, 1, "sh:k")
				require.NoError(t, err, "what makes room goes on")
			}
			test.cure(t, admin)
			require.Eventually(t, func() bool { return conn.Probe(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
			answer, err := conn.Run(t.Context(), writes, 1, "sh:k")
			require.NoError(t, err)
			require.Len(t, answer, 16)
		})
	}
}

// A journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// TestOpenBeforeRedis opens where nothing answers yet. One line says so, and one that it serves.
func TestOpenBeforeRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	server.Kill()
	client := clientOf(t, &redis.Options{Addr: server.Addr()})
	_, err := redisx.Connect(t.Context(), client)
	require.Equal(t, streamhub.ReasonDown, reasonOf(t, err))

	log := &journal{}
	conn, err := redisx.Open(t.Context(), client, &redisx.Options{Wait: true, Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	require.Nil(t, conn.Server())
	_, err = conn.Run(t.Context(), writes, 1, "sh:k")
	require.Equal(t, streamhub.ReasonDown, reasonOf(t, err))
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { conn.Attend(ctx, func(err error) { t.Error(err) }) })
	defer watching.Wait()
	defer cancel()
	lines := func(word string) int { return strings.Count(log.String(), word) }
	for n := 1; n <= 2; n++ { // the second time it was known before
		require.Eventually(t, func() bool { return lines("Redis cannot serve") == n }, 20*time.Second, time.Millisecond, "%s", log)
		require.Contains(t, log.String(), "state=away")
		server.Restart()
		require.Eventually(t, func() bool { return lines("Redis serves again") == n }, 20*time.Second, time.Millisecond, "%s", log)
		_, err = conn.Run(t.Context(), writes, 1, "sh:k")
		require.NoError(t, err)
		require.Equal(t, 2*n, strings.Count(log.String(), "\n"), "%s", log)
		if n == 1 {
			server.Kill()
			_, err = conn.Run(t.Context(), writes, 1, "sh:k")
			require.Error(t, err)
		}
	}
}

// TestRights takes away one right after the other.
func TestRights(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	admin := server.Client()
	user := func(rules ...string) *redis.Client {
		require.NoError(t, admin.Do(t.Context(), append([]any{"acl", "setuser", "hub", "reset", "on", ">secret"}, fields(rules)...)...).Err())
		return clientOf(t, &redis.Options{Addr: server.Addr(), Username: "hub", Password: "secret"})
	}
	conn, err := redisx.Connect(t.Context(), user(redisx.UserRule))
	require.NoError(t, err)
	require.NoError(t, conn.Probe(t.Context()))
	_, err = conn.Run(t.Context(), writes, 1, "sh:k")
	require.NoError(t, err)

	for _, rule := range append([]string{"~sh:*", "&sh:*"}, strings.Fields(redisx.UserRule)[5:]...) {
		switch rule {
		case "+hello", "+select", "+client|setname", "+wait":
			continue // the driver goes without, or only a level wants it
		}
		missing := strings.Replace(redisx.UserRule+" ", " "+rule+" ", " ", 1)
		_, err := redisx.Connect(t.Context(), user(missing))
		require.Equal(t, streamhub.ReasonDenied, reasonOf(t, err), rule)
		require.True(t, redisx.Final(err))
		_, line, found := strings.Cut(err.Error(), "run ACL SETUSER hub ")
		require.True(t, found, "%s: %v", rule, err)
		require.Contains(t, " "+line+" ", " "+rule+" ", "the cure names what is missing")
		// The cure cures.
		require.NoError(t, admin.Do(t.Context(), append([]any{"acl", "setuser", "hub"}, fields([]string{line})...)...).Err(), line)
		_, err = redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: server.Addr(), Username: "hub", Password: "secret"}))
		require.NoError(t, err, line)
	}
	log, err := admin.ACLLog(t.Context(), 100).Result()
	require.NoError(t, err)
	for _, entry := range log {
		require.Contains(t, []string{"eval", "info", "ping"}, entry.Object, "of other commands a look asks and does not try")
	}

	_, err = redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: server.Addr(), Username: "hub", Password: "wrong"}))
	require.Equal(t, streamhub.ReasonDenied, reasonOf(t, err))
	locked := testredis.Start(t, &testredis.Options{Password: "secret"})
	_, err = redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: locked.Addr()}))
	require.Equal(t, streamhub.ReasonDenied, reasonOf(t, err))
}

// TestRightsOnCluster misses what only a cluster asks for, on one of its nodes or on all.
func TestRightsOnCluster(t *testing.T) {
	t.Parallel()
	cluster := testredis.StartCluster(t, 3, 0, nil)
	open := func() error {
		client := redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: cluster.Addrs(), Username: "hub", Password: "secret", ContextTimeoutEnabled: true, DisableIdentity: true,
		})
		defer client.Close()
		_, err := redisx.Open(t.Context(), client, &redisx.Options{Wait: true})
		return err
	}
	set := func(nodes []*testredis.Server, rules ...string) {
		for _, node := range nodes {
			require.NoError(t, node.Client().Do(t.Context(), append([]any{"acl", "setuser", "hub"}, fields(rules)...)...).Err())
		}
	}
	set(cluster.Nodes, "reset on >secret", redisx.UserRule, redisx.UserRuleCluster)
	require.NoError(t, open())
	for _, test := range []struct {
		lost  string
		nodes []*testredis.Server
	}{
		{"cluster|slots", cluster.Nodes}, {"asking", cluster.Nodes}, {"asking", cluster.Nodes[2:]}, {"xadd", cluster.Nodes[1:2]},
	} {
		set(test.nodes, "-"+test.lost)
		err := open()
		require.Equal(t, streamhub.ReasonDenied, reasonOf(t, err), "%s: %v", test.lost, err)
		require.True(t, redisx.Final(err))
		_, line, found := strings.Cut(err.Error(), "run ACL SETUSER hub ")
		require.True(t, found, "%s: %v", test.lost, err)
		require.Contains(t, " "+line+" ", " +"+test.lost+" ", "the cure names what is missing")
		set(cluster.Nodes, line)
		require.NoError(t, open(), line)
	}
}

func fields(rules []string) (all []any) {
	for _, r := range rules {
		for _, f := range strings.Fields(r) {
			all = append(all, f)
		}
	}
	return all
}

// TestClientOfReplicas refuses clients that look for a key elsewhere than on the primary that has it, without asking a server.
func TestClientOfReplicas(t *testing.T) {
	t.Parallel()
	nowhere := []string{"127.0.0.1:1"}
	for name, client := range map[string]redis.UniversalClient{
		"ReadOnly":       redis.NewClusterClient(&redis.ClusterOptions{Addrs: nowhere, ReadOnly: true}),
		"RouteByLatency": redis.NewClusterClient(&redis.ClusterOptions{Addrs: nowhere, RouteByLatency: true}),
		"RouteRandomly":  redis.NewFailoverClusterClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: nowhere, RouteRandomly: true}),
		"Ring":           redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": nowhere[0]}}),
	} {
		_, err := redisx.Open(t.Context(), client, &redisx.Options{Wait: true})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, name)
		require.NoError(t, client.Close())
	}
}

// TestRenamed refuses servers that do not have a command under its own name.
func TestRenamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"EVAL", "EVALSHA", "SCRIPT", "XADD", "PUBLISH", "SUBSCRIBE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testredis.Start(t, &testredis.Options{Config: []string{"rename-command " + name + ` ""`}})
			begin := time.Now()
			_, err := redisx.Open(t.Context(), clientOf(t, &redis.Options{Addr: server.Addr()}), &redisx.Options{Wait: true})
			require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, "rename-command")
			require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome)
			require.Less(t, time.Since(begin), 30*time.Second, "it does not wait for what cannot come")
		})
	}
}

// TestRenamedForLevel has a server that gives a command another name that only a level or a quota needs. No right cures that.
func TestRenamedForLevel(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]func(*redisx.Server) error{
		"WAIT":   func(s *redisx.Server) error { return s.CheckLevel(streamhub.Durability{Replicas: 1}) },
		"MEMORY": (*redisx.Server).CheckQuota,
	} {
		server := testredis.Start(t, &testredis.Options{Config: []string{"rename-command " + name + " hidden"}})
		conn, err := redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: server.Addr()}))
		require.NoError(t, err)
		err = check(conn.Server())
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
		require.ErrorContains(t, err, "the server does not know "+name)
		require.ErrorContains(t, err, "rename-command")
	}
}

// TestUnfitLater opens before Redis is there. What is there then evicts keys: every call says so, until it does not.
func TestUnfitLater(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	admin := server.Client()
	client := clientOf(t, &redis.Options{Addr: server.Addr()})
	server.Kill()
	conn, err := redisx.Open(t.Context(), client, &redisx.Options{
		Wait: true, Logger: slog.New(slog.DiscardHandler), Check: (*redisx.Server).CheckEviction,
	})
	require.NoError(t, err)
	server.Restart()
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	for range 2 {
		require.Eventually(t, func() bool {
			_, err = conn.Run(t.Context(), writes, 1, "sh:k")
			return errors.Is(err, streamhub.ErrInvalidArgument)
		}, 10*time.Second, time.Millisecond)
	}
	require.ErrorContains(t, err, "allkeys-lru")
	lost := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		conn.Attend(ctx, func(err error) {
			select {
			case lost <- err:
			default:
			}
		})
	})
	require.ErrorContains(t, <-lost, "allkeys-lru")
	cancel()
	watching.Wait()
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	require.Eventually(t, func() bool {
		_, err = conn.Run(t.Context(), writes, 1, "sh:k")
		return err == nil
	}, 10*time.Second, time.Millisecond)
}

// TestEmbedded recognises miniredis by what it is.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	conn, err := redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: m.Addr()}))
	require.NoError(t, err)
	require.True(t, conn.Server().Embedded)
	require.NoError(t, conn.Probe(t.Context()))
	real, err := redisx.Connect(t.Context(), testredis.Shared(t).Client())
	require.NoError(t, err)
	require.False(t, real.Server().Embedded)
	require.NotEmpty(t, real.Server().Product)
}

// TestOpenIsDefinite opens what is no Redis, or none for us.
func TestOpenIsDefinite(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	crowded := testredis.Start(t, &testredis.Options{Config: []string{"maxclients 1"}})
	hold := clientOf(t, &redis.Options{Addr: crowded.Addr()})
	require.NoError(t, hold.Ping(t.Context()).Err())
	stranger, plain := httptest.NewTLSServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	t.Cleanup(plain.Close)
	withTLS := &tls.Config{MinVersion: tls.VersionTLS12}
	for name, test := range map[string]struct {
		options *redis.Options
		reason  streamhub.UnavailableReason
	}{
		"silent":         {&redis.Options{Addr: silent.Addr().String()}, streamhub.ReasonDown},
		"crowded":        {&redis.Options{Addr: crowded.Addr()}, streamhub.ReasonBusy},
		"unknown CA":     {&redis.Options{Addr: stranger.Listener.Addr().String(), TLSConfig: withTLS}, streamhub.ReasonTLS},
		"speaks no TLS":  {&redis.Options{Addr: plain.Listener.Addr().String(), TLSConfig: withTLS}, streamhub.ReasonTLS},
		"TLS unexpected": {&redis.Options{Addr: stranger.Listener.Addr().String()}, streamhub.ReasonDown},
	} {
		o := test.options
		o.ReadTimeout, o.DialTimeout, o.MaxRetries = 300*time.Millisecond, 5*time.Second, -1
		_, err := redisx.Connect(t.Context(), clientOf(t, o))
		require.ErrorIs(t, err, streamhub.ErrUnavailable, name)
		if reason := reasonOf(t, err); name != "crowded" || reason != streamhub.ReasonDown { // it may close first
			require.Equal(t, test.reason, reason, "%s: %v", name, err)
		}
		require.Equal(t, test.reason == streamhub.ReasonTLS, redisx.Final(err), name)
	}
}

// TestLevels says which level each server gives.
func TestLevels(t *testing.T) {
	t.Parallel()
	fsync, replicas := streamhub.Durability{Fsync: true}, streamhub.Durability{Replicas: 1}
	for _, test := range []struct {
		server redisx.Server
		level  streamhub.Durability
		cure   string // empty: it is given
	}{
		{redisx.Server{Embedded: true}, replicas, "has none"},
		{redisx.Server{Embedded: true}, fsync, "keeps nothing"},
		{redis7("7.0.15", "always"), replicas, ""},
		{redis7("7.0.15", "always"), fsync, "upgrade"},
		{redis7("7.2.4", "everysec"), fsync, ""},
		{redis7("7.4.6", "everysec"), fsync, "appendfsync always"},
		{redis7("7.4.6", "always"), fsync, ""},
		{redis7("8.0.6", "everysec"), fsync, ""},
		{redis7("8.0.6", "no"), fsync, "appendfsync"},
		{redis7("8.0.6", ""), fsync, "+config|get"},
		{redisx.Server{Product: "Redis", Version: "8.0.6", Compatible: "8.0.6", Fsync: "always"}, fsync, "appendonly yes"},
		{valkey("7.2.9", "everysec"), fsync, ""},
		{valkey("8.1.1", "everysec"), fsync, "appendfsync always"},
		{valkey("9.1.2", "everysec"), fsync, "appendfsync always"},
		{valkey("9.1.2", "always"), fsync, ""},
		{redis7("8.0.6", "always"), streamhub.Durability{Replicas: -1}, "0 or more"},
	} {
		err := test.server.CheckLevel(test.level)
		if test.cure == "" {
			require.NoError(t, err, "%+v", test)
			continue
		}
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, fmt.Sprintf("%+v", test))
		require.ErrorContains(t, err, test.cure)
	}
}

func redis7(version, fsync string) redisx.Server {
	return redisx.Server{Product: "Redis", Version: version, Compatible: version, AOF: fsync != "none", Fsync: fsync}
}

func valkey(version, fsync string) redisx.Server {
	return redisx.Server{Product: "Valkey", Version: version, Compatible: "7.2.4", AOF: true, Fsync: fsync}
}

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

func open(t *testing.T, client redis.UniversalClient, options *hub.Options) *hub.Hub {
	t.Helper()
	h, err := hub.Open(t.Context(), client, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func records(payloads ...string) []streamhub.Record {
	var rs []streamhub.Record
	for _, p := range payloads {
		rs = append(rs, streamhub.Record{Payload: []byte(p)})
	}
	return rs
}

// everything calls each method of a store once, with something to do.
func everything(t *testing.T, h *hub.Hub) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := h.Store(uuid.New())
	r, err := s.Append(ctx, "space", "a", records("1", "2", "3"), nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, r.Last)
	_, errs := s.AppendAll(ctx, []streamhub.Append{
		{Space: "space", Segment: "b", Records: records("1")},
		{Space: "other", Segment: "c", Records: records("1")},
	})
	require.Equal(t, []error{nil, nil}, errs)
	_, created, err := s.Create(ctx, "space", "timed", &streamhub.CreateOptions{TTL: time.Hour, ContentType: "text/plain"})
	require.NoError(t, err)
	require.True(t, created)
	deadline, err := s.Touch(ctx, "space", "timed")
	require.NoError(t, err)
	require.Positive(t, deadline)
	_, _, err = s.Create(ctx, "space", "fork", &streamhub.CreateOptions{ForkOf: "a"})
	require.NoError(t, err)

	var names []string
	for name, err := range s.Segments(ctx, "space") {
		require.NoError(t, err)
		names = append(names, name)
	}
	require.Equal(t, []string{"a", "b", "fork", "timed"}, names)
	names = nil
	for name, err := range s.Spaces(ctx) {
		require.NoError(t, err)
		names = append(names, name)
	}
	require.Equal(t, []string{"other", "space"}, names)

	count := 0
	for _, err := range s.ConsumeSegment(ctx, "space", "fork", nil) {
		require.NoError(t, err)
		count++
	}
	for _, err := range s.ConsumeSpace(ctx, "space", nil) {
		require.NoError(t, err)
		count++
	}
	for _, err := range s.Consume(ctx, map[string]streamhub.Cursor{"space": "", "other": ""}, nil) {
		require.NoError(t, err)
		count++
	}
	require.Equal(t, 3+4+5, count)
	last, err := s.Peek(ctx, "space", "a")
	require.NoError(t, err)
	require.Equal(t, "3", string(last.Payload))

	require.NoError(t, s.Delete(ctx, "space", "fork", "test"))
	kept, err := s.Trim(ctx, "space", "a", 3)
	require.NoError(t, err)
	require.EqualValues(t, 4, kept)
	_, err = s.CloseSegment(ctx, "space", "b", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(t, err)
	status, err := s.Status(ctx, "space", "b")
	require.NoError(t, err)
	require.Equal(t, streamhub.StateClosed, status.State)

	count = 0
	for _, err := range s.FollowSegment(ctx, "space", "b", nil) {
		if err != nil {
			require.ErrorIs(t, err, streamhub.ErrClosed)
			break
		}
		count++
	}
	require.Equal(t, 1, count)
	for e, err := range s.FollowSpace(ctx, "other", nil) {
		require.NoError(t, err)
		require.Equal(t, "c", e.Segment)
		break
	}
	for _, err := range s.SubscribeSegment(ctx, "space", "b") {
		require.NoError(t, err)
		break
	}
	for _, err := range s.SubscribeSpace(ctx, "space") {
		require.NoError(t, err)
		break
	}
	member, err := s.JoinWorkers(ctx, streamhub.Worker{ID: uuid.New()}, time.Minute)
	require.NoError(t, err)
	for workers, err := range s.Workers(ctx) {
		require.NoError(t, err)
		require.Len(t, workers, 1)
		break
	}
	require.NoError(t, member.Leave(ctx))

	held, err := s.AcquireLease(ctx, "key", time.Minute)
	require.NoError(t, err)
	_, err = s.AcquireLease(ctx, "key", time.Minute)
	require.ErrorIs(t, err, streamhub.ErrLeaseNotAcquired)
	_, err = held.Release(ctx)
	require.NoError(t, err)
	require.NoError(t, s.WithLease(ctx, "key", time.Minute, time.Second, func(_ context.Context, token uint64) error {
		require.Greater(t, token, held.Token())
		return nil
	}))
	require.NoError(t, h.Ping(ctx))
}

func TestEverythingEmbedded(t *testing.T) { everything(t, open(t, nil, nil)) }

// A user with the rights that the doctor names can do everything, and nothing else.
func TestEverythingAsUser(t *testing.T) {
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	client, err := hub.NewClient("redis://" + testredis.User + ":" + testredis.Password + "@" + server.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	everything(t, open(t, client, &hub.Options{SweepEvery: 50 * time.Millisecond}))
}

// A user has the documented rights, and no others.
func TestUserMayNothingElse(t *testing.T) {
	server := testredis.Start(t, nil)
	rule := append([]any{"acl", "setuser", "hub", "on", ">secret"}, fields(redisx.UserRule)...)
	require.NoError(t, server.Client().Do(t.Context(), rule...).Err())
	client, err := hub.NewClient("redis://hub:secret@" + server.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	for _, refused := range [][]any{{"flushall"}, {"keys", "*"}, {"get", "foreign"}, {"config", "get", "*"}} {
		require.ErrorContains(t, client.Do(t.Context(), refused...).Err(), "NOPERM", refused)
	}
}

// A user loses a right while appends to several segments share a call. No append is called corrupt or stored twice, its
// error names the right, and once the user has it again the same hub goes on.
func TestRightLost(t *testing.T) {
	for _, lost := range []string{"-xadd", "resetchannels", "-publish", "-info", "-hset", "-zadd", "-hget", "-hmget", "-xdel", "-@write", "-@all"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			server := testredis.Start(t, nil)
			admin := server.Client()
			rule := append([]any{"acl", "setuser", "hub", "on", ">secret"}, fields(redisx.UserRule)...)
			require.NoError(t, admin.Do(t.Context(), rule...).Err())
			client, err := hub.NewClient("redis://hub:secret@" + server.Addr())
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close() })
			h := open(t, client, nil)
			s := h.Store(uuid.New())
			// The segments that are there go the short way, the others are created.
			all := make([]streamhub.Append, 6)
			for i := range all {
				segment := fmt.Sprint(i)
				if i < 4 {
					_, err := s.Append(t.Context(), "space", segment, records("before"), nil)
					require.NoError(t, err)
				}
				all[i] = streamhub.Append{Space: "space", Segment: segment, Records: records("x" + segment), Options: &streamhub.AppendOptions{TRX: uuid.New()}}
			}
			require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "hub", lost).Err())
			require.Eventually(t, func() bool {
				_, errs := s.AppendAll(t.Context(), all)
				for _, err := range errs {
					require.NotErrorIs(t, err, streamhub.ErrCorrupt)
				}
				// What was stored is answered from memory, so another one asks Redis.
				_, err := s.Append(t.Context(), "space", "other", records("y"), nil)
				require.NotErrorIs(t, err, streamhub.ErrCorrupt)
				// A notice is a hint, and HGET saves time; nothing fails without them.
				return h.Ready(t.Context()) != nil || errors.Join(append(errs, err)...) == nil
			}, 20*time.Second, 10*time.Millisecond)
			if err := h.Ready(t.Context()); err != nil {
				require.False(t, streamhub.Retryable(err))
				require.ErrorContains(t, err, "run ACL SETUSER hub ")
			}
			require.NoError(t, admin.Do(t.Context(), rule...).Err())
			require.Eventually(t, func() bool {
				_, errs := s.AppendAll(t.Context(), all)
				return errors.Join(errs...) == nil
			}, 20*time.Second, 10*time.Millisecond)
			seen := map[string]int{}
			for e, err := range s.ConsumeSpace(t.Context(), "space", nil) {
				require.NoError(t, err)
				seen[string(e.Payload)]++
			}
			for i := range all {
				payload := "x" + fmt.Sprint(i)
				require.Equal(t, 1, seen[payload], "%s along the space", payload)
				n := 0
				for e, err := range s.ConsumeSegment(t.Context(), "space", fmt.Sprint(i), nil) {
					require.NoError(t, err)
					if string(e.Payload) == payload {
						n++
					}
				}
				require.Equal(t, 1, n, "%s in its segment", payload)
			}
		})
	}
}

// A quota needs one right more, which Open asks for.
func TestQuotaAsUser(t *testing.T) {
	server := testredis.Start(t, nil)
	rule := append([]any{"acl", "setuser", "hub", "on", ">secret"}, fields(redisx.UserRule)...)
	require.NoError(t, server.Client().Do(t.Context(), rule...).Err())
	client, err := hub.NewClient("redis://hub:secret@" + server.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	_, err = hub.Open(t.Context(), client, &hub.Options{StoreQuota: 1 << 20})
	require.ErrorContains(t, err, "run ACL SETUSER hub "+redisx.UserRuleQuota)
	require.NoError(t, server.Client().Do(t.Context(), append([]any{"acl", "setuser", "hub"}, fields(redisx.UserRuleQuota)...)...).Err())
	h := open(t, client, &hub.Options{StoreQuota: 1 << 20})
	big := []streamhub.Record{{Payload: make([]byte, 256<<10)}}
	for err = nil; err == nil; {
		_, err = h.Store(uuid.Nil).Append(t.Context(), "space", "big", big, nil)
	}
	require.ErrorIs(t, err, streamhub.ErrQuota)
	require.NoError(t, h.Store(uuid.Nil).Delete(t.Context(), "space", "big", "to make room"))
	require.Eventually(t, func() bool {
		_, err := h.Store(uuid.Nil).Append(t.Context(), "space", "after", big, nil)
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	require.Empty(t, server.Client().Do(t.Context(), "acl", "log").Val())
}

func TestUserRuleIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(string(page)), " ")
	for _, rule := range []string{redisx.UserRule, redisx.UserRuleFsync, redisx.UserRuleQuota, redisx.UserRuleCluster} {
		require.Contains(t, text, rule)
	}
}

func fields(s string) []any {
	var all []any
	for _, f := range strings.Fields(s) {
		all = append(all, f)
	}
	return all
}

func TestEverythingOnCluster(t *testing.T) {
	cluster := testredis.SharedCluster(t)
	client, err := hub.NewClient("redis+cluster://" + strings.Join(cluster.Addrs(), ","))
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	everything(t, open(t, client, nil))
}

func TestEverythingOverSentinel(t *testing.T) {
	sentinel := testredis.StartSentinel(t, nil)
	client, err := hub.NewClient("redis+sentinel://" + strings.Join(sentinel.SentinelAddrs(), ",") + "/" + sentinel.MasterName())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	everything(t, open(t, client, nil))
}

// Another process of the machine uses the embedded Redis by its URL.
func TestEmbeddedIsShared(t *testing.T) {
	first := open(t, nil, nil)
	client, err := hub.NewClient(first.RedisURL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	second := open(t, client, nil)
	require.Empty(t, second.RedisURL())
	a, err := first.Store(uuid.Nil).Append(t.Context(), "s", "g", records("1"), nil)
	require.NoError(t, err)
	for e, err := range second.Store(uuid.Nil).ConsumeSegment(t.Context(), "s", "g", nil) {
		require.NoError(t, err)
		require.Equal(t, a.Cursor(), e.Cursor())
	}
	withoutPassword, err := hub.NewClient("redis://" + first.RedisURL()[strings.Index(first.RedisURL(), "@")+1:])
	require.NoError(t, err)
	t.Cleanup(func() { _ = withoutPassword.Close() })
	_, err = hub.Open(t.Context(), withoutPassword, nil)
	var unavailable *streamhub.UnavailableError
	require.ErrorAs(t, err, &unavailable)
	require.Equal(t, streamhub.ReasonDenied, unavailable.Reason)
}

func TestOpenRefuses(t *testing.T) {
	server := testredis.Start(t, &testredis.Options{MaxMemory: "100mb", Config: []string{"maxmemory-policy allkeys-lru"}})
	client := server.Client()
	_, err := hub.Open(t.Context(), client, nil)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	require.ErrorContains(t, err, "noeviction")
	open(t, client, &hub.Options{AllowEviction: true})

	_, err = hub.Open(t.Context(), client, &hub.Options{AllowEviction: true, Durability: streamhub.Durability{Fsync: true}})
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument, "Redis 7.0 has no WAITAOF")

	nobody, err := hub.NewClient("redis://127.0.0.1:1")
	require.NoError(t, err)
	t.Cleanup(func() { _ = nobody.Close() })
	_, err = hub.Open(t.Context(), nobody, nil)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
}

func TestNewClientRefuses(t *testing.T) {
	for _, address := range []string{
		"", "http://host", "redis+sentinel://host:1", "redis://host:1/x", "redis://u:secret@host:port",
		"redis://host:1,other:1", "redis://host:1/-1", "redis://host:1?db=-1", "redis+sentinel://host:1/master?db=-1", "redis+sentinel://host:1/master/3",
		"redis+cluster://u:secret@host:1/3", "redis+cluster://host:1?tls=yes", "redis+sentinel://host:1/master?tls=1",
		"redis+cluster://host:1?read_only=true", "redis+cluster://host:1?route_by_latency=true", "redis+cluster://host:1?route_randomly=true",
		"redis+sentinel://host:1/master?replica_only=true", "redis+sentinel://host:1/master?route_by_latency=true", "redis+sentinel://host:1/master?route_randomly=true",
	} {
		_, err := hub.NewClient(address)
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, address)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestCloseEndsFollowers(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	s := h.Store(uuid.Nil)
	_, err = s.Append(t.Context(), "s", "g", records("1"), nil)
	require.NoError(t, err)
	seen, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for _, err := range s.FollowSegment(t.Context(), "s", "g", nil) {
			if err != nil {
				ended <- err
				return
			}
			close(seen)
		}
	}()
	<-seen
	require.NoError(t, h.Close())
	require.ErrorIs(t, <-ended, streamhub.ErrShutdown)
	require.NoError(t, h.Close(), "closing twice")
	_, err = s.Append(t.Context(), "s", "g", records("2"), nil)
	require.ErrorIs(t, err, streamhub.ErrShutdown)
}

// What is counted and traced names the call and the code, and holds neither payloads nor, in
// metrics, names.
func TestTelemetry(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	reader := metric.NewManualReader()
	var log strings.Builder
	h := open(t, nil, &hub.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(reader)),
		Logger:         slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	s := h.Store(uuid.Nil)
	_, err := s.Append(t.Context(), "private-space", "seg", records("private-payload", "2"), nil)
	require.NoError(t, err)
	_, err = s.Append(t.Context(), "private-space", "seg", records("private-payload"), &streamhub.AppendOptions{ExpectedSequence: 9})
	require.True(t, errors.Is(err, streamhub.ErrSequenceMismatch))
	for _, err := range s.ConsumeSegment(t.Context(), "private-space", "seg", nil) {
		require.NoError(t, err)
	}

	got, sums := sumsOf(t, reader)
	require.GreaterOrEqual(t, sums["streamhub.append.calls"], int64(2))
	delete(sums, "streamhub.append.calls") // how often a refusal is looked into is not promised
	require.Equal(t, map[string]int64{
		"streamhub.live.chunks": 0, "streamhub.records.appended": 2, "streamhub.entries.delivered": 2, "streamhub.call.errors": 1,
	}, sums)
	var names []string
	for _, span := range spans.GetSpans() {
		names = append(names, span.Name+" "+span.Status.Description)
	}
	require.Equal(t, []string{"streamhub append ", "streamhub append sequence_mismatch", "streamhub consume "}, names)
	require.NotContains(t, fmt.Sprint(got), "private")
	require.NotContains(t, log.String(), "private-payload")
}

// sumsOf reads the metrics, and adds up the series of each that is a sum.
func sumsOf(t *testing.T, reader metric.Reader) (metricdata.ResourceMetrics, map[string]int64) {
	t.Helper()
	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	sums := map[string]int64{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok {
			for _, p := range sum.DataPoints {
				sums[m.Name] += p.Value
			}
		}
	}
	return got, sums
}

// Records are counted once, however they are appended: not for a check, not for a repeat, and also where the level of
// durability was not reached.
func TestStoredRecordsAreCounted(t *testing.T) {
	reader := metric.NewManualReader()
	h := open(t, testredis.Shared(t).Client(), &hub.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	s := h.Store(uuid.New())
	one := func(o streamhub.AppendOptions) (streamhub.AppendResult, error) {
		return s.Append(t.Context(), "s", "g", records("1"), &o)
	}
	all := func(o streamhub.AppendOptions) (streamhub.AppendResult, error) {
		results, errs := s.AppendAll(t.Context(), []streamhub.Append{{Space: "s", Segment: "g", Records: records("1"), Options: &o}})
		return results[0], errs[0]
	}
	submit := func(o streamhub.AppendOptions) (streamhub.AppendResult, error) {
		a := streamhub.Append{Space: "s", Segment: "g", Records: records("1"), Options: &o}
		results, errs := port.Of(s).Submit(t.Context(), []*port.Submission{{Append: a}})()
		return results[0], errs[0]
	}
	for name, add := range map[string]func(streamhub.AppendOptions) (streamhub.AppendResult, error){"one": one, "all": all, "submit": submit} {
		counts := func(want int64, why string) {
			t.Helper()
			_, sums := sumsOf(t, reader)
			require.Equal(t, want, sums["streamhub.records.appended"], "%s: %s", name, why)
		}
		_, before := sumsOf(t, reader)
		n := before["streamhub.records.appended"]
		_, err := add(streamhub.AppendOptions{CheckOnly: true})
		require.NoError(t, err)
		counts(n, "a check stores nothing")
		again := streamhub.AppendOptions{TRX: uuid.New()}
		_, err = add(again)
		require.NoError(t, err)
		counts(n+1, "an append")
		r, err := add(again)
		require.NoError(t, err)
		require.True(t, r.Repeated)
		counts(n+1, "a repeat")
		_, err = add(streamhub.AppendOptions{Durability: &streamhub.Durability{Replicas: 1, Timeout: time.Millisecond}})
		require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
		counts(n+2, "it is written, and not confirmed")
		_, err = add(streamhub.AppendOptions{ExpectedSequence: 1})
		require.ErrorIs(t, err, streamhub.ErrSequenceMismatch)
		counts(n+2, "it is refused")
	}

	_, before := sumsOf(t, reader)
	for range 2 { // the second one finds the segment
		_, _, err := s.Create(t.Context(), "s", "created", &streamhub.CreateOptions{Records: records("1", "2")})
		require.NoError(t, err)
	}
	_, err := s.CloseSegment(t.Context(), "s", "created", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(t, err)
	_, sums := sumsOf(t, reader)
	require.Equal(t, before["streamhub.records.appended"]+2, sums["streamhub.records.appended"])
}

package hotlog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestDurability(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	s := logOn(t, primary, uuid.New(), &hotlog.Options{Durability: streamhub.Durability{Replicas: 1, Timeout: 10 * time.Second}})
	r := add(t, s, "seg", "1")
	require.EqualValues(t, 1, r.First)
	onReplica := logOn(t, replica, s.ID(), nil)
	e, err := onReplica.Peek(t.Context(), "space", "seg")
	require.NoError(t, err)
	require.Equal(t, r.Position, e.Position)

	replica.Pause()
	append := func(id uuid.UUID, d *streamhub.Durability) (streamhub.AppendResult, error) {
		return s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, &streamhub.AppendOptions{Durability: d, TRX: id})
	}
	id := uuid.New()
	for range 2 { // a repeat is not confirmed either
		r, err = append(id, &streamhub.Durability{Replicas: 1, Timeout: 20 * time.Millisecond})
		require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
		require.EqualValues(t, 2, r.First, "it is written, and the caller is told where")
	}
	r, err = append(uuid.New(), &streamhub.Durability{})
	require.NoError(t, err, "who does not ask does not wait")
	require.EqualValues(t, 3, r.First)
	replica.Resume()
	r, err = append(uuid.New(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, r.First)

	// There is no append-only file to sync: an older server is refused, a newer one says so.
	_, err = append(uuid.New(), &streamhub.Durability{Fsync: true})
	require.Error(t, err)
	for _, bad := range []streamhub.Durability{{Replicas: -1}, {Timeout: -1}} {
		_, err = append(uuid.New(), &bad)
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, "%+v", bad)
	}
}

// TestConfirmedAnew stops the only replica. Whoever appends or repeats an append at the level of one replica is told that
// it is written and not confirmed: at once, on connections that wrote nothing before, and after a level was not asked for.
func TestConfirmedAnew(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	id, level := uuid.New(), &streamhub.Durability{Replicas: 1}
	open := func() *hotlog.Store {
		conn := connect(t, redis.NewClient(&redis.Options{
			Addr: primary.Addr(), ContextTimeoutEnabled: true, ReadTimeout: time.Second, // as hub.NewClient sets it: no longer than the wait
		}), nil)
		log, err := hotlog.Open(t.Context(), conn, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		return log.Store(id)
	}
	first, second := open(), open()
	append := func(s *hotlog.Store, segment string, o streamhub.AppendOptions) (streamhub.AppendResult, error) {
		begin := time.Now()
		r, err := s.Append(t.Context(), "space", segment, []streamhub.Record{{Payload: []byte("x")}}, &o)
		t.Logf("%s: %v after %v", segment, err, time.Since(begin))
		return r, err
	}
	add(t, first, "warm", "x")
	plain, err := append(first, "quiet", streamhub.AppendOptions{TRX: uuid.New()})
	require.NoError(t, err)
	caughtUp(t, primary)
	replica.Pause()

	unconfirmed := func(r streamhub.AppendResult, err error, sequence uint64) {
		t.Helper()
		require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
		require.EqualValues(t, sequence, r.First, "it is written, and the caller is told where")
	}
	// The level is asked for only after the append was stored, by others and by the same process.
	trx := uuid.New()
	_, err = append(first, "late", streamhub.AppendOptions{TRX: trx})
	require.NoError(t, err)
	r, err := append(first, "late", streamhub.AppendOptions{TRX: trx, Durability: level})
	unconfirmed(r, err, 1)
	_, err = append(first, "late", streamhub.AppendOptions{TRX: trx})
	require.NoError(t, err, "who does not ask does not wait")

	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			segment := fmt.Sprint("seg", i)
			producer := &streamhub.Producer{ID: "p"}
			o := streamhub.AppendOptions{Producer: producer, Durability: level}
			r, err := append(first, segment, o)
			unconfirmed(r, err, 1)
			r, err = append(second, segment, o)
			unconfirmed(r, err, 1)
			require.True(t, r.Repeated)
			r, err = append(open(), segment, o)
			unconfirmed(r, err, 1)
			trx := uuid.New()
			for range 2 {
				r, err = append(first, segment, streamhub.AppendOptions{TRX: trx, Durability: level})
				unconfirmed(r, err, 2)
			}
		})
	}
	wg.Wait()
	replica.Resume()
	for range 2 {
		r, err = append(second, "seg0", streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}, Durability: &streamhub.Durability{Replicas: 1, Timeout: time.Minute}})
		require.NoError(t, err)
		require.EqualValues(t, 1, r.First)
	}
	r, err = append(first, "late", streamhub.AppendOptions{TRX: trx, Durability: &streamhub.Durability{Replicas: 1, Timeout: time.Minute}})
	require.NoError(t, err)
	require.True(t, r.Repeated)

	// What is confirmed is what the server has: a repeat of an append that it lost is no success.
	primary.RestartEmpty()
	_, err = append(first, "quiet", streamhub.AppendOptions{TRX: plain.TRX.ID, Durability: &streamhub.Durability{Replicas: 1, Timeout: time.Millisecond}})
	require.Error(t, err)
}

// TestWaitOutlastsRead waits for a replica for longer than the driver waits for an answer.
func TestWaitOutlastsRead(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	conn := connect(t, redis.NewClient(&redis.Options{Addr: primary.Addr(), ContextTimeoutEnabled: true, ReadTimeout: 50 * time.Millisecond}), nil)
	log, err := hotlog.Open(t.Context(), conn, &hotlog.Options{Durability: streamhub.Durability{Replicas: 1, Timeout: time.Minute}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	add(t, s, "seg", "x")
	calls := func() (n int) {
		info, err := primary.Client().Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		_, rest, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
		_, _ = fmt.Sscan(rest, &n)
		return n
	}
	replica.Pause()
	before := calls()
	resumed := time.AfterFunc(time.Second, replica.Resume)
	defer resumed.Stop()
	r := add(t, s, "seg", "y")
	require.EqualValues(t, 2, r.First)
	require.False(t, r.Repeated)
	require.Equal(t, before+1, calls(), "it was sent once")
}

func TestDurabilityRefused(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	conn := connect(t, redis.NewClient(&redis.Options{Addr: m.Addr()}), nil)
	for _, d := range []streamhub.Durability{{Replicas: 1}, {Fsync: true}} {
		_, err := hotlog.Open(t.Context(), conn, &hotlog.Options{Durability: d})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	}
}

// TestFsync asks for the disk under each policy. What the server cannot promise is refused, also when it cannot any more.
func TestFsync(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"always", "everysec", "no", ""} {
		t.Run("appendfsync="+policy, func(t *testing.T) {
			t.Parallel()
			server := testredis.Start(t, &testredis.Options{AOF: policy})
			conn := connect(t, redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}), nil)
			fsync := streamhub.Durability{Fsync: true}
			log, err := hotlog.Open(t.Context(), conn, &hotlog.Options{Durability: fsync})
			if conn.Server().CheckLevel(fsync) != nil {
				require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
				return
			}
			require.NoError(t, err)
			require.Contains(t, []string{"always", "everysec"}, policy)
			t.Cleanup(func() { require.NoError(t, log.Close()) })
			s := log.Store(uuid.New())
			add(t, s, "seg", "1")
			add(t, s, "seg", "2")

			require.NoError(t, server.Client().ConfigSet(t.Context(), "appendfsync", "no").Err())
			r, err := s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("3")}}, &streamhub.AppendOptions{
				Durability: &streamhub.Durability{Fsync: true, Timeout: 50 * time.Millisecond},
			})
			require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
			require.EqualValues(t, 3, r.First)
			_, err = s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("4")}}, nil)
			require.ErrorIs(t, err, streamhub.ErrInvalidArgument, "what was learned is learned again")
			require.NoError(t, server.Client().ConfigSet(t.Context(), "appendfsync", policy).Err())
			require.Eventually(t, func() bool {
				_, err = s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("4")}}, nil)
				return err == nil
			}, 20*time.Second, 20*time.Millisecond, "%v", err)
		})
	}
}

// A seen is a hook that counts commands by name.
type seen struct {
	mu    sync.Mutex
	names map[string]int
}

func (h *seen) count(cmd redis.Cmder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names[cmd.Name()]++
}

// sent returns how many scripts and waits passed.
func (h *seen) sent() [2]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return [2]int{h.names["evalsha"], h.names["wait"]}
}

func (h *seen) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *seen) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.count(cmd)
		return next(ctx, cmd)
	}
}

func (h *seen) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.count(cmd)
		}
		return next(ctx, cmds)
	}
}

// TestDurableHooks: appends whose level is waited for go through the hooks of the client, as every other command, and so
// does the wait. The read timeout of the client does not end the wait.
func TestDurableHooks(t *testing.T) {
	t.Parallel()
	primary, replica := testredis.Start(t, nil), testredis.Start(t, nil)
	replicate(t, replica, primary)
	h := &seen{names: map[string]int{}}
	conn := connect(t, redis.NewClient(&redis.Options{
		Addr: primary.Addr(), ContextTimeoutEnabled: true, ReadTimeout: 100 * time.Millisecond,
	}), []redis.Hook{h})
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	level := func(timeout time.Duration) *streamhub.AppendOptions {
		return &streamhub.AppendOptions{TRX: uuid.New(), Durability: &streamhub.Durability{Replicas: 1, Timeout: timeout}}
	}
	records := []streamhub.Record{{Payload: []byte("x")}}
	_, err = s.Append(t.Context(), "space", "seg", records, level(10*time.Second))
	require.NoError(t, err)
	h.mu.Lock()
	h.names = map[string]int{}
	h.mu.Unlock()
	_, err = s.Append(t.Context(), "space", "seg", records, level(10*time.Second))
	require.NoError(t, err)
	require.Equal(t, [2]int{1, 1}, h.sent())

	replica.Pause()
	begin := time.Now()
	r, err := s.Append(t.Context(), "space", "seg", records, level(700*time.Millisecond))
	require.ErrorIs(t, err, streamhub.ErrNotConfirmed)
	require.EqualValues(t, 3, r.First)
	require.GreaterOrEqual(t, time.Since(begin), 700*time.Millisecond, "the wait is not cut off")
	require.Equal(t, [2]int{2, 2}, h.sent(), "it was sent once")
}

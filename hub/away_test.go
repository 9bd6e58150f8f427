package hub_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/pebble"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

// A logbook counts lines by level and message.
type logbook struct {
	slog.Handler
	mu    sync.Mutex
	lines map[slog.Level][]string
}

func (*logbook) Enabled(context.Context, slog.Level) bool { return true }

func (b *logbook) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines[r.Level] = append(b.lines[r.Level], r.Message)
	return nil
}

func (b *logbook) count(level slog.Level, message string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines[level] {
		if line == message {
			n++
		}
	}
	return n
}

// TestAwayIsLoggedOnce takes Redis away from a hub in which everything is at work in the background. One line says so, and
// one that it serves again.
func TestAwayIsLoggedOnce(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	backend, err := pebble.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	book := &logbook{Handler: slog.DiscardHandler, lines: map[slog.Level][]string{}}
	client, err := hub.NewClient("redis://" + server.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	h := open(t, client, &hub.Options{
		Logger: slog.New(book), Archive: backend, SweepEvery: 20 * time.Millisecond, Recheck: 20 * time.Millisecond,
		Archiving: tier.Options{Every: 20 * time.Millisecond, Policy: tier.Policy{HotBytes: 1 << 20}},
		Live:      &live.Options{Heartbeat: 20 * time.Millisecond},
	})
	s := h.Store(uuid.Nil)
	_, err = s.Append(t.Context(), "space", "a", records("1"), nil)
	require.NoError(t, err)
	_, _, err = s.Live("space").Register(t.Context(), "answer", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	begun := make(chan struct{}, 3)
	for _, read := range []func(func()){
		func(saw func()) {
			for _, err := range s.Workers(ctx) {
				if err == nil {
					saw()
				}
			}
		},
		func(saw func()) {
			for _, err := range s.FollowSpace(ctx, "space", nil) {
				if err == nil {
					saw()
				}
			}
		},
		func(saw func()) {
			for _, err := range s.SubscribeSpace(ctx, "space") {
				if err == nil {
					saw()
				}
			}
		},
	} {
		readers.Go(func() {
			once := sync.OnceFunc(func() { begun <- struct{}{} })
			read(once)
		})
	}
	for range cap(begun) {
		<-begun
	}
	require.NoError(t, h.ArchiveNow(t.Context())) // the space is held, so it is watched

	server.Kill()
	// Whether the archiver measures its space once more, before a turn gives that up, is up to the scheduler.
	for _, message := range []string{
		"the heartbeat of live streams failed", "the workers cannot be read", "which spaces are full is not known", "sweep failed",
	} {
		require.Eventually(t, func() bool { return book.count(slog.LevelDebug, message) > 0 }, time.Minute, time.Millisecond, message)
	}
	server.Restart()
	require.Eventually(t, func() bool { return book.count(slog.LevelInfo, "Redis serves again") == 1 }, time.Minute, time.Millisecond)
	book.mu.Lock()
	defer book.mu.Unlock()
	require.Equal(t, []string{"Redis cannot serve"}, slices.Concat(book.lines[slog.LevelWarn], book.lines[slog.LevelError]))
}

// TestReadsWhileWritesAreRefused reads everything of a server that takes no writes.
func TestReadsWhileWritesAreRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string][]any{
		"full":      {"config", "set", "maxmemory", "1"},
		"replicas":  {"config", "set", "min-replicas-to-write", "1"},
		"read-only": {"replicaof", "127.0.0.1", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testredis.Start(t, nil)
			client := server.Client()
			h := open(t, client, &hub.Options{SweepEvery: -1, RetryFor: time.Millisecond})
			s := h.Store(uuid.Nil)
			_, err := s.Append(t.Context(), "space", "a", records("1"), nil)
			require.NoError(t, err)
			_, err = s.AcquireLeaseAs(t.Context(), "key", "holder", time.Hour)
			require.NoError(t, err)
			member, err := s.JoinWorkers(t.Context(), streamhub.Worker{ID: uuid.New()}, time.Hour)
			require.NoError(t, err)
			_, err = client.Do(t.Context(), refuse...).Result()
			require.NoError(t, err)
			_, err = s.Append(t.Context(), "space", "a", records("2"), nil)
			require.ErrorIs(t, err, streamhub.ErrUnavailable)

			_, err = h.Instances(t.Context())
			require.NoError(t, err)
			for l, err := range s.Leases(t.Context()) {
				require.NoError(t, err)
				require.Equal(t, "holder", l.Holder)
			}
			for workers, err := range s.Workers(t.Context()) {
				require.NoError(t, err)
				require.Len(t, workers, 1)
				break
			}
			_, err = s.Peek(t.Context(), "space", "a")
			require.NoError(t, err)
			for _, err := range s.ConsumeSpace(t.Context(), "space", nil) {
				require.NoError(t, err)
			}
			for e, err := range s.FollowSpace(t.Context(), "space", nil) {
				require.NoError(t, err)
				require.Equal(t, "a", e.Segment)
				break
			}
			for _, err := range s.LiveStreams(t.Context(), "space", true) {
				require.NoError(t, err)
			}
			_ = member.Leave(t.Context()) // a full Redis takes it, the others do not
		})
	}
}

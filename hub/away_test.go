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
			for range s.Workers(ctx) {
				saw()
			}
		},
		func(saw func()) {
			for range s.FollowSpace(ctx, "space", nil) {
				saw()
			}
		},
		func(saw func()) {
			for range s.SubscribeSpace(ctx, "space") {
				saw()
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
	for _, message := range []string{
		"the heartbeat of live streams failed", "the workers cannot be read", "the size of a space is not known", "which spaces are full is not known", "sweep failed",
	} {
		require.Eventually(t, func() bool { return book.count(slog.LevelDebug, message) > 0 }, time.Minute, time.Millisecond, message)
	}
	server.Restart()
	require.Eventually(t, func() bool { return book.count(slog.LevelInfo, "Redis serves again") == 1 }, time.Minute, time.Millisecond)
	book.mu.Lock()
	defer book.mu.Unlock()
	require.Equal(t, []string{"Redis cannot serve"}, slices.Concat(book.lines[slog.LevelWarn], book.lines[slog.LevelError]))
}

package livestream_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/livestream"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

// A beatHook notes whose sessions the heartbeats name, and how many one of them names at most.
type beatHook struct {
	mu       sync.Mutex
	sessions map[string]struct{}
	most     int
}

func (h *beatHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *beatHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *beatHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.see(cmd.Args())
		return next(ctx, cmd)
	}
}

func (h *beatHook) see(args []any) {
	if len(args) < 6 || !strings.HasSuffix(fmt.Sprint(args[4]), ":lr") || !strings.HasSuffix(fmt.Sprint(args[5]), ":lw") {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	named := 0
	for _, arg := range args[6:] {
		if key, ok := arg.(string); ok && strings.HasPrefix(key, "sh:") {
			h.sessions[key] = struct{}{}
			named++
		}
	}
	h.most = max(h.most, named)
}

// openManager opens a manager that is closed at the end of the test.
func openManager(t *testing.T, conn *redisx.Conn, o *live.Options) *livestream.Manager {
	t.Helper()
	log, err := hotlog.Open(t.Context(), conn, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	watcher, err := follow.Open(t.Context(), conn, log, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, watcher.Close()) })
	manager, err := livestream.Open(t.Context(), conn, log, watcher, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	return manager
}

// TestBeatInParts has more producers in one space than one script may serve, for as long as it keeps Redis from all others.
func TestBeatInParts(t *testing.T) {
	t.Parallel()
	const producers, part = 600, 256
	hook := &beatHook{sessions: map[string]struct{}{}}
	conn := connect(t, redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr(), ContextTimeoutEnabled: true}), []redis.Hook{hook})
	manager := openManager(t, conn, &live.Options{Heartbeat: time.Second})
	streams := manager.Streams(uuid.New(), "space")
	all := make([]live.Producer, producers)
	var registering sync.WaitGroup
	for worker := range 16 {
		registering.Go(func() {
			for i := worker; i < producers; i += 16 {
				var err error
				if all[i], _, err = streams.Register(t.Context(), fmt.Sprint("answer", i), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	registering.Wait()
	require.Eventually(t, func() bool {
		hook.mu.Lock()
		defer hook.mu.Unlock()
		return len(hook.sessions) == producers
	}, time.Minute, time.Millisecond)
	hook.mu.Lock()
	most := hook.most
	hook.mu.Unlock()
	require.Equal(t, part, most)
	for _, p := range all {
		require.NoError(t, p.Context().Err())
	}
}

// TestReapPastStuck has more silent generations that cannot be ended than one heartbeat names, before one that can.
func TestReapPastStuck(t *testing.T) {
	t.Parallel()
	conn := connect(t, redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr(), ContextTimeoutEnabled: true}), nil)
	manager := openManager(t, conn, &live.Options{Heartbeat: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	store := uuid.New()
	active := hotlog.Key(store, "space", "la")
	silent := []redis.Z{{Score: 1, Member: "answer~7"}}
	for i := range 250 {
		silent = append(silent, redis.Z{Member: fmt.Sprintf("%%zz%d~7", i)}) // no name is escaped like that
	}
	require.NoError(t, conn.ZAdd(t.Context(), active, silent...).Err())
	streams := manager.Streams(store, "space")
	_, err := streams.Active(t.Context(), []string{"answer"}) // which begins the heartbeat
	require.NoError(t, err)
	stream, err := streams.Generation("answer", 7)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, err := stream.Status(t.Context())
		return err == nil && status.Verdict != nil && status.Verdict.Kind == streamhub.VerdictLost
	}, time.Minute, time.Millisecond)
}

// A laneHook counts reads of back lanes.
type laneHook struct {
	redis.Hook
	reads atomic.Int64
}

func (h *laneHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *laneHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); cmd.Name() == "xrange" && strings.Contains(fmt.Sprint(args[1]), "~b:") {
			h.reads.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (h *laneHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestBeatPastMessages has a remote producer with messages that it has not read. Its heartbeats read none of them, and
// find the request to stop among them.
func TestBeatPastMessages(t *testing.T) {
	t.Parallel()
	hook := &laneHook{}
	conn := connect(t, redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr(), ContextTimeoutEnabled: true}), []redis.Hook{hook})
	manager := openManager(t, conn, &live.Options{CancelGrace: time.Millisecond})
	streams := manager.Streams(uuid.New(), "space")
	p, _, err := streams.Start(t.Context(), "answer", nil)
	require.NoError(t, err)
	stream, err := streams.Get(t.Context(), "answer")
	require.NoError(t, err)
	send := func() {
		for range 20 {
			_, err := stream.Send(t.Context(), []byte("a message"), nil)
			require.NoError(t, err)
		}
	}
	send()
	_, err = p.Beat(t.Context())
	require.NoError(t, err)
	require.Zero(t, hook.reads.Load())
	_, err = stream.Cancel(t.Context(), &live.CancelOptions{Reason: "enough", NoWait: true})
	require.NoError(t, err)
	send()
	most := int64(0)
	for err = nil; err == nil; { // until the grace is over
		before := hook.reads.Load()
		_, err = p.Beat(t.Context())
		most = max(most, hook.reads.Load()-before)
	}
	require.EqualValues(t, 1, most)
	var closed *streamhub.ClosedError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, streamhub.VerdictCancelled, closed.Verdict.Kind)
	require.Contains(t, closed.Verdict.Reason, "enough")
}

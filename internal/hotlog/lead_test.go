package hotlog_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

type leadKey struct{}

// A leads is a hook that counts the scripts that went in the context of a caller, and may hold or delay them.
type leads struct {
	led  atomic.Int64
	lane atomic.Int64
	hold atomic.Pointer[func()]
	// ledOnly says that hold is for what a caller leads.
	ledOnly bool
}

func (h *leads) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *leads) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *leads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" {
			if ctx.Value(leadKey{}) != nil {
				h.led.Add(1)
			} else {
				h.lane.Add(1)
			}
			if hold := h.hold.Load(); hold != nil && (!h.ledOnly || ctx.Value(leadKey{}) != nil) {
				(*hold)()
			}
		}
		return next(ctx, cmds)
	}
}

// TestLead: an append goes in its caller's goroutine if the lane has nothing under way and its last batch was prompt.
func TestLead(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	hook := &leads{}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	log, err := hotlog.Open(t.Context(), connect(t, client, []redis.Hook{hook}), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	caller := context.WithValue(context.Background(), leadKey{}, true) // no stall of the machine ends its lead
	one := func(segment string, size int, options *streamhub.AppendOptions) {
		t.Helper()
		_, err := s.Append(caller, "space", segment, []streamhub.Record{{Payload: make([]byte, size)}}, options)
		require.NoError(t, err)
	}
	one("seg", 1, nil)
	require.Zero(t, hook.led.Load(), "nothing is known of the server yet")
	// prompt waits until the lane was prompt, which a busy machine may delay.
	prompt := func() {
		t.Helper()
		for range 1000 {
			before := hook.led.Load()
			one("seg", 1, nil)
			if hook.led.Load() > before {
				return
			}
		}
		t.Fatal("no append went in its caller's goroutine")
	}
	prompt()

	t.Run("another one is under way", func(t *testing.T) {
		prompt()
		held, gate := make(chan struct{}), make(chan struct{})
		stop := func() { hook.hold.Store(nil); close(held); <-gate }
		hook.hold.Store(&stop)
		done := make(chan error)
		go func() {
			_, err := s.Append(t.Context(), "space", "held", []streamhub.Record{{}}, nil)
			done <- err
		}()
		<-held
		led := hook.led.Load()
		one("seg", 1, nil)
		require.Equal(t, led, hook.led.Load())
		close(gate)
		require.NoError(t, <-done)
	})
	t.Run("it is large", func(t *testing.T) {
		prompt()
		led := hook.led.Load()
		one("large", 300<<10, nil)
		require.Equal(t, led, hook.led.Load())
	})
	t.Run("the last batch was slow", func(t *testing.T) {
		prompt()
		slow := func() { hook.hold.Store(nil); <-time.After(20 * time.Millisecond) }
		hook.hold.Store(&slow)
		one("seg", 1, nil)
		led := hook.led.Load()
		one("seg", 1, nil)
		require.Equal(t, led, hook.led.Load())
		prompt()
	})
}

// TestLeadDeaf: a client that does not heed deadlines carries no append of a caller whose context can end.
func TestLeadDeaf(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	hook := &leads{}
	log, err := hotlog.Open(t.Context(), connect(t, redis.NewClient(&redis.Options{Addr: server.Addr()}), []redis.Hook{hook}), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	for range 20 {
		_, err := s.Append(context.WithValue(t.Context(), leadKey{}, true), "space", "seg", []streamhub.Record{{}}, nil)
		require.NoError(t, err)
	}
	require.Zero(t, hook.led.Load())
}

// TestLeadEnds: a caller returns when its context ends though the server hangs, long before the driver would give up.
// What it was told to be unknown is stored once.
func TestLeadEnds(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	hook := &leads{}
	const timeout = time.Minute // of the driver
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, ReadTimeout: timeout})
	log, err := hotlog.Open(t.Context(), connect(t, client, []redis.Hook{hook}), &hotlog.Options{RetryFor: timeout})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	s := log.Store(uuid.New())
	add(t, s, "seg", "0")
	stored := uint64(1)
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 150*time.Millisecond)
		},
		"early deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		},
		"cancelled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			for before := hook.led.Load(); hook.led.Load() == before; stored++ {
				_, err := s.Append(context.WithValue(context.Background(), leadKey{}, true), "space", "seg", []streamhub.Record{{}}, nil)
				require.NoError(t, err)
			}
			server.Pause()
			led := hook.led.Load()
			ctx, cancel := end(context.WithValue(context.Background(), leadKey{}, true))
			defer cancel()
			start := time.Now()
			_, err := s.Append(ctx, "space", "seg", []streamhub.Record{{Payload: []byte(name)}}, nil)
			took := time.Since(start)
			require.Greater(t, hook.led.Load(), led)
			server.Resume()
			var unknown *streamhub.UnknownOutcomeError
			require.ErrorAs(t, err, &unknown)
			require.ErrorIs(t, err, ctx.Err())
			require.Less(t, took, timeout/4)
			stored++
			r, err := s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte(name)}}, &streamhub.AppendOptions{TRX: unknown.TRX})
			require.NoError(t, err)
			require.Equal(t, stored, r.Last)
			t.Logf("it returned after %v", took)
		})
	}
}

// TestLeadClose: Close waits for a caller that carries its append.
func TestLeadClose(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	hook := &leads{ledOnly: true}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	log, err := hotlog.Open(t.Context(), connect(t, client, []redis.Hook{hook}), nil)
	require.NoError(t, err)
	s := log.Store(uuid.New())
	caller := context.WithValue(context.Background(), leadKey{}, true)
	for hook.led.Load() == 0 {
		_, err := s.Append(caller, "space", "seg", []streamhub.Record{{}}, nil)
		require.NoError(t, err)
	}
	held, gate := make(chan struct{}), make(chan struct{})
	var open atomic.Bool
	stop := func() { hook.hold.Store(nil); close(held); <-gate; open.Store(true) }
	hook.hold.Store(&stop)
	done := make(chan error)
	go func() {
		// After a stall of the machine the lane carries an append itself.
		for led, err := hook.led.Load(), error(nil); ; {
			if _, err = s.Append(caller, "space", "seg", []streamhub.Record{{}}, nil); err != nil || hook.led.Load() > led {
				done <- err
				return
			}
		}
	}()
	<-held
	closed := make(chan error)
	go func() {
		err := log.Close()
		if !open.Load() {
			t.Error("Close did not wait")
		}
		closed <- err
	}()
	require.Eventually(t, func() bool {
		_, err := s.Append(t.Context(), "space", "other", []streamhub.Record{{}}, nil)
		return err != nil
	}, 10*time.Second, time.Millisecond)
	close(gate)
	require.NoError(t, <-closed)
	require.NoError(t, <-done)
}

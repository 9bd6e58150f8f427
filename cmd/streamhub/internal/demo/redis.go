package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/localredis"
	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

// A redis is what the demonstration stands on.
type redis interface {
	url() string
	// state says what it is and how it does: up, paused or down.
	state() (kind, state string)
	pause() error
	resume() error
	restart(ctx context.Context) error
	close()
}

// openRedis starts a server that appends every write to a file, or else an embedded one.
func openRedis(ctx context.Context, dir, program string) (redis, error) {
	path, err := redisbin.Find(program)
	if errors.Is(err, redisbin.ErrNotInstalled) || localredis.Unsupported != nil && program == "" {
		return openEmbedded()
	}
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, program: path, now: "up"}
	s.running, err = localredis.Start(ctx, dir, path)
	return s, err
}

// A server is a redis-server.
type server struct {
	dir, program string

	mu      sync.Mutex
	running *localredis.Server // nil if it could not be started again
	now     string
}

func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running.URL()
}

func (s *server) state() (kind, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "redis-server with an append-only file", s.now
}

func (s *server) pause() error  { return s.do((*localredis.Server).Pause, "paused") }
func (s *server) resume() error { return s.do((*localredis.Server).Resume, "up") }

func (s *server) do(what func(*localredis.Server), state string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return errors.New("redis-server is not there")
	}
	what(s.running)
	s.now = state
	return nil
}

func (s *server) restart(ctx context.Context) error {
	s.close()
	running, err := localredis.Start(ctx, s.dir, s.program)
	if err != nil {
		return fmt.Errorf("redis did not start again: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.now = running, "up"
	return nil
}

func (s *server) close() {
	s.mu.Lock()
	running := s.running
	s.running, s.now = nil, "down"
	s.mu.Unlock()
	if running != nil {
		running.Resume() // one that is paused does not hear that it should end
		running.Stop(stopTime)
	}
}

// embedded is an in-memory Redis in this process.
type embedded struct {
	server *miniredis.Miniredis
	end    chan struct{}
	ticker sync.WaitGroup

	mu  sync.Mutex
	now string
}

// tick is how often the clock of the embedded Redis is moved on; it has none of its own.
const tick = 250 * time.Millisecond

func openEmbedded() (redis, error) {
	e := &embedded{server: miniredis.NewMiniRedis(), end: make(chan struct{}), now: "up"}
	if err := e.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	e.ticker.Go(func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for last := time.Now(); ; {
			select {
			case <-e.end:
				return
			case now := <-ticker.C:
				e.server.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	return e, nil
}

func (e *embedded) url() string { return "redis://" + e.server.Addr() }

func (e *embedded) state() (kind, state string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return "embedded, in the memory of this process: no redis-server is installed", e.now
}

func (e *embedded) set(state string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = state
}

// pause makes the embedded Redis refuse all commands, like a server that loads its data.
func (e *embedded) pause() error {
	e.server.SetError("LOADING Redis is loading the dataset in memory")
	e.set("paused")
	return nil
}

func (e *embedded) resume() error {
	e.server.SetError("")
	e.set("up")
	return nil
}

func (e *embedded) restart(context.Context) error {
	e.set("down")
	e.server.Close()
	if err := e.server.Restart(); err != nil {
		return fmt.Errorf("redis did not start again: %w", err)
	}
	return e.resume()
}

func (e *embedded) close() {
	close(e.end)
	e.ticker.Wait()
	e.server.Close()
}

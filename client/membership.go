package client

import (
	"context"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A membership lasts as long as its channel.
type membership struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu  sync.Mutex
	err error
}

func (m *membership) Done() <-chan struct{} { return m.done }

func (m *membership) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *membership) Leave(ctx context.Context) error {
	m.cancel()
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *remoteStore) JoinWorkers(ctx context.Context, worker streamhub.Worker, ttl time.Duration) (streamhub.Membership, error) {
	staying, cancel := context.WithCancel(ctx)
	m := &membership{cancel: cancel, done: make(chan struct{})}
	joined := make(chan struct{})
	started := s.p.run(func() {
		defer close(m.done)
		defer cancel()
		err := readInto(staying, s, &wire.JoinWorkers{Worker: worker, TTL: ttl},
			func([]byte) ([]struct{}, error) { return make([]struct{}, 1), nil },
			func(struct{}) bool { close(joined); return true })
		if staying.Err() != nil {
			return // its own side ended it
		}
		m.mu.Lock()
		m.err = s.fail("join", "", "", err)
		m.mu.Unlock()
	})
	if !started {
		cancel()
		return nil, s.fail("join", "", "", streamhub.ErrShutdown)
	}
	select {
	case <-joined:
		return m, nil
	case <-m.done:
		if err := m.Err(); err != nil {
			return nil, err
		}
		return nil, s.fail("join", "", "", ctx.Err())
	}
}

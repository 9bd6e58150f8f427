package client

import (
	"context"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A membership lasts as long as the channel of its JoinWorkers call. err is set before done is closed, and only if the
// gateway ended the membership.
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

// Leave ends the channel, which takes the worker off the list, and waits until it is off.
func (m *membership) Leave(ctx context.Context) error {
	ctx, done := pause.Goodbye(ctx)
	defer done()
	m.cancel()
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// JoinWorkers opens a channel and returns when its only item, which is empty, says that the worker is
// on the list.
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
			return // this side ended the membership
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

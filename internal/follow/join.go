package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

const (
	defaultWorkerTTL = 30 * time.Second
	minWorkerTTL     = 100 * time.Millisecond
	maxWorkerTTL     = 24 * time.Hour
	// goodbye bounds the removal of a membership that ends; after that its ttl removes it.
	goodbye = time.Second
	// maxWorkerBytes bounds the metadata of a worker as JSON.
	maxWorkerBytes = 16 << 10
)

// A Membership keeps a worker on the list of its store.
type Membership struct {
	w        *Watcher
	key      key
	id       string
	holder   string // names this membership, so that a replaced one does not remove its successor
	metadata string
	ttl      time.Duration
	cancel   context.CancelFunc
	done     chan struct{}

	mu  sync.Mutex
	err error
}

// Join puts worker on the list of a store, where every instance sees it, and keeps it there until ctx ends,
// [Membership.Leave] is called or the watcher is closed; it is then removed at once. If this process dies, the worker
// is removed after ttl. A ttl of 0 means 30 s; otherwise it is 100 ms to 24 h. LastSeen is ignored.
//
// A worker id that joins again, here or elsewhere, replaces the earlier membership, which ends with
// [streamhub.ErrLeaseLost].
func (w *Watcher) Join(ctx context.Context, store uuid.UUID, worker streamhub.Worker, ttl time.Duration) (*Membership, error) {
	m := &Membership{
		w: w, key: key{store: store}, id: worker.ID.String(), holder: uuid.NewString(), ttl: ttl,
		done: make(chan struct{}),
	}
	metadata, err := json.Marshal(worker.Metadata)
	m.metadata = string(metadata)
	switch {
	case err != nil:
	case ttl == 0:
		m.ttl = defaultWorkerTTL
	case ttl < minWorkerTTL || ttl > maxWorkerTTL:
		err = fmt.Errorf("%w: the ttl of a worker is between %v and %v, not %v", streamhub.ErrInvalidArgument, minWorkerTTL, maxWorkerTTL, ttl)
	}
	for k, v := range worker.Metadata {
		if err == nil && (!utf8.ValidString(k) || !utf8.ValidString(v)) {
			err = fmt.Errorf("%w: the metadata of a worker is not UTF-8: %.64q is %.64q", streamhub.ErrInvalidArgument, k, v)
		}
	}
	if err == nil && len(metadata) > maxWorkerBytes {
		err = fmt.Errorf("%w: the metadata of a worker has %d bytes, the limit is %d", streamhub.ErrTooLarge, len(metadata), maxWorkerBytes)
	}
	if err == nil {
		err = m.renew(ctx, "join")
	}
	if err != nil {
		return nil, m.key.fail("join", err)
	}
	keeping, done := w.scope(ctx)
	m.cancel = done
	if !w.tasks.Go(func() { m.keep(keeping) }) {
		done()
		close(m.done)
		_ = m.leave(ctx) // the ttl does it otherwise
		return nil, m.key.fail("join", streamhub.ErrShutdown)
	}
	return m, nil
}

// Done is closed when the membership has ended.
func (m *Membership) Done() <-chan struct{} { return m.done }

// Err returns why the membership ended. It is nil while the membership lasts, and also if this side ended it.
func (m *Membership) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Leave removes the worker from the list and ends the membership. It does not remove a worker that another holder has
// taken over. It may be called again. It outlasts ctx by at most a second.
func (m *Membership) Leave(ctx context.Context) error {
	ctx, done := pause.Goodbye(ctx)
	defer done()
	m.cancel()
	select {
	case <-m.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return m.key.fail("leave", m.leave(ctx))
}

func (m *Membership) leave(ctx context.Context) error {
	_, err := m.w.send(ctx, leaveScript, m.key.store, m.id, m.holder)
	return err
}

func (m *Membership) renew(ctx context.Context, mode string) error {
	v, err := m.w.send(ctx, joinScript, m.key.store, m.id, m.holder, m.ttl.Milliseconds(), m.metadata, mode)
	if err == nil && v == "LOST" {
		return fmt.Errorf("%w: the worker joined again elsewhere, under the same id", streamhub.ErrLeaseLost)
	}
	return err
}

// keep renews the membership at each third of the ttl, and more often while renewals fail. A renewal adds the worker
// again if Redis has lost the list.
func (m *Membership) keep(ctx context.Context) {
	defer close(m.done)
	defer m.cancel()
	var failing = pauses()
	for next := m.ttl / 3; pause.For(ctx, next); {
		err := m.renew(ctx, "renew")
		switch {
		case err == nil:
			next = m.ttl / 3
			failing.Reset()
		case errors.Is(err, streamhub.ErrLeaseLost):
			m.mu.Lock()
			m.err = m.key.fail("renew", err)
			m.mu.Unlock()
			return
		default:
			next = 0
			failing.Wait(ctx)
		}
	}
	// ctx has ended, so the removal has its own short deadline.
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if err := m.leave(bye); err != nil {
		m.w.opt.Logger.Warn("a worker could not leave", "worker", m.id, "error", err)
	}
}

package livestream

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// farewell bounds the last calls of a manager that is being closed, for its producers and readers.
const farewell = 2 * time.Second

// A Manager is all that one process needs for the live streams in one Redis. It is safe for
// concurrent use.
type Manager struct {
	conn     *redisx.Conn
	log      *hotlog.Log
	watcher  *follow.Watcher
	opt      live.Options
	instance string // names this manager among the instances that count readers; random, so a restarted process has another name

	tasks *drain.Group
	ctx   context.Context // ends when Close has made its last calls

	chunks atomic.Int64

	// mu guards the fields below, and every space and lobby in them. A goroutine that holds the lock of a producer may
	// take mu, never the other way round.
	mu      sync.Mutex
	closing bool
	spaces  map[spaceKey]*space
	lobbies map[spaceKey]*lobby
	// ready has the producers with pending chunks and no append in flight. due is when the first of them has waited for
	// MaxDelay; it is zero after a batch has left.
	ready map[*Producer]struct{}
	due   time.Time
	// Each of these holds one signal for publish: sooner says that due is earlier than before, full that ready
	// chunks have to leave.
	sooner chan struct{}
	full   chan struct{}
}

// Open starts a manager on conn, log and watcher, which stay the caller's and are closed after it.
// It sends nothing as long as there is no producer and no reader. ctx bounds the opening only.
func Open(ctx context.Context, conn *redisx.Conn, log *hotlog.Log, watcher *follow.Watcher, options *live.Options) (*Manager, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := &Manager{
		conn: conn, log: log, watcher: watcher, instance: rand.Text(),
		spaces: map[spaceKey]*space{}, lobbies: map[spaceKey]*lobby{}, ready: map[*Producer]struct{}{},
		sooner: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	if options != nil {
		m.opt = *options
	}
	fill(&m.opt)
	m.tasks = drain.New(ctx)
	m.ctx = m.tasks.Context()
	m.tasks.Go(m.publish)
	return m, nil
}

// Close ends the generations that are produced here with the verdict lost, so that their readers
// need not wait for it. It waits for the goroutines of the manager and for the callbacks that run.
// It takes two seconds at most where Redis does not answer. Calling it again does nothing.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return nil
	}
	// From here on attach refuses new producers, so the list below is complete.
	m.closing = true
	var producers []*Producer
	for _, w := range m.spaces {
		for p := range w.producers {
			producers = append(producers, p)
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(m.ctx, farewell)
	defer cancel()
	var ending sync.WaitGroup
	for _, p := range producers {
		ending.Go(func() {
			// Before End, because a producer that has ended its generation gets no call of OnCancel.
			p.notifyStop(streamhub.ErrShutdown)
			err := p.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "the producer's process is shutting down"})
			if err != nil {
				m.opt.Logger.Warn("a live stream has no verdict yet", "id", p.id, "error", err)
			}
			p.stop(streamhub.ErrShutdown)
		})
	}
	ending.Wait()
	m.tasks.Close()
	return nil
}

func (m *Manager) isClosing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closing
}

// checkOpen returns nil until Close has made its last calls, and then ErrShutdown. Reading calls need it; the log and
// the watcher refuse appends and followers themselves.
func (m *Manager) checkOpen() error {
	if m.ctx.Err() != nil {
		return streamhub.ErrShutdown
	}
	return nil
}

// Chunks returns how many chunks this manager has published.
func (m *Manager) Chunks() int64 { return m.chunks.Load() }

// MaxChunkBytes returns the limit of a chunk.
func (m *Manager) MaxChunkBytes() int { return m.opt.MaxChunkBytes }

// Waiting returns how many callers wait for a stream that has not been registered.
func (m *Manager) Waiting() (callers int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lobbies {
		for _, a := range l.waiting {
			callers += a.callers
		}
	}
	return callers
}

// A spaceKey names a space of a store.
type spaceKey struct {
	store uuid.UUID
	space string
}

// Streams returns the live streams of one space. It costs nothing and needs no closing.
func (m *Manager) Streams(store uuid.UUID, space string) *Streams {
	return &Streams{m: m, spaceKey: spaceKey{store, space}, log: m.log.Store(store)}
}

// Streams are those of package live, in one space.
type Streams struct {
	spaceKey
	m   *Manager
	log *hotlog.Store
}

var (
	_ live.Streams  = (*Streams)(nil)
	_ live.Stream   = (*Stream)(nil)
	_ live.Producer = (*Producer)(nil)

	_ live.RemoteProducer = (*remote)(nil)
)

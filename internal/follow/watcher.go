package follow

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Options configure a [Watcher]; nil stands for the defaults.
type Options struct {
	// Recheck is how often the watcher asks Redis for changes, with one command for each followed space. It bounds the
	// delay that a lost notification causes. The default is 5 s.
	Recheck time.Duration
	// PingInterval is how long the Pub/Sub connection may be silent before it is pinged; after two
	// such intervals without any answer it is replaced. The default is 2 s.
	PingInterval time.Duration
	// BufferBytes is roughly how many bytes of one followed segment are kept in memory for its followers, besides the
	// page read last. The default is 4 MiB.
	BufferBytes int
	// TotalBufferBytes bounds all windows together, except for the page read last of each segment
	// that has a slow follower. The default is 64 MiB.
	TotalBufferBytes int
	// Logger receives background failures, which no call returns; the default discards them.
	Logger *slog.Logger
}

// maxReads is how many reads of topics run at once; the same number of reads of followers may run in addition.
const maxReads = 8

// A Watcher follows segments of one Redis for one process. It is safe for concurrent use.
type Watcher struct {
	conn       *redisx.Conn
	log        *hotlog.Log
	opt        Options
	subscriber *subscriber

	// delivered is called with the timestamp of the first entry of each new batch, unless it is nil.
	delivered func(ctx context.Context, appended time.Time)

	walkers              *walkers
	topicReads, ownReads chan struct{}
	buffered             atomic.Int64 // bytes in all windows

	tasks *drain.Group
	ctx   context.Context // of tasks: ends when Close begins

	mu     sync.Mutex // locked before every other lock
	topics map[key]*topic
	feeds  map[key]*feed
	spaces map[key]*space
	crews  map[uuid.UUID]*crew
}

// Open starts a watcher on conn and log, which stay the caller's. It sends nothing as long as there is no follower. The
// client of conn should honour the deadline of a context; in go-redis that is the option ContextTimeoutEnabled.
// Otherwise a call to a Redis that hangs lasts as long as the read timeout of the client. ctx bounds the opening only.
func Open(ctx context.Context, conn *redisx.Conn, log *hotlog.Log, options *Options) (*Watcher, error) {
	w := &Watcher{
		conn: conn, log: log, walkers: newWalkers(),
		topicReads: make(chan struct{}, maxReads),
		ownReads:   make(chan struct{}, maxReads),
		topics:     map[key]*topic{},
		feeds:      map[key]*feed{},
		spaces:     map[key]*space{},
		crews:      map[uuid.UUID]*crew{},
	}
	if options != nil {
		w.opt = *options
	}
	option.Default(&w.opt.Recheck, 5*time.Second)
	option.Default(&w.opt.PingInterval, 2*time.Second)
	option.Default(&w.opt.BufferBytes, 4<<20)
	option.Default(&w.opt.TotalBufferBytes, 64<<20)
	option.Logger(&w.opt.Logger)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The watcher outlives the context of its opening, and ends with Close.
	w.tasks = drain.New(ctx)
	w.ctx = w.tasks.Context()
	w.subscriber = newSubscriber(conn, w.opt.PingInterval, w.opt.Logger, w.recheckAll)
	w.tasks.Go(func() { w.subscriber.run(w.ctx) })
	return w, nil
}

// Close ends every follower and subscription with [streamhub.ErrShutdown], removes the workers that joined here from
// the list, which may take a second, and waits for the goroutines of the watcher. It does not wait for the callers of
// the followers. Calling it again does nothing.
func (w *Watcher) Close() error {
	w.tasks.Close()
	return nil
}

// recheckAll requests a re-check of every followed space.
func (w *Watcher) recheckAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.spaces {
		s.poke()
	}
}

// scope returns a context for one follower: it ends with ctx and with the watcher.
func (w *Watcher) scope(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(w.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// ended returns why a context of scope has ended; outer is the context from which it was made.
func (w *Watcher) ended(outer context.Context) error {
	if err := outer.Err(); err != nil {
		return err
	}
	return streamhub.ErrShutdown
}

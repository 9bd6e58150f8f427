package hotlog

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// The appender sends the appends of all goroutines of this process. A segment has at most one frame in flight; requests
// that arrive meanwhile share the next frame. No request is delayed to fill a batch: a request that finds its lane free
// is sent at once.

const (
	laneFlights = 2        // batches of a lane in flight at the same time
	callFrames  = 128      // maximum of frames in one call of the script
	callBytes   = 1 << 20  // approximate maximum of bytes in one call
	batchFrames = 512      // maximum of frames in one batch
	sharedBytes = 64 << 10 // appends share a frame only up to this size
	maxTails    = 1 << 17  // segments that are remembered while idle
)

// A request is one append. Its fields up to done do not change after it is submitted.
type request struct {
	place
	id    uuid.UUID
	named bool // the caller chose the id and so may send it again
	// sum is the checksum of body. For a request that is not named it is computed late, under appender.mu: when an
	// error is to return the id to the caller; see sign.
	sum        uint32
	records    int
	body       []byte // records, encoded
	expect     uint64
	generation uint64
	// incarnation is the incarnation for which the append is meant, 0 for any.
	incarnation uint64
	producer    *streamhub.Producer // nil for the appender's own
	opt         orderOptions
	plain       bool // may share a frame
	// remote says that the append is from another process, which knows of the position known; see Submission.
	remote     bool
	known      streamhub.Position
	durability streamhub.Durability
	// overQuota is the quota error of the append, nil while the store is within its quota. With it the append is sent
	// as check-only, because it may be a repeat.
	overQuota error

	done   chan struct{} // closed when result and err are set
	result streamhub.AppendResult
	err    error

	// appender.mu guards the fields below.

	// sent says that the request is in a frame. From then on the end of its context leaves the
	// outcome unknown.
	sent      bool
	open      bool // in appender.open
	answered  bool
	withdrawn bool // its caller left before it was sent
	// waiters is how many callers wait for the request: repeats under the same id wait for the same
	// one. If the last of them leaves before the request is sent, it is withdrawn.
	waiters int
	same    *request // the request in flight that this one repeats
	after   *request // the previous request, on which this one depends
}

// A tail is what the appender knows about the end of one segment. It is guarded by appender.mu. While a frame is in
// flight, its sender uses the keys and the incarnation without the lock; nothing else changes them then.
type tail struct {
	place
	incarnation uint64
	pinned      bool // the incarnation has been seen in Redis
	// epoch and seq are the epoch and seq of the next frame under this process's own producer.
	epoch, seq uint64
	// position is the position of the last acknowledged record in this incarnation.
	position streamhub.Position
	// mixed says that position is not from a frame of the appender's own producer. Then a missing row of that producer
	// does not reveal the loss of the position.
	mixed bool
	// owed is the error about the earlier incarnation that the next caller of this process gets.
	owed     error
	queue    []*request
	busy     bool // a frame is in flight
	stopping bool // a request was not made that others in the queue may depend on
	listed   bool // in the ready list of a lane
	// metaArg and logKey are the keys of the segment as arguments; logKey belongs to the incarnation logOf.
	metaArg, logKey any
	logOf           uint64
	// seen is the head after the last frame of this process, or the zero head if it is unknown.
	seen   head
	seenAt time.Time
	rest   int // frames for which the short way is not tried
	// unheard says that the last notice had no listener, so that the next one need not contain its frame.
	unheard bool
	// doubts are frames with this seq that got no answer. At most one was stored.
	doubts []doubt
	kept   []answer
	used   time.Time // when a frame was last made
}

// An appender is the sending half of a log; all appends of the process go through it.
type appender struct {
	log      *Log
	calls    atomic.Int64 // calls of the append script, repeats included
	vouchers vouchers
	row      string // "p:~<id>": the row of this process's own producer in every segment

	mu        sync.Mutex
	tails     map[string]*tail // by meta key
	limit     int              // number of tails at which idle ones are dropped
	lanes     map[laneKey]*lane
	laneLimit int                  // number of lanes at which idle ones are dropped
	open      map[openKey]*request // requests without an answer that a caller may repeat
	listed    map[string]struct{}  // spaces that this process has registered
	// epochs is the last epoch that was assigned to any segment. So a segment that was forgotten and is used again gets
	// a higher epoch than its row in Redis.
	epochs uint64
}

func newAppender(l *Log) *appender {
	id := newID()
	return &appender{
		log: l, row: "p:~" + hex16(proofOf(id)),
		vouchers: vouchers{of: map[uint64]*voucher{}},
		tails:    map[string]*tail{}, limit: maxTails, lanes: map[laneKey]*lane{}, laneLimit: maxLanes, open: map[openKey]*request{}, listed: map[string]struct{}{},
	}
}

func newID() uuid.UUID { return uuid.New() }

// do makes one append. The caller carries it to Redis itself if its lane is free; see lead.go.
func (a *appender) do(ctx context.Context, req *request) (streamhub.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return streamhub.AppendResult{}, err
	}
	one := [1]*request{req}
	a.mu.Lock()
	a.queue(one[:])
	if !a.lead(ctx, one[0]) {
		a.wakeFor(one[:])
	}
	a.mu.Unlock()
	return a.wait(ctx, one[0])
}

// submit queues requests and has them sent; see queue.
func (a *appender) submit(requests []*request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue(requests)
	a.wakeFor(requests)
}

// queue puts requests into the queues of their segments; nil ones are skipped. A request that repeats one in flight is
// replaced by that one in the slice, so that its caller waits for the same answer. It runs under appender.mu.
func (a *appender) queue(requests []*request) {
	for i, req := range requests {
		if req == nil {
			continue
		}
		g := a.tail(req.place)
		if req.named {
			var queue bool
			if requests[i], queue = a.repeat(g, req); !queue {
				if requests[i] != req {
					req.same = requests[i]
				}
				continue
			}
		}
		req.waiters = 1
		g.queue = append(g.queue, req)
		a.list(g)
	}
}

// wakeFor wakes the lanes of requests. It runs under appender.mu.
func (a *appender) wakeFor(requests []*request) {
	for _, req := range requests {
		if req == nil {
			continue
		}
		if l := a.lanes[a.laneKey(req.place, req.durability)]; l != nil {
			a.wake(l)
		}
	}
}

// wait returns the answer to req. If ctx ends first, a request that was not sent is withdrawn and did not happen. A
// request that was sent has an unknown outcome. It stays in flight, and is remembered so that a repeat finds it.
func (a *appender) wait(ctx context.Context, req *request) (streamhub.AppendResult, error) {
	select {
	case <-req.done:
		return req.result, req.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// It may have been answered before the lock was free.
	select {
	case <-req.done:
		return req.result, req.err
	default:
	}
	req.waiters--
	if g := a.tails[req.meta(req.segment)]; !req.sent && req.waiters == 0 {
		for i, r := range g.queue {
			if r == req {
				g.queue = append(g.queue[:i], g.queue[i+1:]...)
				req.withdrawn, g.stopping = true, true
				a.forgetOpen(g, req)
				return streamhub.AppendResult{}, ctx.Err()
			}
		}
	} else if !req.open {
		req.sign()
		a.keepOpen(g, req)
	}
	// A check stores nothing, so its outcome does not matter.
	if req.opt.CheckOnly {
		return streamhub.AppendResult{}, ctx.Err()
	}
	return streamhub.AppendResult{}, &streamhub.UnknownOutcomeError{TRX: req.id, Err: ctx.Err()}
}

// finish answers a request.
func (a *appender) finish(g *tail, r *request, result streamhub.AppendResult, err error) {
	if r.open {
		a.forgetOpen(g, r)
		// What was not stored may be sent again like any other append, so only results are remembered.
		if r.producer == nil && result.Position != (streamhub.Position{}) {
			g.keep(answer{r.id, r.sum, result})
		}
	}
	// Drop the records, and the link after, which would keep all earlier requests in memory.
	r.result, r.err, r.body, r.after, r.answered = result, err, nil, nil, true
	g.stopping = g.stopping || r.stops()
	close(r.done)
}

// tail returns the tail of a segment, and makes it if need be. It drops idle tails if there are too many.
func (a *appender) tail(at place) *tail {
	key := at.meta(at.segment)
	if g := a.tails[key]; g != nil {
		return g
	}
	if len(a.tails) >= a.limit {
		a.evict(maxTails / 2)
		// Busy tails stay, so the limit is raised: otherwise each new tail would cause another eviction.
		a.limit = max(maxTails, len(a.tails)+maxTails/2)
	}
	g := &tail{place: at, metaArg: key}
	a.reset(g)
	a.tails[key] = g
	return g
}

// evict drops idle tails until left are left. Tails with answers that a repeat may still need go last; tails with
// doubts go only when they are old.
func (a *appender) evict(left int) {
	old := time.Now().Add(-keptFor)
	for _, all := range [...]bool{false, true} {
		for key, g := range a.tails {
			if len(a.tails) <= left {
				return
			}
			if g.idle() && (g.used.Before(old) || len(g.doubts) == 0 && (all || len(g.kept) == 0)) {
				delete(a.tails, key)
			}
		}
	}
}

func (g *tail) idle() bool { return !g.busy && !g.listed && len(g.queue) == 0 }

// reset forgets which incarnation of the segment was seen, and proposes a new one. The new epoch invalidates a row that
// this process may have left there.
func (a *appender) reset(g *tail) {
	g.pinned, g.incarnation, g.position, g.seen, g.kept = false, proofOf(newID()), streamhub.Position{}, head{}, nil
	g.mixed = false
	a.renew(g)
}

// renew starts the row of this process in the segment over, with a higher epoch. A late copy of an
// older frame is then refused.
func (a *appender) renew(g *tail) {
	a.epochs++
	g.epoch, g.seq, g.doubts = a.epochs, 0, nil
}

// logArg is the key of the log of the incarnation. It is kept as an interface value, so that an
// append does not allocate it.
func (g *tail) logArg() any {
	if g.logKey == nil || g.logOf != g.incarnation {
		g.logKey, g.logOf = g.log(g.segment, g.incarnation), g.incarnation
	}
	return g.logKey
}

// Calls returns how many calls of the append script this log has sent, those that were repeated among them. One call
// carries the appends that are made at the same time.
func (l *Log) Calls() int64 { return l.appender.calls.Load() }

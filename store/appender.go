package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// The appender sends what the goroutines of this process append. A segment has at most one frame
// on its way; what arrives meanwhile waits and leaves with the next one. Nothing ever waits for
// company: a request that finds its lane free is sent at once.

const (
	laneFlights = 2        // batches of a lane that are on their way at the same time
	callFrames  = 128      // most frames in one call of the script
	callBytes   = 1 << 20  // and about as many bytes
	batchFrames = 512      // most frames in one batch
	sharedBytes = 64 << 10 // a frame that several appends share is not made larger than this
	maxTails    = 1 << 14  // segments that are remembered while idle
	keptAnswers = 64       // answers kept for callers that left without one, by segment
)

// A request is one append. Its fields up to done do not change once it is submitted.
type request struct {
	place
	id         uuid.UUID
	records    int
	body       []byte // records, encoded
	expect     uint64
	generation uint64
	producer   *streamhub.Producer // nil for the appender's own
	opt        orderOptions
	plain      bool // may share a frame
	durability streamhub.Durability

	done   chan struct{} // closed when result and err are set
	result streamhub.AppendResult
	err    error

	sent      bool // guarded by appender.mu, as is abandoned
	abandoned bool // its caller was told that the outcome is unknown
}

// A tail is what the appender knows of the end of one segment.
type tail struct {
	place
	incarnation uint64
	pinned      bool // the incarnation has been seen in Redis
	epoch, seq  uint64
	queue       []*request
	busy        bool // a frame is on its way
	listed      bool // in the ready list of a lane
	// doubt is the frame that carried seq and of which nothing is known.
	doubt *flight
	// kept are requests whose callers left without an answer.
	kept []*request
}

func (g *tail) idle() bool {
	return !g.busy && !g.listed && len(g.queue) == 0 && g.doubt == nil && len(g.kept) == 0
}

// A laneKey separates what may not travel together.
type laneKey struct {
	node       string // the space on a cluster, else empty
	durability streamhub.Durability
}

type lane struct {
	key     laneKey
	ready   []*tail
	again   []*flight // to be sent once more
	flights int
}

// A flight is one frame on its way.
type flight struct {
	*tail
	requests []*request
	own      bool // under the appender's own producer
	node     uuid.UUID
	frame    []byte
	order    string
	opt      orderOptions
	until    time.Time
	attempt  int
	unknown  bool // an attempt may have been executed
	cause    error
}

type appender struct {
	log *Log
	row string // "p:~<id>": the row of this process's own producer in every segment

	mu     sync.Mutex
	tails  map[string]*tail // by meta key
	lanes  map[laneKey]*lane
	listed map[string]struct{} // spaces that this process has registered
	epochs uint64
}

func newAppender(l *Log) *appender {
	id := newID()
	return &appender{
		log: l, row: "p:~" + hex16(proofOf(id)),
		tails: map[string]*tail{}, lanes: map[laneKey]*lane{}, listed: map[string]struct{}{},
	}
}

func newID() uuid.UUID { return uuid.New() }

func (a *appender) do(ctx context.Context, req *request) (streamhub.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return streamhub.AppendResult{}, err
	}
	one := [1]*request{req}
	a.submit(one[:])
	return a.wait(ctx, one[0])
}

// submit queues requests, nil ones aside. It replaces a request that repeats one whose answer is
// known or under way by that one.
func (a *appender) submit(requests []*request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, req := range requests {
		if req == nil {
			continue
		}
		g := a.tail(req.place)
		if first := g.find(req.id); first != nil {
			requests[i] = first
			continue
		}
		g.queue = append(g.queue, req)
		a.list(g)
	}
	for _, req := range requests {
		if req != nil {
			a.wake(a.lane(req.place, req.durability))
		}
	}
}

// wake starts another batch of the lane if there is work for one.
func (a *appender) wake(l *lane) {
	if l.flights >= laneFlights || len(l.ready)+len(l.again) == 0 {
		return
	}
	l.flights++
	if !a.log.start(func() { a.run(l) }) {
		l.flights--
		a.drop(l)
	}
}

// tail returns what is known of at, forgetting idle ones where there are too many.
func (a *appender) tail(at place) *tail {
	key := at.meta(at.segment)
	if g := a.tails[key]; g != nil {
		return g
	}
	if len(a.tails) >= maxTails {
		for k, g := range a.tails {
			if g.idle() {
				delete(a.tails, k)
			}
			if len(a.tails) <= maxTails/2 {
				break
			}
		}
	}
	g := &tail{place: at}
	a.reset(g)
	a.tails[key] = g
	return g
}

// reset forgets which life of the segment was seen. The new epoch makes the row that this process
// may have left in it a thing of the past.
func (a *appender) reset(g *tail) {
	g.pinned, g.incarnation = false, proofOf(newID())
	a.renew(g)
}

// renew starts the producer of the segment over.
func (a *appender) renew(g *tail) {
	a.epochs++
	g.epoch, g.seq, g.doubt = a.epochs, 0, nil
}

// find returns the earlier request with this id that is on its way or was stored.
func (g *tail) find(id uuid.UUID) *request {
	for _, r := range g.kept {
		if r.id != id {
			continue
		}
		select {
		case <-r.done:
			if r.err == nil {
				return r
			}
		default:
			return r
		}
	}
	return nil
}

// keep remembers a request whose caller has left.
func (g *tail) keep(r *request) {
	if len(g.kept) >= keptAnswers {
		g.kept = g.kept[1:]
	}
	g.kept = append(g.kept, r)
}

// list makes the segment ready to send.
func (a *appender) list(g *tail) {
	if g.busy || g.listed || len(g.queue) == 0 {
		return
	}
	g.listed = true
	l := a.lane(g.place, g.queue[0].durability)
	l.ready = append(l.ready, g)
}

func (a *appender) lane(at place, d streamhub.Durability) *lane {
	key := laneKey{durability: d}
	if a.log.conn.Cluster != nil {
		key.node = at.prefix
	}
	l := a.lanes[key]
	if l == nil {
		l = &lane{key: key}
		a.lanes[key] = l
	}
	return l
}

// wait returns the answer to req, or what ctx leaves of it.
func (a *appender) wait(ctx context.Context, req *request) (streamhub.AppendResult, error) {
	select {
	case <-req.done:
		return req.result, req.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-req.done:
		return req.result, req.err
	default:
	}
	g := a.tails[req.meta(req.segment)]
	if !req.sent {
		for i, r := range g.queue {
			if r == req {
				g.queue = append(g.queue[:i], g.queue[i+1:]...)
				return streamhub.AppendResult{}, ctx.Err()
			}
		}
	}
	if !req.abandoned {
		req.abandoned = true
		g.keep(req)
	}
	return streamhub.AppendResult{}, &streamhub.UnknownOutcomeError{TRX: req.id, Err: ctx.Err()}
}

// run sends batches of the lane until there is nothing to send.
func (a *appender) run(l *lane) {
	for {
		a.mu.Lock()
		batch := a.take(l)
		if len(batch) == 0 {
			l.flights--
			if l.flights == 0 && a.lanes[l.key] == l {
				delete(a.lanes, l.key)
			}
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		a.send(l, batch)
	}
}

// take makes the frames of the next batch.
func (a *appender) take(l *lane) []*flight {
	if a.log.ctx.Err() != nil {
		a.drop(l)
		return nil
	}
	batch := l.again
	l.again = nil
	for len(l.ready) > 0 && len(batch) < batchFrames {
		g := l.ready[0]
		l.ready = l.ready[1:]
		g.listed = false
		if g.busy || len(g.queue) == 0 {
			continue
		}
		if f := a.fill(g, l.key.durability); f != nil {
			batch = append(batch, f)
		} else {
			a.list(g) // its next request belongs to another lane
		}
	}
	return batch
}

// fill takes requests from the queue into one frame.
func (a *appender) fill(g *tail, d streamhub.Durability) *flight {
	head := g.queue[0]
	if head.durability != d {
		return nil
	}
	n, size, records := 1, len(head.body), head.records
	for n < len(g.queue) && head.plain {
		next := g.queue[n]
		size += len(next.body)
		records += next.records
		if !next.plain || next.durability != d || next.generation != head.generation ||
			size > sharedBytes || records > streamhub.MaxFrameRecords {
			break
		}
		n++
	}
	f := &flight{
		tail: g, requests: g.queue[:n:n], own: head.producer == nil, opt: head.opt,
		until: time.Now().Add(a.log.opt.RetryFor),
	}
	if g.queue = g.queue[n:]; len(g.queue) == 0 {
		g.queue = nil
	}
	g.busy = true
	for _, r := range f.requests {
		r.sent = true
	}
	f.encode(a.log.opt.Node)
	f.address(a)
	return f
}

// encode writes the frame.
func (f *flight) encode(node uuid.UUID) {
	f.node = node
	size := frameHeader + len(node)
	parts := make([]part, len(f.requests))
	for i, r := range f.requests {
		parts[i] = part{r.id, r.records, r.body}
		size += len(r.body) + 20
	}
	f.frame = appendFrame(make([]byte, 0, size), node, parts...)
}

// address writes the order of the frame for the segment as it is known now.
func (f *flight) address(a *appender) {
	mode := byte('+')
	if f.pinned {
		mode = '='
	}
	head := f.requests[0]
	row, epoch, seq := a.row, f.epoch, f.seq
	if p := head.producer; p != nil {
		row, epoch, seq = "p:"+redisx.Escape(p.ID), p.Epoch, p.Seq
		if row[2] == '~' {
			row = "p:%7E" + row[3:] // the appender's own rows begin with the plain one
		}
	}
	b := make([]byte, 0, 96)
	b = append(append(b, mode), row...)
	for _, v := range [...]uint64{epoch, seq, head.expect, head.generation} {
		b = strconv.AppendUint(append(b, ' '), v, 10)
	}
	if f.opt != (orderOptions{}) {
		text, err := json.Marshal(f.opt)
		if err != nil {
			panic(err) // strings and booleans
		}
		b = append(b, text...)
	}
	f.order = string(b)
}

// send carries a batch to Redis and deals with the answers.
func (a *appender) send(l *lane, batch []*flight) {
	type trip struct {
		call    redisx.Call
		flights []*flight
	}
	var trips []trip
	bySpace := map[string][]*flight{}
	var order []string
	for _, f := range batch {
		if bySpace[f.prefix] == nil {
			order = append(order, f.prefix)
		}
		bySpace[f.prefix] = append(bySpace[f.prefix], f)
	}
	ctx := a.log.ctx
	var client redis.UniversalClient = a.log.conn
	if l.key.durability != (streamhub.Durability{}) {
		node, err := a.log.conn.NodeFor(ctx, batch[0].timeline())
		if err != nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.failed(batch, redisx.ReadOutcome(err))
			return
		}
		client = node
	}
	a.register(ctx, batch)
	pipe := client.Pipeline()
	for _, prefix := range order {
		flights := bySpace[prefix]
		for len(flights) > 0 {
			n, size := 0, 0
			for n < len(flights) && n < callFrames && (n == 0 || size < callBytes && flights[n].opt.Parent == nil && flights[0].opt.Parent == nil) {
				size += len(flights[n].frame)
				n++
			}
			t := trip{a.call(ctx, flights[:n]), flights[:n]}
			_ = pipe.Process(ctx, t.call) // queued; the error comes with Exec
			trips = append(trips, t)
			flights = flights[n:]
		}
	}
	confirm := addWait(ctx, pipe, l.key.durability)
	_, _ = pipe.Exec(ctx) // each command has its own error
	unconfirmed := confirm()

	// The lock is held over the whole batch: callers that append again at once meet in the next.
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range trips {
		answers, err := t.call.StringSlice()
		switch {
		case redisx.IsNoScript(err):
			a.load(t.flights)
		case err != nil:
			a.failed(t.flights, redisx.Outcome(err))
		case len(answers) != len(t.flights):
			a.failed(t.flights, fmt.Errorf("%w: %d answers to %d frames", streamhub.ErrCorrupt, len(answers), len(t.flights)))
		default:
			for i, f := range t.flights {
				a.answered(f, answers[i], unconfirmed)
			}
		}
	}
}

// load puts the script where the server did not have it and sends the flights again.
func (a *appender) load(flights []*flight) {
	started := a.log.start(func() {
		err := a.log.conn.Load(a.log.ctx, a.log.append, flights[0].timeline())
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.failed(flights, redisx.ReadOutcome(err))
			return
		}
		a.resend(flights)
	})
	if !started {
		a.failed(flights, streamhub.ErrShutdown)
	}
}

// call makes the command that carries flights, all of one space.
func (a *appender) call(ctx context.Context, flights []*flight) redisx.Call {
	keys := 1 + 2*len(flights)
	parent := flights[0].opt.Parent
	if parent != nil {
		keys += 2
	}
	args := make([]any, 0, keys+2*len(flights))
	args = append(args, flights[0].timeline())
	for _, f := range flights {
		args = append(args, f.meta(f.segment), f.log(f.segment, f.incarnation))
	}
	if parent != nil {
		args = append(args, parent.metaKey, parent.forksKey)
	}
	for _, f := range flights {
		args = append(args, f.frame, f.order)
	}
	return a.log.conn.Call(ctx, a.log.append, keys, args...)
}

package hotlog

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A laneKey separates appends that may not share a batch: appends to different nodes of a cluster, and appends with
// different levels of durability, because WAIT applies to a whole connection.
type laneKey struct {
	node       string // the space on a cluster, else empty
	durability streamhub.Durability
}

// A lane carries batches of frames to one place. Its fields are guarded by appender.mu.
type lane struct {
	key laneKey
	// ready has the segments with requests and no frame in flight, in order of arrival.
	ready   []*tail
	again   []*flight // to be sent once more
	runners int       // goroutines of the lane
	parked  int       // goroutines that wait for work
	led     int       // batches that callers carry themselves; see lead.go
	prompt  bool      // the last batch was answered quickly
	// more wakes a parked goroutine. Its capacity is the number of goroutines, so that a send never
	// blocks under the lock.
	more chan struct{}
}

// flights returns how many batches of the lane are in flight.
func (l *lane) flights() int { return l.runners - l.parked + l.led }

// idle reports whether the lane has no goroutine and nothing to carry.
func (l *lane) idle() bool {
	return l.runners == 0 && l.led == 0 && len(l.ready)+len(l.again) == 0
}

// maxLanes is how many lanes are remembered while idle. On a cluster each space has one.
const maxLanes = 4096

// laneRest is how long a goroutine of a lane waits for more. Starting a goroutine for each append would cost more than
// the rest of the work for it, because its stack must grow each time.
const laneRest = time.Second

// laneKey is the key of the lane of a segment. A single server needs one lane for each durability; a
// cluster needs one for each space, because a space is in one slot.
func (a *appender) laneKey(at place, d streamhub.Durability) laneKey {
	key := laneKey{durability: d}
	if a.log.conn.Cluster != nil {
		key.node = at.prefix
	}
	return key
}

// lane returns the lane for a segment, and forgets idle lanes if there are too many.
func (a *appender) lane(at place, d streamhub.Durability) *lane {
	key := a.laneKey(at, d)
	l := a.lanes[key]
	if l == nil {
		if len(a.lanes) >= a.laneLimit {
			for key, l := range a.lanes {
				if l.idle() {
					delete(a.lanes, key)
				}
			}
			a.laneLimit = max(maxLanes, 2*len(a.lanes)) // busy ones stay, and are not looked through for each new one
		}
		l = &lane{key: key, more: make(chan struct{}, laneFlights)}
		a.lanes[key] = l
	}
	return l
}

// list puts the segment into the ready list of its lane and returns the lane, which the caller wakes.
// It returns nil if the segment has a frame on its way, is listed already, or has no request.
func (a *appender) list(g *tail) *lane {
	if g.busy || g.listed || len(g.queue) == 0 {
		return nil
	}
	g.listed = true
	// A frame has one level of durability: that of its first request says by which lane it leaves.
	l := a.lane(g.place, g.queue[0].durability)
	l.ready = append(l.ready, g)
	return l
}

// enqueue sends a flight again, with the next batch of its lane and before new frames. Its order is written again,
// because what is known of the segment may have changed. It runs under appender.mu.
func (a *appender) enqueue(f *flight) {
	f.address(a)
	l := a.lane(f.place, f.requests[0].durability)
	l.again = append(l.again, f)
	a.wake(l)
}

// wake starts another batch of the lane if there is work for one.
func (a *appender) wake(l *lane) {
	switch {
	case l == nil || len(l.ready)+len(l.again) == 0, l.flights() >= laneFlights:
	case l.parked > 0:
		// The goroutine counts as working from here on, not from when it wakes, so that the next wake does not rely on
		// it.
		l.parked--
		l.more <- struct{}{}
	default:
		l.runners++
		if !a.log.tasks.Go(func() { a.run(l) }) {
			l.runners--
			// The log is closing and starts no more goroutines, so the waiting frames are answered
			// here.
			a.drop(l)
		}
	}
}

// run sends batches of the lane until there was no work for laneRest.
func (a *appender) run(l *lane) {
	rest := time.NewTimer(laneRest)
	defer rest.Stop()
	for {
		a.mu.Lock()
		if batch := a.take(l); len(batch) > 0 {
			a.mu.Unlock()
			x := a.exchange(a.log.ctx, l.key.durability, batch)
			a.mu.Lock()
			a.settle(l, &x)
			a.mu.Unlock()
			continue
		}
		l.parked++
		a.mu.Unlock()
		rest.Reset(laneRest)
		select {
		case <-l.more:
		case <-rest.C:
			if a.leave(l) {
				return
			}
		// One that is woken at the same moment goes around once more, and take answers what waits.
		case <-a.log.ctx.Done():
			if a.leave(l) {
				return
			}
		}
	}
}

// leave ends a parked goroutine of the lane, unless it is woken at this moment.
func (a *appender) leave(l *lane) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-l.more:
		return false
	default:
	}
	l.parked--
	l.runners--
	return true
}

// take makes the frames of the next batch: first the flights to be sent again, then one frame for
// each segment that is ready. It runs under appender.mu.
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
		if !g.busy {
			a.refuseStopped(g)
			a.refuseStrays(g)
		}
		if g.busy || len(g.queue) == 0 {
			continue
		}
		if g.queue[0].durability != l.key.durability {
			a.wake(a.list(g)) // the request that it was listed for has been withdrawn
			continue
		}
		batch = append(batch, a.fill(g))
	}
	return batch
}

// drop answers the remaining requests of the lane when the log closes. A flight that may have been executed has an
// unknown outcome; everything else certainly did not happen.
func (a *appender) drop(l *lane) {
	tails := l.ready
	for _, f := range l.again {
		for _, r := range f.requests {
			err := streamhub.ErrShutdown
			if f.unknown {
				err = &streamhub.UnknownOutcomeError{TRX: r.id, Err: f.cause}
			}
			a.finish(f.tail, r, streamhub.AppendResult{}, err)
		}
		f.busy = false
		tails = append(tails, f.tail)
	}
	for _, g := range tails {
		g.listed = false
		for _, r := range g.queue {
			a.finish(g, r, streamhub.AppendResult{}, streamhub.ErrShutdown)
		}
		g.queue = nil
	}
	l.ready, l.again = nil, nil
}

// A trip is one call of a script and the flights that it carries, in the order of their answers.
type trip struct {
	call    redisx.Call
	flights []*flight
}

// An exchange is a batch with its results: the trips that were made, or an error before the first trip.
type exchange struct {
	batch []*flight
	// refused is the error if the server cannot give the level of durability, and unreachable the error if its node
	// cannot be reached.
	refused, unreachable error

	trips       []trip
	took        time.Duration
	unconfirmed error
	cut         bool // the context ended meanwhile
}

// exchange carries a batch to Redis. It runs without the lock; settle deals with the answers.
func (a *appender) exchange(ctx context.Context, level streamhub.Durability, batch []*flight) (x exchange) {
	x.batch = batch
	if x.refused = a.log.ready(ctx, level); x.refused != nil {
		return x
	}
	// WAIT counts the writes of its own connection, so a batch with a level of durability needs one
	// connection of the right node for the scripts and for WAIT.
	var client pipeliner = a.log.conn
	if level != (streamhub.Durability{}) {
		node, err := a.log.conn.NodeFor(ctx, batch[0].timeline())
		if err != nil {
			x.unreachable = redisx.ReadOutcome(err)
			return x
		}
		client = a.log.waiting(node, level)
	}
	// The names of new spaces are written before their first frame. If that fails, the frame is sent
	// all the same, and the names are written with a later one.
	a.register(ctx, batch)
	pipe := client.Pipeline()
	for _, flights := range calls(batch) {
		t := trip{a.call(ctx, flights), flights}
		_ = pipe.Process(ctx, t.call) // queued; Exec sets its error
		x.trips = append(x.trips, t)
	}
	confirm := a.log.addWait(ctx, pipe, level)
	a.calls.Add(int64(len(x.trips)))
	left := time.Now()
	_, _ = pipe.Exec(ctx) // each command has its own error
	x.took = time.Since(left)
	// There was one wait, after all calls and on their connection: its answer is for each of them.
	x.unconfirmed = confirm()
	x.cut = ctx.Err() != nil
	return x
}

// settle handles the results of a batch. It runs under appender.mu, for all answers at once, so that callers that
// append again share the next batch.
func (a *appender) settle(l *lane, x *exchange) {
	switch {
	case x.refused != nil:
		a.unsent(x.batch, x.refused)
		return
	case x.unreachable != nil:
		a.failed(x.batch, x.unreachable)
		return
	}
	l.prompt = x.took < leadTrip
	for _, t := range x.trips {
		short, text, answers := t.flights[0].isShort(), "", []string(nil)
		var err error
		if short {
			text, err = t.call.Text()
		} else {
			answers, err = t.call.StringSlice()
		}
		switch {
		case redisx.IsNoScript(err):
			// The server does not have the script, so nothing was executed.
			a.load(t.flights)
		case err != nil:
			if !x.cut { // not the deadline of a leading caller, which is short
				a.log.conn.Observe(err)
			}
			a.failed(t.flights, t.call.Outcome(err))
		case short:
			a.landedShort(t.flights, text, x.unconfirmed)
		case len(answers) != len(t.flights):
			a.failed(t.flights, errAnswers)
		default:
			for i, f := range t.flights {
				a.answered(f, answers[i], x.unconfirmed)
			}
		}
	}
}

// calls divides a batch into calls of a script. One call has short-way frames with heads of one lineage, sorted by
// space, or long-way frames of one space. A fork has its own call, because its script also gets the keys of the parent.
func calls(batch []*flight) (all [][]*flight) {
	// The order among segments does not matter: a segment has one frame in a batch.
	slices.SortStableFunc(batch, func(x, y *flight) int {
		return cmp.Or(cmp.Compare(x.short.lineage, y.short.lineage), strings.Compare(x.prefix, y.prefix))
	})
	start, size := 0, 0
	for i, f := range batch {
		if i > start {
			first := batch[start]
			full := i-start == callFrames || size >= callBytes
			apart := f.short.lineage != first.short.lineage || f.isShort() != first.isShort() || !f.isShort() && f.prefix != first.prefix
			if full || apart || f.opt.Parent != nil || first.opt.Parent != nil {
				all = append(all, batch[start:i])
				start, size = i, 0
			}
		}
		size += len(f.frame)
	}
	return append(all, batch[start:])
}

// landedShort handles the answer to the frames of one short-way call: a letter for each, and then the timestamp of each
// space. It runs under appender.mu.
func (a *appender) landedShort(flights []*flight, answer string, unconfirmed error) {
	fields := strings.Split(answer, " ")
	letters, times := fields[0], fields[1:]
	if len(letters) != len(flights) || len(times) != len(sizes(flights)) {
		a.failed(flights, errAnswers)
		return
	}
	a.vouch(flights, letters)
	for i, f := range flights {
		if i > 0 && f.prefix != flights[i-1].prefix {
			times = times[1:]
		}
		a.answeredShort(f, letters[i], times[0], unconfirmed)
	}
}

// load loads the scripts into a server that does not have them, after a restart for example, and
// sends the flights again. Nothing was stored, so this is no attempt.
func (a *appender) load(flights []*flight) {
	if flights[0].isShort() && flights[0].vouched {
		a.disown(flights)
		return
	}
	started := a.log.tasks.Go(func() {
		// Load all of them, because the first frame of a segment goes the long way and the next one the short way.
		var err error
		for _, script := range []*redisx.Script{a.log.append, a.log.short.lone, a.log.short.many} {
			if err == nil {
				err = a.log.conn.Load(a.log.ctx, script, flights[0].timeline())
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.failed(flights, redisx.ReadOutcome(err))
			return
		}
		for _, f := range flights {
			f.loads++
			a.enqueue(f)
		}
	})
	if !started {
		a.failed(flights, streamhub.ErrShutdown)
	}
}

// sizes returns how many flights in a row are of one space, for each space. It is nil for flights
// that go the long way. A call has at most 128 frames, so a byte holds each number.
func sizes(flights []*flight) (sizes []byte) {
	for i, f := range flights {
		switch {
		case !f.isShort():
			return nil
		case i > 0 && f.prefix == flights[i-1].prefix:
			sizes[len(sizes)-1]++
		default:
			sizes = append(sizes, 1)
		}
	}
	return sizes
}

// command makes the command that runs the script. If the server has lost the script again after it
// was loaded, the command carries its text.
func (a *appender) command(ctx context.Context, flights []*flight, keys int, args []any) redisx.Call {
	script := a.script(flights)
	for _, f := range flights {
		if f.loads > 1 {
			return a.log.conn.CallText(ctx, script, keys, args...)
		}
	}
	return a.log.conn.Call(ctx, script, keys, args...)
}

// call makes the command that carries flights the long way or the short way. Its KEYS and ARGV are
// those of lua/append.lua.
func (a *appender) call(ctx context.Context, flights []*flight) redisx.Call {
	first := flights[0]
	if first.isShort() {
		return a.shortCall(ctx, flights)
	}
	keys := 4 + 2*len(flights)
	args := make([]any, 0, keys+2+2*len(flights))
	args = append(args, first.timeline(), first.state(), first.inventory(), first.deadlines())
	for _, f := range flights {
		args = append(args, f.metaArg, f.logArg())
	}
	if parent := first.opt.Parent; parent != nil {
		keys += 2
		args = append(args, parent.metaKey, parent.forksKey)
	}
	for _, f := range flights {
		args = append(args, f.frame, f.order)
	}
	return a.command(ctx, flights, keys, args)
}

// shortCall makes the command for lua/short.lua or lua/lone.lua. KEYS and ARGV are those of the two.
func (a *appender) shortCall(ctx context.Context, flights []*flight) redisx.Call {
	a.choose(flights)
	if len(flights) == 1 {
		return a.loneCall(ctx, flights)
	}
	sizes := sizes(flights)
	keys := len(sizes) + 2*len(flights)
	args := make([]any, 0, keys+3+6*len(flights))
	first := 0
	for _, n := range sizes {
		args = append(args, flights[first].timeline())
		first += int(n)
	}
	flags := sizes
	for _, f := range flights {
		args = append(args, f.metaArg, f.logArg())
		flags = append(flags, f.flags())
	}
	args = append(args, a.row, flags)
	for _, f := range flights {
		args = append(args, f.frame)
		// A pointer becomes an interface without an allocation, a string does not.
		for i := range f.pieces[:pieceRef+1] {
			args = append(args, &f.pieces[i])
		}
	}
	first = 0
	for _, n := range flags[:len(flags)-len(flights)] {
		if n > 1 {
			args = append(args, changesOf(flights[first:first+int(n)]))
		}
		first += int(n)
	}
	// The scripts that check it compare it with the lineage of the server; the others have it in their
	// text.
	if !flights[0].vouched {
		args = append(args, hex16(flights[0].short.lineage))
	}
	return a.command(ctx, flights, keys, args)
}

// loneCall is shortCall for one frame.
func (a *appender) loneCall(ctx context.Context, flights []*flight) redisx.Call {
	f := flights[0]
	var lead, ref string
	if !f.unheard {
		lead = f.pieces[pieceLead]
	}
	if f.pieces[pieceRef] != f.pieces[pieceLast] {
		ref = f.pieces[pieceRef]
	}
	args := make([]any, 0, 13)
	args = append(args, f.timeline(), f.metaArg, f.logArg(), a.row, f.frame,
		&f.pieces[pieceSeen], &f.pieces[pieceHead], &f.pieces[pieceRow], &f.pieces[pieceNumber], &f.pieces[pieceLast])
	if ref != "" || lead != "" || !f.vouched {
		args = append(args, lead)
	}
	if ref != "" || !f.vouched {
		args = append(args, ref)
	}
	if !f.vouched {
		args = append(args, hex16(f.short.lineage))
	}
	return a.command(ctx, flights, 3, args)
}

package hotlog

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A flight is one frame, from the moment in which it leaves the queue until its requests have their answers. It keeps
// the segment busy. A frame that is sent again is the same flight, with the same number under its producer.
type flight struct {
	*tail
	requests []*request
	own      bool // under the appender's own producer
	node     uuid.UUID
	frame    []byte
	order    []byte
	opt      orderOptions
	// until is when retries end; see Options.RetryFor.
	until   time.Time
	attempt int
	waits   int            // how often it was refused because its slot was moving
	loads   int            // how often the script was loaded for it
	short   head           // the head that the short way writes; zero if the flight goes the long way
	pieces  [pieces]string // of the short way
	vouched bool           // the script text itself names the lineage of short
	chosen  time.Time      // when vouched was decided
	proved  bool           // the entry that the caller knows of was verified
	adopted bool           // this process had not seen the incarnation before this flight
	unknown bool           // an attempt may have been stored
	// cause is the error of the last attempt, which the callers get when the time is over.
	cause error
}

// refuseStrays refuses the requests at the head of the queue that are meant for another incarnation of the segment than
// the known one.
func (a *appender) refuseStrays(g *tail) {
	for g.owed != nil && len(g.queue) > 0 && !g.queue[0].remote {
		if g.queue[0].opt.CreateOnly {
			g.owed = nil // it begins another incarnation, or asks for the one that is there
			break
		}
		a.finish(g, g.queue[0], streamhub.AppendResult{}, g.owed)
		g.queue, g.owed = g.queue[1:], nil
	}
	if len(g.queue) > 0 && g.queue[0].remote && g.pinned && g.queue[0].incarnation != 0 && g.queue[0].incarnation != g.incarnation {
		a.reset(g) // the request or this process is out of date
	}
	for len(g.queue) > 0 && g.pinned && g.queue[0].incarnation != 0 && g.queue[0].incarnation != g.incarnation {
		a.finish(g, g.queue[0], streamhub.AppendResult{}, &streamhub.HistoryLostError{FirstLost: 1})
		g.queue = g.queue[1:]
	}
}

// fill takes requests from the queue into one frame.
func (a *appender) fill(g *tail) *flight {
	head := g.queue[0]
	n, size, records := 1, len(head.body), head.records
	for n < len(g.queue) && head.plain {
		next := g.queue[n]
		size += len(next.body)
		records += next.records
		if !next.plain || next.durability != head.durability || next.generation != head.generation || next.incarnation != head.incarnation ||
			size > sharedBytes || records > streamhub.MaxFrameRecords {
			break
		}
		n++
	}
	g.used = time.Now()
	f := &flight{
		tail: g, requests: g.queue[:n:n], own: head.producer == nil, opt: head.opt,
		until: g.used.Add(a.log.opt.RetryFor),
	}
	f.opt.MustExist = f.opt.MustExist || head.incarnation != 0 && !g.pinned
	if head.incarnation != 0 && !g.pinned {
		// The proposed incarnation may have been stored although no answer said so. With a new proposal the script
		// finds it like any other incarnation, and it is compared.
		g.incarnation = proofOf(newID())
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

// encode writes the frame, once: a frame that is sent again has the same bytes.
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

// address writes the order of the frame, as ARGV of lua/append.lua, for what is known of the segment
// now. It is repeated before each attempt.
func (f *flight) address(a *appender) {
	if f.short = (head{}); f.mayGoShort() {
		f.goShort()
		return
	}
	first, mode := f.requests[0], byte('+')
	switch {
	// The incarnation was seen in Redis, so the segment must have it.
	case f.pinned:
		mode = '='
	// The log of the incarnation that the script may find is not among the keys, so this is for a
	// single server, and for a first attempt.
	case first.incarnation == 0 && f.attempt == 0 && !f.unknown && a.log.conn.Cluster == nil:
		mode = '~'
	}
	row, epoch, seq := a.row, f.epoch, f.seq
	if p := first.producer; p != nil {
		row, epoch, seq = "p:"+redisx.Escape(p.ID), p.Epoch, p.Seq
		if row[2] == '~' {
			row = "p:~" + row[2:] // ephemeral, as the appenders' own, which are told apart by this
		}
	}
	b := make([]byte, 0, 96)
	b = append(append(b, mode), row...)
	for _, v := range [...]uint64{epoch, seq, first.expect, first.generation} {
		b = strconv.AppendUint(append(b, ' '), v, 10)
	}
	opt := f.opt
	if known := f.told(); known.Incarnation != 0 {
		opt.Told = hex16(known.Incarnation) + " " + hex16(known.Lineage) + " " + strconv.FormatUint(known.Sequence, 10)
	}
	if opt != (orderOptions{}) {
		text, err := json.Marshal(opt)
		if err != nil {
			panic(err) // strings and booleans
		}
		b = append(b, text...)
	}
	f.order = b
}

// remote reports whether the frame is from another process.
func (f *flight) remote() bool { return f.requests[0].remote }

// told returns the last position that the sender of the frame knows of. The script compares it, because its loss would
// go unnoticed otherwise. It is zero if the sender knows none, or if the missing row of this process would reveal the
// loss.
func (f *flight) told() streamhub.Position {
	switch {
	case f.proved || f.opt.CreateOnly:
	case f.remote():
		return f.requests[0].known
	case f.pinned && (f.mixed || !f.own):
		return f.position
	}
	return streamhub.Position{}
}

// answers divides the answer to a frame among its requests: each gets the sequences of its own
// records and a TRX number of its own.
func (f *flight) answers(s *storedFrame) []answer {
	answers := make([]answer, len(f.requests))
	next := s.first
	for i, r := range f.requests {
		result := streamhub.AppendResult{
			First: next, Last: next + uint64(r.records) - 1, Timestamp: millis.Time(s.timestamp),
			TRX:      streamhub.TRX{ID: r.id, Node: f.node, Number: s.number - uint64(len(f.requests)-1-i)},
			Repeated: s.repeated, Created: s.created && i == 0, Closed: s.closed, Generation: s.generation,
		}
		if s.repeated && r.producer != nil {
			result.TRX.ID = s.id
		}
		result.Position = streamhub.Position{
			Incarnation: f.incarnation, Lineage: s.lineage, Sequence: result.Last, Proof: proofOf(result.TRX.ID),
		}
		if r.records == 0 {
			result.Position.Proof = s.proof
		}
		next += uint64(r.records)
		answers[i] = answer{id: r.id, sum: r.sum, result: result}
	}
	return answers
}

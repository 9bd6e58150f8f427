package hotlog

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// This file recognises appends that a caller repeats with a TRX id that it chose or got from an
// error, for as long as this process remembers them. Appends of a named producer are recognised by
// their row in Redis instead.

const (
	keptAnswers = 64               // by segment
	keptDoubts  = 16               // by segment
	keptFor     = 10 * time.Minute // or shorter, where very many segments are appended to
)

// An answer is the remembered result of an append that may be repeated.
type answer struct {
	id     uuid.UUID
	sum    uint32
	result streamhub.AppendResult
}

// An openKey names an append under way. The same id in two segments names two appends.
type openKey struct {
	tail *tail
	id   uuid.UUID
}

// sign computes the checksum by which a repeat with other records is noticed.
func (r *request) sign() {
	if !r.named {
		r.sum = crc32.Checksum(r.body, castagnoli)
	}
}

// keepOpen lets a repeat of r find it while it is in flight. A named producer is recognised by its row instead, and a
// check stores nothing.
func (a *appender) keepOpen(g *tail, r *request) {
	if r.producer == nil && !r.opt.CheckOnly {
		r.open = true
		a.open[openKey{g, r.id}] = r
	}
}

func (a *appender) forgetOpen(g *tail, r *request) {
	if r.open {
		r.open = false
		delete(a.open, openKey{g, r.id})
	}
}

// keep remembers the results of appends.
func (g *tail) keep(answers ...answer) {
	g.kept = append(g.kept, answers...)
	// The answers of one frame stay together, also if they are more than are kept otherwise.
	if over := len(g.kept) - max(keptAnswers, len(answers)); over > 0 {
		g.kept = append(g.kept[:0], g.kept[over:]...)
	}
}

// repeat returns the request in flight that r repeats, or else r. queue is false if r has its answer, or gets it
// without being queued.
func (a *appender) repeat(g *tail, r *request) (_ *request, queue bool) {
	if r.producer != nil {
		return r, true
	}
	r.waiters = 1
	if first := a.open[openKey{g, r.id}]; first != nil {
		switch {
		case first.sum != r.sum:
			a.finish(g, r, streamhub.AppendResult{}, mismatch(r.id))
		case waits(r.durability) && r.durability != first.durability:
			first.waiters++
			a.answerAfter(g, r, first.done, func() (streamhub.AppendResult, error) { return first.result, first.err })
		default:
			first.waiters++
			return first, false
		}
		return r, false
	}
	for i := range g.kept {
		k := &g.kept[i]
		if k.id != r.id {
			continue
		}
		if k.sum != r.sum {
			a.finish(g, r, streamhub.AppendResult{}, mismatch(r.id))
			return r, false
		}
		result := k.result
		result.Repeated = true
		a.answerKnown(g, r, result)
		return r, false
	}
	a.keepOpen(g, r)
	return r, true
}

func mismatch(id uuid.UUID) error {
	return fmt.Errorf("%w: TRX %s: a repeat has the same records, another append needs another id", streamhub.ErrBatchMismatch, id)
}

// A doubt is a frame that may have been stored.
type doubt struct {
	*flight
	// digest is the checksum of its frame. The row of the producer holds it, and four dashes; see lua/frames.lua.
	digest string
}

// doubtful remembers the frame of f: if it turns out that it was stored, its requests are answered when they are sent
// again.
func (g *tail) doubtful(f *flight) {
	for _, r := range f.requests {
		r.sign()
	}
	if len(g.doubts) >= keptDoubts {
		g.doubts = append(g.doubts[:0], g.doubts[1:]...)
	}
	g.doubts = append(g.doubts, doubt{f, string(f.frame[checksumOffset : checksumOffset+4])})
	f.frame = nil
}

// doubted reports whether r repeats a request of a frame in doubt.
func (g *tail) doubted(r *request) bool {
	return r.producer == nil && !r.opt.CheckOnly && slices.ContainsFunc(g.doubts, func(d doubt) bool {
		return slices.ContainsFunc(d.requests, func(earlier *request) bool { return earlier.id == r.id })
	})
}

// resolve learns from the row of the appender's own producer that a frame in doubt was stored. The requests of f are
// sent under the next number, except those that the other frame has stored.
func (a *appender) resolve(f *flight, rest string) bool {
	_, facts, _ := cutN(rest, ' ', 2) // the epoch and seq are ours
	closed, facts, _ := strings.Cut(facts, " ")
	digest := max(len(facts)-8, 0)
	s, err := parseStored("R"+closed, facts[:digest])
	i := slices.IndexFunc(f.doubts, func(d doubt) bool { return strings.HasPrefix(facts[digest:], d.digest) })
	if err != nil || i < 0 {
		return false
	}
	doubt := f.doubts[i]
	f.doubts = nil
	f.seq++
	f.pinned = true
	answers := doubt.answers(&s)
	f.keep(answers...)
	// Another producer of this process may have been told of a later entry meanwhile.
	if last := answers[len(answers)-1].result.Position; last.Incarnation != f.position.Incarnation || last.Sequence > f.position.Sequence {
		f.position = last
	}
	known := make(map[uuid.UUID]answer, len(answers))
	for _, k := range answers {
		known[k.id] = k
	}
	f.requests = a.unstored(f.tail, f.requests, known)
	f.queue = a.unstored(f.tail, f.queue, known) // they came before this was known
	if len(f.requests) == 0 {
		a.land(f)
		return true
	}
	f.encode(a.log.opt.Node)
	a.enqueue(f)
	return true
}

// unstored answers those of requests that are among known and returns the others.
func (a *appender) unstored(g *tail, requests []*request, known map[uuid.UUID]answer) []*request {
	left := make([]*request, 0, len(requests))
	for _, r := range requests {
		k, ok := known[r.id]
		switch {
		case !ok || r.producer != nil:
			left = append(left, r)
		case r.named && k.sum != r.sum:
			a.finish(g, r, streamhub.AppendResult{}, mismatch(r.id))
		default:
			a.forgetOpen(g, r) // its answer is kept already
			a.answerKnown(g, r, k.result)
		}
	}
	return left
}

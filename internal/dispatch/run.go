package dispatch

import (
	"context"
	"fmt"
	"iter"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A Reply receives the items of a call. An error of a method ends the call, which returns that error.
type Reply interface {
	// Page takes entries. Followers at the same position get the same page; see [follow.Page.Encode].
	Page(p *port.Page) error
	// Name, Status and Workers take one item: a name of a listing, the current status, or the whole list of workers,
	// which replaces the previous one.
	Name(name string) error
	Status(s *streamhub.Status) error
	Workers(workers []streamhub.Worker) error
	// Item takes an item of any other kind.
	Item(item wire.Result) error
	// Joined says that the worker of a [wire.JoinWorkers] is on the list.
	Joined() error
}

// Run makes the call of a request, as the table says. The result is nil if the operation has none. A result and an
// error come together for [streamhub.ErrNotConfirmed], and for reads, whose result is the cursor after the last entry
// that reply took.
func Run(ctx context.Context, store *hub.Store, access Access, request wire.Request, reply Reply) (wire.Result, error) {
	if err := Allowed(access, store.ID(), request); err != nil {
		return nil, err
	}
	o := Of(request)
	if o == nil {
		return nil, fmt.Errorf("%w: %T is no request", streamhub.ErrInvalidArgument, request)
	}
	return o.run(ctx, store, request, reply)
}

// A Chain remembers the appends of one message, so that a chained append finds its predecessor. It is used by one
// goroutine at a time.
type Chain map[chainKey]*port.Submission

// A chainKey names the segment of an append. Only appends to one segment depend on each other.
type chainKey struct {
	store          uuid.UUID
	space, segment string
}

// Appends submits appends that arrived together to the hub, in their order; see [hub.Store.Submit]. wait returns
// results and errors in that order. An append that access does not allow is not submitted.
func Appends(ctx context.Context, store *hub.Store, access Access, appends []*wire.Append, chain func(i int) Chain) (wait func() ([]wire.Result, []error)) {
	results, errs := make([]wire.Result, len(appends)), make([]error, len(appends))
	submissions := make([]*port.Submission, 0, len(appends))
	places := make([]int, 0, len(appends))
	for i, a := range appends {
		if errs[i] = Allowed(access, store.ID(), a); errs[i] != nil {
			continue
		}
		// Remote: the sender is another process, which knows of the entries up to Known and of no others. An append
		// that is refused here is not part of the chain, so the next one is chained to the append before it.
		sub, key := &port.Submission{Append: a.Append, Remote: true, Known: a.Known}, chainKey{store.ID(), a.Space, a.Segment}
		if a.Chained {
			sub.After = chain(i)[key]
		}
		// The entry for the segment is the newest append of the message, chained or not.
		chain(i)[key] = sub
		submissions = append(submissions, sub)
		places = append(places, i)
	}
	done := port.Of(store).Submit(ctx, submissions)
	return func() ([]wire.Result, []error) {
		made, failed := done()
		for i, place := range places {
			results[place], errs[place] = appendResult(&made[i], failed[i]), failed[i]
		}
		return results, errs
	}
}

// onSuccess drops the result of a failed call.
func onSuccess(r wire.Result, err error) (wire.Result, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// each passes items to take until either fails.
func each[T any](items iter.Seq2[T, error], take func(T) error) error {
	for item, err := range items {
		if err == nil {
			err = take(item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// byReference adapts a method that takes a pointer to a loop over values.
func byReference[T any](take func(*T) error) func(T) error {
	return func(v T) error { return take(&v) }
}

// A Taker is a [Reply] that can also take a page from another goroutine, without blocking. Followers at the end of a
// segment are served this way; see [port.Offer]. A page that Offer refuses is passed to Page.
type Taker interface {
	Offer(p *port.Page) (taken bool)
}

// A reading passes pages on to a reply. It needs no lock: the hub never calls the offer while the
// sequence of pages yields; see [port.Offer].
type reading struct {
	reply Reply
	taker Taker            // nil if reply is not a Taker
	last  *streamhub.Entry // the last entry that reply took
}

func newReading(reply Reply) *reading {
	taker, _ := reply.(Taker)
	return &reading{reply: reply, taker: taker}
}

// offer returns the offer for the hub, or nil if the reply is not a [Taker].
func (r *reading) offer() port.Offer {
	if r.taker == nil {
		return nil
	}
	return func(p *port.Page) bool {
		// A page is never empty, so it has a last entry.
		taken := r.taker.Offer(p)
		if taken {
			r.last = &p.Entries[len(p.Entries)-1]
		}
		return taken
	}
}

// all passes pages on until they end or the reply fails. Its result is the cursor after the last entry that the reply
// took, even with an error: the client resumes there.
func (r *reading) all(pages iter.Seq2[*port.Page, error]) (wire.Result, error) {
	var failed error
	for page, err := range pages {
		if failed = err; failed == nil {
			failed = r.reply.Page(page)
		}
		if failed != nil {
			break
		}
		r.last = &page.Entries[len(page.Entries)-1]
	}
	return cursorAfter(r.last), failed
}

// cursorAfter returns the cursor after last, the last entry that was sent; nil if none was. It is a
// function of its own and not inlined, so that the stack of a follower stays small.
//
//go:noinline
func cursorAfter(last *streamhub.Entry) wire.Result {
	if last == nil {
		return nil
	}
	return wire.CursorResult(last.Cursor())
}

// join keeps the worker on the list until ctx ends.
func join(ctx context.Context, store *hub.Store, r *wire.JoinWorkers, reply Reply) error {
	m, err := store.JoinWorkers(ctx, r.Worker, r.TTL)
	if err != nil {
		return err
	}
	if err := reply.Joined(); err != nil {
		_ = m.Leave(ctx) // if this fails, the end of ctx or the ttl ends the membership
		return err
	}
	<-m.Done()
	if err := m.Err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

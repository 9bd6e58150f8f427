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

// A Reply takes what a call reads. An error of it ends the call, which returns it.
type Reply interface {
	// Page takes entries. Followers at the same place get the same page; see [follow.Page.Encode].
	Page(p *port.Page) error
	Name(name string) error
	Status(s *streamhub.Status) error
	Workers(workers []streamhub.Worker) error
	// Joined says that the worker of a [wire.JoinWorkers] is on the list.
	Joined() error
}

// Run makes the call that request stands for. The result is nil where the operation has none. A
// result and an error come together for [streamhub.ErrNotConfirmed], and for reads, whose result is
// the cursor behind the last entry that reply took.
func Run(ctx context.Context, store *hub.Store, access Access, request wire.Request, reply Reply) (wire.Result, error) {
	if err := Allowed(access, store.ID(), request); err != nil {
		return nil, err
	}
	if pages := follow(ctx, store, request); pages != nil {
		return read(pages, reply)
	}
	return list(ctx, store, request, reply)
}

// What is not on a follower's way stands apart, so that its stack stays small: there are many, and
// for days.

// follow finds what a follower goes along, nil for any other call.
//
//go:noinline
func follow(ctx context.Context, store *hub.Store, request wire.Request) iter.Seq2[*port.Page, error] {
	switch r := request.(type) {
	case *wire.Follow:
		return port.Of(store).FollowSegment(ctx, r.Space, r.Segment, &r.Options)
	case *wire.FollowSpace:
		return port.Of(store).FollowSpace(ctx, r.Space, &r.Options)
	}
	return nil
}

// list makes any other call that has many answers.
//
//go:noinline
func list(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
	switch r := request.(type) {
	case *wire.ConsumeSegment:
		return read(paged(store.ConsumeSegment(ctx, r.Space, r.Segment, &r.Options)), reply)
	case *wire.ConsumeSpace:
		return read(paged(store.ConsumeSpace(ctx, r.Space, &r.Options)), reply)
	case *wire.Consume:
		_, err := read(paged(store.Consume(ctx, r.Cursors, &r.Options)), reply)
		return nil, err // each space has a cursor of its own
	case *wire.SubscribeSegment:
		return nil, each(store.SubscribeSegment(ctx, r.Space, r.Segment), byReference(reply.Status))
	case *wire.SubscribeSpace:
		return nil, each(store.SubscribeSpace(ctx, r.Space), byReference(reply.Status))
	case *wire.Workers:
		return nil, each(store.Workers(ctx), reply.Workers)
	case *wire.JoinWorkers:
		return nil, join(ctx, store, r, reply)
	case *wire.Spaces:
		return nil, each(store.Spaces(ctx), reply.Name)
	case *wire.Segments:
		return nil, each(store.Segments(ctx, r.Space), reply.Name)
	}
	return answer(ctx, store, request)
}

// answer makes a call that has one answer.
//
//go:noinline
func answer(ctx context.Context, store *hub.Store, request wire.Request) (wire.Result, error) {
	switch r := request.(type) {
	case *wire.Append:
		result, err := store.Append(ctx, r.Space, r.Segment, r.Records, r.Options)
		return appendResult(&result, err), err
	case *wire.Create:
		status, created, err := store.Create(ctx, r.Space, r.Segment, &r.Options)
		return onSuccess(&wire.CreateResult{Created: created, Status: status}, err)
	case *wire.Delete:
		return nil, store.Delete(ctx, r.Space, r.Segment, r.Reason)
	case *wire.Trim:
		kept, err := store.Trim(ctx, r.Space, r.Segment, r.UpTo)
		return onSuccess(wire.Number(kept), err)
	case *wire.Touch:
		deadline, err := store.Touch(ctx, r.Space, r.Segment)
		return onSuccess(wire.Number(deadline), err)
	case *wire.Status:
		status, err := store.Status(ctx, r.Space, r.Segment)
		return onSuccess((*wire.StatusResult)(&status), err)
	case *wire.SpaceEnd:
		cursor, err := store.SpaceEnd(ctx, r.Space)
		return onSuccess(wire.CursorResult(cursor), err)
	case *wire.Peek:
		entry, ok, err := store.Peek(ctx, r.Space, r.Segment)
		return onSuccess(&wire.PeekResult{OK: ok, Entry: entry}, err)
	case *wire.AcquireLease:
		token, err := store.AcquireLeaseAs(ctx, r.Key, r.Holder, r.TTL)
		return onSuccess(wire.Number(token), err)
	case *wire.RenewLease:
		token, err := store.RenewLeaseAs(ctx, r.Key, r.Holder, r.TTL)
		return onSuccess(wire.Number(token), err)
	case *wire.ReleaseLease:
		had, err := store.ReleaseLeaseAs(ctx, r.Key, r.Holder)
		n := wire.Number(0)
		if had {
			n = 1
		}
		return onSuccess(n, err)
	}
	return nil, fmt.Errorf("%w: %T is no request", streamhub.ErrInvalidArgument, request)
}

// A Chain remembers the appends of one message, so that each that is chained finds the one before it.
// It is used by one goroutine at a time.
type Chain map[chainKey]*port.Submission

type chainKey struct {
	store          uuid.UUID
	space, segment string
}

// Appends gives appends that arrived together to the hub, in their order; see [hub.Store.Submit]. wait
// returns results and errors in that order. An append that is not allowed goes nowhere.
func Appends(ctx context.Context, store *hub.Store, access Access, appends []*wire.Append, chain func(i int) Chain) (wait func() ([]wire.Result, []error)) {
	results, errs := make([]wire.Result, len(appends)), make([]error, len(appends))
	submissions := make([]*port.Submission, 0, len(appends))
	places := make([]int, 0, len(appends))
	for i, a := range appends {
		if errs[i] = Allowed(access, store.ID(), a); errs[i] != nil {
			continue
		}
		sub, key := &port.Submission{Append: a.Append, Remote: true, Known: a.Known}, chainKey{store.ID(), a.Space, a.Segment}
		if a.Chained {
			sub.After = chain(i)[key]
		}
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

// appendResult is nil unless the append was stored.
func appendResult(r *streamhub.AppendResult, err error) wire.Result {
	if err != nil && streamhub.CodeOf(err) != streamhub.CodeOf(streamhub.ErrNotConfirmed) {
		return nil
	}
	return (*wire.AppendResult)(r)
}

func onSuccess(r wire.Result, err error) (wire.Result, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

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

func byReference[T any](take func(*T) error) func(T) error {
	return func(v T) error { return take(&v) }
}

func read(pages iter.Seq2[*port.Page, error], reply Reply) (wire.Result, error) {
	var last *streamhub.Entry
	var failed error
	for page, err := range pages {
		if failed = err; failed == nil {
			failed = reply.Page(page)
		}
		if failed != nil {
			break
		}
		last = &page.Entries[len(page.Entries)-1]
	}
	return behind(last), failed
}

// behind is the result of a read whose last entry this is, nil for none.
//
//go:noinline
func behind(last *streamhub.Entry) wire.Result {
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
		_ = m.Leave(ctx) // the end of ctx, or the ttl, does it otherwise
		return err
	}
	<-m.Done()
	if err := m.Err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

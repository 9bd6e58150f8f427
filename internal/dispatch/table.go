package dispatch

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A Right is one thing that the sender of a request must be allowed. Space is "" for what belongs to
// a store as a whole: the list of its spaces, its workers, its leases.
type Right struct {
	Space string
	Write bool
}

// An Operation is one row of the table: all that a gateway knows of an operation.
type Operation struct {
	Op wire.Op
	// Name is that of docs/protocol.md.
	Name string
	// Write says whether the operation needs the right to write, or the right to read.
	Write bool
	// Items says that the answer is a sequence of items, which a [Reply] takes. Such a call may last as
	// long as its context.
	Items bool

	newRequest func() wire.Request
	spaces     func(request wire.Request, yield func(space string) bool)
	run        runner
}

type runner func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error)

// operations is the table. A new operation is a message in package wire, a row here, and a method of
// the client.
var operations = []*Operation{
	one("append", write, func(r *wire.Append) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Append) (wire.Result, error) {
			result, err := store.Append(ctx, r.Space, r.Segment, r.Records, r.Options)
			return appendResult(&result, err), err
		}),
	one("create", write, func(r *wire.Create) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Create) (wire.Result, error) {
			status, created, err := store.Create(ctx, r.Space, r.Segment, &r.Options)
			return onSuccess(&wire.CreateResult{Created: created, Status: status}, err)
		}),
	one("delete", write, func(r *wire.Delete) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Delete) (wire.Result, error) {
			return nil, store.Delete(ctx, r.Space, r.Segment, r.Reason)
		}),
	one("trim", write, func(r *wire.Trim) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Trim) (wire.Result, error) {
			kept, err := store.Trim(ctx, r.Space, r.Segment, r.UpTo)
			return onSuccess(wire.Number(kept), err)
		}),
	one("touch", write, func(r *wire.Touch) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Touch) (wire.Result, error) {
			deadline, err := store.Touch(ctx, r.Space, r.Segment)
			return onSuccess(wire.Number(deadline), err)
		}),
	one("expire", write, func(r *wire.Expire) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Expire) (wire.Result, error) {
			deadline, err := store.Expire(ctx, r.Space, r.Segment, r.TTL)
			return onSuccess(wire.Number(deadline), err)
		}),
	one("status", read, func(r *wire.Status) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Status) (wire.Result, error) {
			status, err := store.Status(ctx, r.Space, r.Segment)
			return onSuccess((*wire.StatusResult)(&status), err)
		}),
	one("peek", read, func(r *wire.Peek) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Peek) (wire.Result, error) {
			entry, ok, err := store.Peek(ctx, r.Space, r.Segment)
			return onSuccess(&wire.PeekResult{OK: ok, Entry: entry}, err)
		}),
	one("space end", read, func(r *wire.SpaceEnd) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.SpaceEnd) (wire.Result, error) {
			cursor, err := store.SpaceEnd(ctx, r.Space)
			return onSuccess(wire.CursorResult(cursor), err)
		}),
	one("acquire lease", write, whole[*wire.AcquireLease],
		func(ctx context.Context, store *hub.Store, r *wire.AcquireLease) (wire.Result, error) {
			token, err := store.AcquireLeaseAs(ctx, r.Key, r.Holder, r.TTL)
			return onSuccess(wire.Number(token), err)
		}),
	one("renew lease", write, whole[*wire.RenewLease],
		func(ctx context.Context, store *hub.Store, r *wire.RenewLease) (wire.Result, error) {
			token, err := store.RenewLeaseAs(ctx, r.Key, r.Holder, r.TTL)
			return onSuccess(wire.Number(token), err)
		}),
	one("release lease", write, whole[*wire.ReleaseLease],
		func(ctx context.Context, store *hub.Store, r *wire.ReleaseLease) (wire.Result, error) {
			had, err := store.ReleaseLeaseAs(ctx, r.Key, r.Holder)
			n := wire.Number(0)
			if had {
				n = 1
			}
			return onSuccess(n, err)
		}),

	pages("consume segment", func(r *wire.ConsumeSegment) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.ConsumeSegment) iter.Seq2[*port.Page, error] {
			return paged(store.ConsumeSegment(ctx, r.Space, r.Segment, &r.Options))
		}),
	pages("consume space", func(r *wire.ConsumeSpace) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.ConsumeSpace) iter.Seq2[*port.Page, error] {
			return paged(store.ConsumeSpace(ctx, r.Space, &r.Options))
		}),
	pages("follow", func(r *wire.Follow) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Follow) iter.Seq2[*port.Page, error] {
			return port.Of(store).FollowSegment(ctx, r.Space, r.Segment, &r.Options)
		}),
	pages("follow space", func(r *wire.FollowSpace) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.FollowSpace) iter.Seq2[*port.Page, error] {
			return port.Of(store).FollowSpace(ctx, r.Space, &r.Options)
		}),
	{
		Op: wire.OpConsume, Name: "consume", Items: true,
		newRequest: func() wire.Request { return new(wire.Consume) },
		spaces: func(request wire.Request, yield func(string) bool) {
			for space := range request.(*wire.Consume).Cursors {
				if !yield(space) {
					return
				}
			}
		},
		run: func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
			r := request.(*wire.Consume)
			_, err := readAll(paged(store.Consume(ctx, r.Cursors, &r.Options)), reply)
			return nil, err // each space has a cursor of its own
		},
	},
	items("subscribe segment", read, func(r *wire.SubscribeSegment) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.SubscribeSegment, reply Reply) error {
			return each(store.SubscribeSegment(ctx, r.Space, r.Segment), byReference(reply.Status))
		}),
	items("subscribe space", read, func(r *wire.SubscribeSpace) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.SubscribeSpace, reply Reply) error {
			return each(store.SubscribeSpace(ctx, r.Space), byReference(reply.Status))
		}),
	items("spaces", read, whole[*wire.Spaces],
		func(ctx context.Context, store *hub.Store, _ *wire.Spaces, reply Reply) error {
			return each(store.Spaces(ctx), reply.Name)
		}),
	items("segments", read, func(r *wire.Segments) string { return r.Space },
		func(ctx context.Context, store *hub.Store, r *wire.Segments, reply Reply) error {
			return each(store.Segments(ctx, r.Space), reply.Name)
		}),
	items("workers", read, whole[*wire.Workers],
		func(ctx context.Context, store *hub.Store, _ *wire.Workers, reply Reply) error {
			return each(store.Workers(ctx), reply.Workers)
		}),
	items("join workers", write, whole[*wire.JoinWorkers], join),
}

const (
	read  = false
	write = true
)

// whole is the space of what concerns the store as a whole.
func whole[R wire.Request](R) string { return "" }

// one makes the row of an operation that has one answer.
func one[T any, R interface {
	*T
	wire.Request
}](name string, write bool, space func(R) string, run func(context.Context, *hub.Store, R) (wire.Result, error)) *Operation {
	return row[T](name, write, false, space,
		func(ctx context.Context, store *hub.Store, request wire.Request, _ Reply) (wire.Result, error) {
			return run(ctx, store, request.(R))
		})
}

// pages makes the row of an operation that reads entries. There are many followers, which stay for
// days: what runs stands in a function of its own, so that their stacks stay small.
func pages[T any, R interface {
	*T
	wire.Request
}](name string, space func(R) string, open func(context.Context, *hub.Store, R) iter.Seq2[*port.Page, error]) *Operation {
	return row[T](name, read, true, space,
		func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
			return readAll(open(ctx, store, request.(R)), reply)
		})
}

// items makes the row of an operation that has other items, and no result.
func items[T any, R interface {
	*T
	wire.Request
}](name string, write bool, space func(R) string, run func(context.Context, *hub.Store, R, Reply) error) *Operation {
	return row[T](name, write, true, space,
		func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
			return nil, run(ctx, store, request.(R), reply)
		})
}

func row[T any, R interface {
	*T
	wire.Request
}](name string, write, items bool, space func(R) string, run runner) *Operation {
	return &Operation{
		Op: R(new(T)).Op(), Name: name, Write: write, Items: items,
		newRequest: func() wire.Request { return R(new(T)) },
		spaces:     func(request wire.Request, yield func(string) bool) { yield(space(request.(R))) },
		run:        run,
	}
}

var byOp = func() (all [256]*Operation) {
	for _, o := range operations {
		all[o.Op] = o
	}
	return all
}()

// Operations returns every operation. The caller does not change them.
func Operations() []*Operation { return operations }

// Of returns the operation of a request, nil if the table does not have it.
func Of(request wire.Request) *Operation { return byOp[request.Op()] }

// NewRequest returns an empty request of the operation.
func (o *Operation) NewRequest() wire.Request { return o.newRequest() }

// Rights returns what the sender of a request must be allowed. A request that the table does not have
// needs the most there is.
func Rights(request wire.Request) iter.Seq[Right] {
	return func(yield func(Right) bool) {
		o := Of(request)
		if o == nil {
			yield(Right{"", write})
			return
		}
		o.spaces(request, func(space string) bool { return yield(Right{space, o.Write}) })
	}
}

// appendResult is nil unless the append was stored.
func appendResult(r *streamhub.AppendResult, err error) wire.Result {
	if err != nil && streamhub.CodeOf(err) != streamhub.CodeOf(streamhub.ErrNotConfirmed) {
		return nil
	}
	return (*wire.AppendResult)(r)
}

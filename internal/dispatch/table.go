package dispatch

import (
	"context"
	"iter"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// An Operation is one row of the table: everything that a gateway knows about an operation.
type Operation struct {
	// Op is the number of the operation on the wire. It never changes its meaning.
	Op wire.Op
	// Name is the name in docs/protocol.md.
	Name string
	// Write says whether the operation needs the right to write, or the right to read.
	Write bool
	// Items says that the answer is a sequence of items, which a [Reply] takes. Such a call may last as
	// long as its context.
	Items bool

	newRequest func() wire.Request
	// rights yields each right that the request needs. The store of the rights is left empty;
	// [Rights] sets it.
	rights func(request wire.Request, yield func(streamhub.Right) bool)
	// run makes the call, after the rights were checked.
	run runner
}

// A runner makes the call of one operation. request has the type of the row's newRequest. reply is
// used only by operations with items.
type runner func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error)

// operations is the table. A new operation is a message in package wire, a row here, and a method of
// the client.
var operations = []*Operation{
	one("append", write, func(r *wire.Append) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Append) (wire.Result, error) {
			result, err := store.Append(ctx, r.Space, r.Segment, r.Records, r.Options)
			return appendResult(&result, err), err
		}),
	forking(one("create", write, func(r *wire.Create) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Create) (wire.Result, error) {
			status, created, err := store.Create(ctx, r.Space, r.Segment, &r.Options)
			return onSuccess(&wire.CreateResult{Created: created, Status: status}, err)
		})),
	one("delete", write, func(r *wire.Delete) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Delete) (wire.Result, error) {
			return nil, store.Delete(ctx, r.Space, r.Segment, r.Reason)
		}),
	one("trim", write, func(r *wire.Trim) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Trim) (wire.Result, error) {
			kept, err := store.Trim(ctx, r.Space, r.Segment, r.UpTo)
			return onSuccess(wire.Number(kept), err)
		}),
	one("touch", write, func(r *wire.Touch) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Touch) (wire.Result, error) {
			deadline, err := store.Touch(ctx, r.Space, r.Segment)
			return onSuccess(wire.Number(millis.Of(deadline)), err)
		}),
	one("expire", write, func(r *wire.Expire) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Expire) (wire.Result, error) {
			deadline, err := store.Expire(ctx, r.Space, r.Segment, r.TTL)
			return onSuccess(wire.Number(millis.Of(deadline)), err)
		}),
	one("status", read, func(r *wire.Status) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Status) (wire.Result, error) {
			status, err := store.Status(ctx, r.Space, r.Segment)
			return onSuccess((*wire.StatusResult)(&status), err)
		}),
	one("peek", read, func(r *wire.Peek) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Peek) (wire.Result, error) {
			entry, err := store.Peek(ctx, r.Space, r.Segment)
			return onSuccess((*wire.PeekResult)(&entry), err)
		}),
	one("space end", read, func(r *wire.SpaceEnd) streamhub.Right { return streamhub.Right{Space: r.Space} },
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

	pages("consume segment", func(r *wire.ConsumeSegment) streamhub.Right {
		return streamhub.Right{Space: r.Space, Segment: r.Segment}
	},
		func(ctx context.Context, store *hub.Store, r *wire.ConsumeSegment) iter.Seq2[*port.Page, error] {
			return paged(store.ConsumeSegment(ctx, r.Space, r.Segment, &r.Options))
		}),
	pages("consume space", func(r *wire.ConsumeSpace) streamhub.Right { return streamhub.Right{Space: r.Space} },
		func(ctx context.Context, store *hub.Store, r *wire.ConsumeSpace) iter.Seq2[*port.Page, error] {
			return paged(store.ConsumeSpace(ctx, r.Space, &r.Options))
		}),
	followers("follow", func(r *wire.Follow) streamhub.Right { return streamhub.Right{Space: r.Space, Segment: r.Segment} },
		func(ctx context.Context, store *hub.Store, r *wire.Follow, offer port.Offer) iter.Seq2[*port.Page, error] {
			return port.Of(store).FollowSegment(ctx, r.Space, r.Segment, &r.Options, offer)
		}),
	followers("follow space", func(r *wire.FollowSpace) streamhub.Right { return streamhub.Right{Space: r.Space} },
		func(ctx context.Context, store *hub.Store, r *wire.FollowSpace, offer port.Offer) iter.Seq2[*port.Page, error] {
			return port.Of(store).FollowSpace(ctx, r.Space, &r.Options, offer)
		}),
	{
		Op: wire.OpConsume, Name: "consume", Items: true,
		newRequest: func() wire.Request { return new(wire.Consume) },
		rights: func(request wire.Request, yield func(streamhub.Right) bool) {
			for space := range request.(*wire.Consume).Cursors {
				if !yield(streamhub.Right{Space: space}) {
					return
				}
			}
		},
		run: func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
			r := request.(*wire.Consume)
			_, err := newReading(reply).all(paged(store.Consume(ctx, r.Cursors, &r.Options)))
			return nil, err // each space has its own cursor
		},
	},
	items("subscribe segment", read, func(r *wire.SubscribeSegment) streamhub.Right {
		return streamhub.Right{Space: r.Space, Segment: r.Segment}
	},
		func(ctx context.Context, store *hub.Store, r *wire.SubscribeSegment, reply Reply) error {
			return each(store.SubscribeSegment(ctx, r.Space, r.Segment), byReference(reply.Status))
		}),
	items("subscribe space", read, func(r *wire.SubscribeSpace) streamhub.Right { return streamhub.Right{Space: r.Space} },
		func(ctx context.Context, store *hub.Store, r *wire.SubscribeSpace, reply Reply) error {
			return each(store.SubscribeSpace(ctx, r.Space), byReference(reply.Status))
		}),
	items("spaces", read, whole[*wire.Spaces],
		func(ctx context.Context, store *hub.Store, _ *wire.Spaces, reply Reply) error {
			return each(store.Spaces(ctx), reply.Name)
		}),
	items("segments", read, func(r *wire.Segments) streamhub.Right { return streamhub.Right{Space: r.Space} },
		func(ctx context.Context, store *hub.Store, r *wire.Segments, reply Reply) error {
			return each(store.Segments(ctx, r.Space), reply.Name)
		}),
	items("workers", read, whole[*wire.Workers],
		func(ctx context.Context, store *hub.Store, _ *wire.Workers, reply Reply) error {
			return each(store.Workers(ctx), reply.Workers)
		}),
	items("join workers", write, whole[*wire.JoinWorkers], join),
}

// The values of [Operation.Write], named for the rows below.
const (
	read  = false
	write = true
)

// whole is the right to the whole store.
func whole[R wire.Request](R) streamhub.Right { return streamhub.Right{} }

// forking adds a right to the row of create: a fork contains the entries of its source, so the sender needs the right
// to read the source.
func forking(o *Operation) *Operation {
	own := o.rights
	o.rights = func(request wire.Request, yield func(streamhub.Right) bool) {
		more := true
		own(request, func(right streamhub.Right) bool { more = yield(right); return more })
		if r := request.(*wire.Create); more && r.Options.ForkOf != "" {
			yield(streamhub.Right{Space: r.Space, Segment: r.Options.ForkOf})
		}
	}
	return o
}

// one makes the row of an operation that has one answer.
func one[T any, R interface {
	*T
	wire.Request
}](name string, write bool, about func(R) streamhub.Right, run func(context.Context, *hub.Store, R) (wire.Result, error)) *Operation {
	return row[T](name, write, false, about,
		func(ctx context.Context, store *hub.Store, request wire.Request, _ Reply) (wire.Result, error) {
			return run(ctx, store, request.(R))
		})
}

// pages makes the row of an operation that reads entries up to the current end. It needs no offer, because such a read
// is never parked at the end.
func pages[T any, R interface {
	*T
	wire.Request
}](name string, about func(R) streamhub.Right, open func(context.Context, *hub.Store, R) iter.Seq2[*port.Page, error]) *Operation {
	return followers[T](name, about, func(ctx context.Context, store *hub.Store, r R, _ port.Offer) iter.Seq2[*port.Page, error] {
		return open(ctx, store, r)
	})
}

// followers makes the row of an operation that follows entries. Followers are many and stay for days:
// the closure calls a function of its own, so that the stacks of their goroutines stay small.
func followers[T any, R interface {
	*T
	wire.Request
}](name string, about func(R) streamhub.Right, open func(context.Context, *hub.Store, R, port.Offer) iter.Seq2[*port.Page, error]) *Operation {
	return row[T](name, read, true, about,
		func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
			r := newReading(reply)
			return r.all(open(ctx, store, request.(R), r.offer()))
		})
}

// items makes the row of an operation that has items of another kind and no result.
func items[T any, R interface {
	*T
	wire.Request
}](name string, write bool, about func(R) streamhub.Right, run func(context.Context, *hub.Store, R, Reply) error) *Operation {
	return row[T](name, write, true, about,
		func(ctx context.Context, store *hub.Store, request wire.Request, reply Reply) (wire.Result, error) {
			return nil, run(ctx, store, request.(R), reply)
		})
}

// row makes a row from the request type T; R, its pointer, has the methods. The type assertion in
// rights and run cannot fail: [Of] finds the row by the Op of the request, and each type has an Op of
// its own.
func row[T any, R interface {
	*T
	wire.Request
}](name string, write, items bool, about func(R) streamhub.Right, run runner) *Operation {
	return &Operation{
		Op: R(new(T)).Op(), Name: name, Write: write, Items: items,
		newRequest: func() wire.Request { return R(new(T)) },
		rights: func(request wire.Request, yield func(streamhub.Right) bool) {
			right := about(request.(R))
			right.Write = write
			yield(right)
		},
		run: run,
	}
}

func init() {
	operations = append(operations, liveOperations...)
	for _, o := range operations {
		byOp[o.Op] = o
	}
}

// byOp indexes the table by Op, which is one byte. Only init writes it.
var byOp [256]*Operation

// Operations returns every operation. The caller does not change them.
func Operations() []*Operation { return operations }

// Of returns the operation of a request, or nil if the table does not have it.
func Of(request wire.Request) *Operation { return byOp[request.Op()] }

// NewRequest returns an empty request of the operation.
func (o *Operation) NewRequest() wire.Request { return o.newRequest() }

// Rights returns the rights that the sender of a request to a store must have. A request that the
// table does not have needs the right to write the whole store: an operation without a row is refused
// rather than open.
func Rights(store uuid.UUID, request wire.Request) iter.Seq[streamhub.Right] {
	return func(yield func(streamhub.Right) bool) {
		o := Of(request)
		if o == nil {
			yield(streamhub.Right{Store: store, Write: write})
			return
		}
		o.rights(request, func(right streamhub.Right) bool {
			right.Store = store
			return yield(right)
		})
	}
}

// appendResult returns the result of a stored append, even if it was not confirmed: the result then comes together with
// [streamhub.ErrNotConfirmed]. A failed append has no result.
func appendResult(r *streamhub.AppendResult, err error) wire.Result {
	if err != nil && streamhub.CodeOf(err) != streamhub.CodeOf(streamhub.ErrNotConfirmed) {
		return nil
	}
	return (*wire.AppendResult)(r)
}

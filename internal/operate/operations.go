package operate

import (
	"context"
	"iter"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/instance"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/lease"
	"github.com/seed-147127fe/streamhub/live"
)

// Operations are the operations for operators. Their errors are those of package streamhub.
type Operations interface {
	// Leases yields the held leases of a store.
	Leases(ctx context.Context, store uuid.UUID) iter.Seq2[Lease, error]
	// Spaces returns a page of the spaces whose names follow after, in byte order. Segments does the same for the
	// statuses of the segments of a space. A page has [ListPage] items unless it is the last one.
	Spaces(ctx context.Context, store uuid.UUID, after string) ([]Space, error)
	Segments(ctx context.Context, store uuid.UUID, space, after string) ([]streamhub.Status, error)
	// Workers yields the present workers of a store, sorted by id.
	Workers(ctx context.Context, store uuid.UUID) iter.Seq2[streamhub.Worker, error]
	// Live yields the live streams of a space that have a producer; with ended, also the ended ones that are kept.
	Live(ctx context.Context, store uuid.UUID, space string, ended bool) iter.Seq2[live.Listed, error]
	// CancelLive asks the producer of a live stream to stop, and returns the verdict once there is one; see
	// [live.Stream]. Generation 0 is the current one.
	CancelLive(ctx context.Context, store uuid.UUID, space, id string, generation uint64, reason string) (streamhub.Verdict, error)
	// Subscriptions yields the subscriptions of a store, sorted by id.
	Subscriptions(ctx context.Context, store uuid.UUID) iter.Seq2[durable.Subscription, error]
	// Subscription returns a subscription with its streams, or [streamhub.ErrNotFound].
	Subscription(ctx context.Context, store uuid.UUID, id string) (durable.Subscription, error)
	// RemoveSubscription ends a subscription, or returns [streamhub.ErrNotFound].
	RemoveSubscription(ctx context.Context, store uuid.UUID, id string) error
	// Purge removes the rest of a store whose segments were deleted: spaces, their archived entries, leases and
	// subscriptions. See [hub.Store.Purge].
	Purge(ctx context.Context, store uuid.UUID) (Purged, error)
	// Instances returns the processes that have a hub on the same Redis.
	Instances(ctx context.Context) ([]hub.Instance, error)
	// Overview returns the state of Redis and of the instances, which may be two seconds old.
	Overview(ctx context.Context) (Overview, error)
}

// ListPage is how many names or statuses one page of a list has.
const ListPage = 1000

// A Space is a space that has, or had, segments.
type Space struct {
	Space string `json:"space"`
}

// A Lease is a held lease.
type Lease struct {
	Key    string `json:"key"`
	Holder string `json:"holder"`
	// Host and Process are parsed from the name of the holder, if it has them.
	Host    string `json:"host,omitempty"`
	Process string `json:"process,omitempty"`
	Token   uint64 `json:"token"`
	// Since is when the lease was acquired, in Unix milliseconds by the clock of Redis.
	Since int64 `json:"since"`
	// LeftMS is what remains of the ttl, in milliseconds.
	LeftMS int64 `json:"left_ms"`
}

// Purged is how much [Operations].Purge removed.
type Purged struct {
	Spaces        int `json:"spaces"`
	Leases        int `json:"leases"`
	Subscriptions int `json:"subscriptions"`
}

type local struct {
	hub *hub.Hub
	*lookout
}

// New returns the operations of a hub, which stays the caller's. They check no rights.
func New(h *hub.Hub) Operations { return local{h, &lookout{hub: h}} }

func (l local) Spaces(ctx context.Context, store uuid.UUID, after string) ([]Space, error) {
	names, err := port.Of(l.hub.Store(store)).SpacesAfter(ctx, after, ListPage)
	page := make([]Space, len(names))
	for i, name := range names {
		page[i].Space = name
	}
	return page, err
}

func (l local) Segments(ctx context.Context, store uuid.UUID, space, after string) ([]streamhub.Status, error) {
	return port.Of(l.hub.Store(store)).StatusesAfter(ctx, space, after, ListPage)
}

func (l local) Workers(ctx context.Context, store uuid.UUID) iter.Seq2[streamhub.Worker, error] {
	return func(yield func(streamhub.Worker, error) bool) {
		for workers, err := range l.hub.Store(store).Workers(ctx) {
			if err != nil {
				yield(streamhub.Worker{}, err)
				return
			}
			for _, w := range workers {
				if !yield(w, nil) {
					return
				}
			}
			return // a list of workers that follows is only for callers that watch
		}
	}
}

func (l local) Leases(ctx context.Context, store uuid.UUID) iter.Seq2[Lease, error] {
	return func(yield func(Lease, error) bool) {
		for held, err := range l.hub.Store(store).Leases(ctx) {
			if !yield(leaseOf(held), err) {
				return
			}
		}
	}
}

func leaseOf(l lease.Listed) Lease {
	host, process, _ := instance.Split(l.Holder)
	return Lease{l.Key, l.Holder, host, process, l.Token, l.Since().UnixMilli(), l.Left.Milliseconds()}
}

func (l local) Live(ctx context.Context, store uuid.UUID, space string, ended bool) iter.Seq2[live.Listed, error] {
	return l.hub.Store(store).LiveStreams(ctx, space, ended)
}

func (l local) CancelLive(ctx context.Context, store uuid.UUID, space, id string, generation uint64, reason string) (streamhub.Verdict, error) {
	streams := l.hub.Store(store).Live(space)
	var stream live.Stream
	var err error
	if generation > 0 {
		stream, err = streams.Generation(id, generation)
	} else {
		stream, err = streams.Get(ctx, id)
	}
	if err != nil {
		return streamhub.Verdict{}, err
	}
	return stream.Cancel(ctx, &live.CancelOptions{By: "an operator", Reason: reason})
}

func (l local) Subscriptions(ctx context.Context, store uuid.UUID) iter.Seq2[durable.Subscription, error] {
	return durable.Subscriptions(ctx, l.hub, store)
}

func (l local) Subscription(ctx context.Context, store uuid.UUID, id string) (durable.Subscription, error) {
	return durable.FindSubscription(ctx, l.hub, store, id)
}

func (l local) RemoveSubscription(ctx context.Context, store uuid.UUID, id string) error {
	return durable.RemoveSubscription(ctx, l.hub, store, id)
}

func (l local) Purge(ctx context.Context, store uuid.UUID) (p Purged, err error) {
	if p.Subscriptions, err = durable.RemoveSubscriptions(ctx, l.hub, store); err != nil {
		return p, err
	}
	gone, err := l.hub.Store(store).Purge(ctx)
	p.Leases, p.Spaces = gone.Leases, gone.Spaces
	return p, err
}

func (l local) Instances(ctx context.Context) ([]hub.Instance, error) { return l.hub.Instances(ctx) }

func (l local) Overview(ctx context.Context) (Overview, error) { return l.look(ctx) }

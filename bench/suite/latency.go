package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

func latencyRows() []row {
	return []row{
		{
			name: "append to a follower in another process, 1,000/s, p50", unit: "µs",
			contestants: []contestant{{"go-redis PUBLISH to SUBSCRIBE", published, atMost(1.5)}, {"streamhub Follow", followed(false), target{}}},
		},
		{
			name: "append to a client of a gateway, 1,000/s, p50", unit: "µs",
			contestants: []contestant{{"go-redis PUBLISH to SUBSCRIBE", published, atMost(2.2)}, {"streamhub client", followed(true), target{}}},
		},
		{
			name: "append to a follower in another process, Cluster of three masters, 1,000/s, p50", unit: "µs",
			contestants: []contestant{
				{"streamhub Follow, one server", followed(false), atMost(1.5)},
				{"streamhub Follow, Cluster", onCluster(followed(false)), target{}},
			},
		},
		{
			name: "token of a live stream to a reader at a gateway, 1,000/s, p50", unit: "µs",
			contestants: []contestant{
				{"go-redis PUBLISH to SUBSCRIBE", published, target{}},
				{"streamhub, each token at once", tokens(-1), target{}},
				{"streamhub, batches of 20 ms, the default", tokens(0), target{}},
			},
		},
	}
}

// paced sends at 1,000 a second and asks the process on the other side how old it arrived.
func paced(b *bed, p *process, send func(ctx context.Context, payload []byte) error) turn {
	return func(ctx context.Context) (sample, error) {
		n := int(*length / time.Millisecond)
		redisBefore, before := b.cpu(), p.cpu()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range n {
			<-tick.C
			if err := send(ctx, stamp()); err != nil {
				return sample{}, err
			}
		}
		if err := send(ctx, last); err != nil {
			return sample{}, err
		}
		line, err := p.out.ReadString('\n')
		if err != nil {
			return sample{}, err
		}
		var p50, p99, got int64
		if _, err := fmt.Sscan(line, &p50, &p99, &got); err != nil {
			return sample{}, err
		}
		return sample{
			Figure: float64(p50) / 1000, Redis: micros(b.cpu()-redisBefore) / float64(n), Process: micros(p.cpu()-before) / float64(n),
		}, complete(int(got), n)
	}
}

func published(ctx context.Context, b *bed) (turn, func() error, error) {
	p, err := spawn(ctx, "subscriber", b.addr)
	if err != nil {
		return nil, nil, err
	}
	client := b.raw()
	return paced(b, p, func(ctx context.Context, payload []byte) error {
		return client.Publish(ctx, "latency", payload).Err()
	}), func() error { return errors.Join(p.stop(), client.Close()) }, nil
}

// followed measures a follower in a process of its own, or a client of a gateway there.
func followed(overGateway bool) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		send := appendTo(s, "latency")
		if err := send(ctx, last); err != nil {
			return nil, done, err
		}
		if overGateway {
			return atGateway(ctx, b, "client", s, send, done)
		}
		p, err := spawn(ctx, "follower", b.url, s.ID().String())
		if err != nil {
			return nil, done, err
		}
		return paced(b, p, send), func() error { return errors.Join(p.stop(), done()) }, nil
	}
}

// tokens measures a reader of a live stream, whose producer has a hub of its own.
func tokens(maxDelay time.Duration) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.store(ctx, uuid.New(), &hub.Options{Live: &live.Options{MaxDelay: maxDelay}})
		if err != nil {
			return nil, nil, err
		}
		p, _, err := s.Live("bench").Register(ctx, "latency", nil)
		if err != nil {
			return nil, done, err
		}
		if err := p.Publish(ctx, last); err != nil {
			return nil, done, err
		}
		return atGateway(ctx, b, "reader", s, p.Publish, done)
	}
}

// atGateway measures a child that reads what is sent to a store from a gateway.
func atGateway(
	ctx context.Context, b *bed, kind string, s *hub.Store, send func(context.Context, []byte) error, done func() error,
) (turn, func() error, error) {
	g, err := spawn(ctx, "gateway", b.url)
	if err != nil {
		return nil, done, err
	}
	end := func() error { return errors.Join(g.stop(), done()) }
	p, err := spawn(ctx, kind, g.line, s.ID().String())
	if err != nil {
		return nil, end, err
	}
	return paced(b, p, send), func() error { return errors.Join(p.stop(), end()) }, nil
}

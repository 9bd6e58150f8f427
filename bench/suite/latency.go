package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
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
		send := func(ctx context.Context, payload []byte) error {
			_, err := s.Append(ctx, "bench", "latency", []streamhub.Record{{Payload: payload}}, nil)
			return err
		}
		if err := send(ctx, last); err != nil {
			return nil, done, err
		}
		kind, addr := "follower", b.url
		if overGateway {
			g, err := spawn(ctx, "gateway", b.url)
			if err != nil {
				return nil, done, err
			}
			end := done
			done = func() error { return errors.Join(g.stop(), end()) }
			kind, addr = "client", g.line
		}
		p, err := spawn(ctx, kind, addr, s.ID().String())
		if err != nil {
			return nil, done, err
		}
		return paced(b, p, send), func() error { return errors.Join(p.stop(), done()) }, nil
	}
}

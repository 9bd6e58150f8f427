package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	masters = 3
	slots   = 16384
)

// onCluster measures something on a Cluster of its own instead of the row's server.
func onCluster(open opening) opening {
	return func(ctx context.Context, _ *bed) (turn, func() error, error) {
		b, err := newCluster(ctx)
		if err != nil {
			return nil, nil, err
		}
		t, done, err := open(ctx, b)
		return t, func() error {
			if done == nil {
				return b.close()
			}
			return errors.Join(done(), b.close())
		}, err
	}
}

func newCluster(ctx context.Context) (*bed, error) {
	b, err := emptyBed()
	if err != nil {
		return nil, err
	}
	if err := b.form(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// form starts the masters and joins them to a Cluster.
func (b *bed) form(ctx context.Context) error {
	var addrs, buses []string
	for i := range masters {
		bus, err := freePort()
		if err != nil {
			return err
		}
		if err := b.start(ctx, "--cluster-enabled", "yes", "--cluster-port", bus); err != nil {
			return err
		}
		addrs, buses = append(addrs, b.servers[i].line), append(buses, bus)
	}
	b.url = "redis+cluster://" + strings.Join(addrs, ",")
	clients := make([]*redis.Client, masters)
	for i, addr := range addrs {
		clients[i] = redis.NewClient(&redis.Options{Addr: addr})
		defer clients[i].Close()
		if err := clients[i].Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return err
		}
		if err := clients[i].ClusterAddSlotsRange(ctx, i*slots/masters, (i+1)*slots/masters-1).Err(); err != nil {
			return err
		}
		for other := range i {
			host, port, _ := strings.Cut(addrs[other], ":")
			if err := clients[i].Do(ctx, "cluster", "meet", host, port, buses[other]).Err(); err != nil {
				return err
			}
		}
	}
	return eventually(time.Minute, func() error {
		for i, client := range clients {
			info, err := client.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_size:%d", masters)) {
				return fmt.Errorf("master %d: %s", i, info)
			}
		}
		return nil
	})
}

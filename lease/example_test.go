package lease_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

func ExampleManager_WithLease() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	ctx := context.Background()

	leases := lease.New(client, &lease.Options{Wait: time.Second})
	err := leases.WithLease(ctx, uuid.Nil, "archive/orders", 15*time.Second,
		func(ctx context.Context, l *lease.Lease) error {
			// Stop when ctx ends, and give the token to everything that is written.
			options := streamhub.AppendOptions{Generation: l.Token()}
			fmt.Println("holding", l.Key(), options.Generation > 0)
			return ctx.Err()
		})
	fmt.Println(err)
	// Output:
	// holding archive/orders true
	// <nil>
}

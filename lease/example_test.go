package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

// open gives a client of a Redis of its own.
func open() (*redis.Client, func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	return client, func() { _ = client.Close(); server.Close() }
}

func ExampleManager_WithLease() {
	ctx := context.Background()
	client, done := open()
	defer done()
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

// A lease that another has is refused with who has it and for how long.
func ExampleManager_Acquire() {
	ctx := context.Background()
	client, done := open()
	defer done()
	leases := lease.New(client, &lease.Options{Name: "worker-1"})
	held, err := leases.Acquire(ctx, uuid.Nil, "job-1", time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	_, err = lease.New(client, nil).Acquire(ctx, uuid.Nil, "job-1", time.Minute)
	var taken *streamhub.LeaseHeldError
	if errors.As(err, &taken) {
		fmt.Println(taken.Holder == held.Holder(), taken.Left > 0)
	}
	released, err := held.Release(ctx)
	fmt.Println(released, err)
	// Output:
	// true true
	// true <nil>
}

// A holder with a name of its own gets the same lease, and the same token, again after a restart.
func ExampleManager_AcquireAs() {
	ctx := context.Background()
	client, done := open()
	defer done()
	leases := lease.New(client, nil)
	first, err := leases.AcquireAs(ctx, uuid.Nil, "job-1", "host-a", time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	again, err := leases.AcquireAs(ctx, uuid.Nil, "job-1", "host-a", time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first == again)
	// Output:
	// true
}

// Peek is for people. What may be written is decided by the token alone.
func ExampleManager_Peek() {
	ctx := context.Background()
	client, done := open()
	defer done()
	leases := lease.New(client, nil)
	_, err := leases.Peek(ctx, uuid.Nil, "job-1")
	fmt.Println(errors.Is(err, streamhub.ErrNotFound))

	if _, err := leases.AcquireAs(ctx, uuid.Nil, "job-1", "host-a", time.Minute); err != nil {
		log.Fatal(err)
	}
	held, err := leases.Peek(ctx, uuid.Nil, "job-1")
	fmt.Println(held.Holder, err)
	// Output:
	// true
	// host-a <nil>
}

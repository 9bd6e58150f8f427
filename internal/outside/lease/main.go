// Command lease does something that only one process may do at a time.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/lease"
)

func main() {
	ctx := context.Background()
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()

	leases := lease.New(client, &lease.Options{Name: "worker-1"})
	err := leases.WithLease(ctx, uuid.Nil, "report", 5*time.Second, func(_ context.Context, l *lease.Lease) error {
		fmt.Println("token", l.Token() > 0)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

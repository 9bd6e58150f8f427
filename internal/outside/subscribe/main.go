// Command subscribe follows what another part of the program appends.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/store"
	"github.com/seed-147127fe/streamhub/subscribe"
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

	l, err := store.Open(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	w, err := subscribe.Open(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	for n := range 3 {
		if _, err := l.Store(uuid.Nil).Append(ctx, "orders", "17", []streamhub.Record{{Payload: fmt.Append(nil, n)}}, nil); err != nil {
			log.Fatal(err)
		}
	}
	for entry, err := range w.FollowSpace(ctx, uuid.Nil, "orders", &streamhub.FollowOptions{Limit: 3}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Segment, entry.Sequence)
	}
	for status, err := range w.SubscribeSegment(ctx, uuid.Nil, "orders", "17") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.LastSequence)
		break
	}
	fmt.Println("ok")
}

// Command store appends to a Redis of its own and resumes by cursor.
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

	l, err := store.Open(ctx, client, &store.Options{MaxRecordBytes: 1000})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	s := l.Store(uuid.New())
	var cursor streamhub.Cursor
	for _, text := range []string{"accepted", "packed", "shipped"} {
		r, err := s.Append(ctx, "orders", "17", []streamhub.Record{{Payload: []byte(text)}}, nil)
		if err != nil {
			log.Fatal(err)
		}
		if cursor == "" {
			cursor = r.Cursor()
		}
	}
	for entry, err := range s.ConsumeSegment(ctx, "orders", "17", &streamhub.ReadOptions{Cursor: cursor}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload))
	}
	for name, err := range s.Segments(ctx, "orders") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name)
	}
	fmt.Println("ok")
}

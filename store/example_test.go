package store_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/store"
)

// open opens a log on a Redis of its own and returns one store of it.
func open(ctx context.Context) (*store.Store, func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	l, err := store.Open(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	return l.Store(uuid.Nil), func() {
		_ = l.Close()
		_ = client.Close()
		server.Close()
	}
}

func Example() {
	ctx := context.Background()
	s, done := open(ctx)
	defer done()
	r, err := s.Append(ctx, "orders", "order-17", []streamhub.Record{
		{Payload: []byte("accepted")},
		{Payload: []byte("packed"), Metadata: map[string]string{"by": "ada"}},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored", r.First, "to", r.Last)
	for entry, err := range s.ConsumeSegment(ctx, "orders", "order-17", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s %q\n", entry.Sequence, entry.Payload, entry.Metadata["by"])
	}
	// Output:
	// stored 1 to 2
	// 1 accepted ""
	// 2 packed "ada"
}

// Several spaces are read together, each after the cursor that the reader has of it.
func ExampleStore_Consume() {
	ctx := context.Background()
	s, done := open(ctx)
	defer done()
	for _, space := range []string{"orders", "returns", "orders"} {
		if _, err := s.Append(ctx, space, "shop-1", []streamhub.Record{{Payload: []byte("changed")}}, nil); err != nil {
			log.Fatal(err)
		}
	}
	count := map[string]int{}
	cursors := map[string]streamhub.Cursor{"orders": "", "returns": ""}
	for entry, err := range s.Consume(ctx, cursors, nil) {
		if err != nil {
			log.Fatal(err)
		}
		count[entry.Space]++
		cursors[entry.Space] = entry.Cursor() // each space resumes at its own place
	}
	fmt.Println(count["orders"], count["returns"])
	// Output:
	// 2 1
}

// Entries that were appended together leave together, so a trim may keep a little more than was asked for.
func ExampleStore_Trim() {
	ctx := context.Background()
	s, done := open(ctx)
	defer done()
	for i := range 3 {
		if _, err := s.Append(ctx, "logs", "web-1", []streamhub.Record{{Payload: fmt.Append(nil, i)}}, nil); err != nil {
			log.Fatal(err)
		}
	}
	first, err := s.Trim(ctx, "logs", "web-1", 2)
	fmt.Println(first, err)
	status, err := s.Status(ctx, "logs", "web-1")
	fmt.Println(status.FirstSequence, status.LastSequence, err)
	// Output:
	// 3 <nil>
	// 3 3 <nil>
}

// A segment with a time to live is renewed by every append, and by Touch.
func ExampleStore_Touch() {
	ctx := context.Background()
	s, done := open(ctx)
	defer done()
	if _, _, err := s.Create(ctx, "sessions", "s-1", &streamhub.CreateOptions{TTL: time.Hour}); err != nil {
		log.Fatal(err)
	}
	deadline, err := s.Touch(ctx, "sessions", "s-1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(time.Until(deadline) > 59*time.Minute)
	// Output:
	// true
}

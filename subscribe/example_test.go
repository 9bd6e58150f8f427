package subscribe_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/store"
	"github.com/seed-147127fe/streamhub/subscribe"
)

// open gives a writer and a watcher on a Redis of their own.
func open(ctx context.Context) (*store.Store, *subscribe.Watcher, func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	l, err := store.Open(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	w, err := subscribe.Open(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	return l.Store(uuid.Nil), w, func() {
		_ = w.Close()
		_ = l.Close()
		_ = client.Close()
		server.Close()
	}
}

func write(ctx context.Context, s *store.Store, segment, text string) {
	if _, err := s.Append(ctx, "orders", segment, []streamhub.Record{{Payload: []byte(text)}}, nil); err != nil {
		log.Fatal(err)
	}
}

// A follower replays what is there, goes on live, and ends with the verdict of the segment.
func ExampleWatcher_FollowSegment() {
	ctx := context.Background()
	s, w, done := open(ctx)
	defer done()
	write(ctx, s, "order-17", "accepted")
	for entry, err := range w.FollowSegment(ctx, uuid.Nil, "orders", "order-17", nil) {
		var closed *streamhub.ClosedError
		if errors.As(err, &closed) {
			fmt.Println("end:", closed.Verdict.Kind)
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(entry.Payload))
		if entry.Sequence == 1 { // while it follows, another part of the program writes
			write(ctx, s, "order-17", "packed")
			if _, err := s.CloseSegment(ctx, "orders", "order-17", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); err != nil {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// accepted
	// packed
	// end: done
}

// A follower of a space sees segments that are created later.
func ExampleWatcher_FollowSpace() {
	ctx := context.Background()
	s, w, done := open(ctx)
	defer done()
	write(ctx, s, "order-1", "accepted")
	for entry, err := range w.FollowSpace(ctx, uuid.Nil, "orders", &streamhub.FollowOptions{Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Segment, string(entry.Payload))
		if entry.Segment == "order-1" {
			write(ctx, s, "order-2", "accepted")
		}
	}
	// Output:
	// order-1 accepted
	// order-2 accepted
}

// A subscription to a space says which segments there are and what becomes of them.
func ExampleWatcher_SubscribeSpace() {
	ctx := context.Background()
	s, w, done := open(ctx)
	defer done()
	write(ctx, s, "order-1", "accepted")
	for status, err := range w.SubscribeSpace(ctx, uuid.Nil, "orders") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.Segment, status.State)
		if status.State == streamhub.StateDeleted {
			break
		}
		if err := s.Delete(ctx, "orders", "order-1", "a test"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// order-1 open
	// order-1 deleted
}

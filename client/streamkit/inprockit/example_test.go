package inprockit_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/hub"
)

// open opens a hub on the Redis that is embedded, as tests of programs do; production gives a client of Redis.
func open(ctx context.Context) *hub.Hub {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h
}

// A hub takes the place of streamkit's node manager.
func ExampleNewInProcBidiStreamProvider() {
	ctx, store := context.Background(), uuid.New()
	h := open(ctx)
	defer h.Close()
	c := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	defer c.Close()
	if err := c.Publish(ctx, store, "orders", "order-17", []byte("accepted"), nil); err != nil {
		log.Fatal(err)
	}
	entry, err := c.Peek(ctx, store, "orders", "order-17")
	fmt.Println(entry.Sequence, string(entry.Payload), err)
	// Output: 1 accepted <nil>
}

// Code that comes over and code that is written for the hub share what is stored.
func ExampleNewInProcBidiStreamProvider_share() {
	ctx, store := context.Background(), uuid.New()
	h := open(ctx)
	defer h.Close()
	_, err := h.Store(store).Append(ctx, "orders", "order-17", []streamhub.Record{{Payload: []byte("new code")}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	c := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	defer c.Close()
	entry, err := c.Peek(ctx, store, "orders", "order-17")
	fmt.Println(string(entry.Payload), err)
	// Output: new code <nil>
}

// A subscriber is told of a segment as it is, and whenever it changes.
func ExampleInProcBidiStreamProvider_subscribe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, store := open(ctx), uuid.New()
	defer h.Close()
	c := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	defer c.Close()
	if err := c.Publish(ctx, store, "orders", "order-17", []byte("accepted"), nil); err != nil {
		log.Fatal(err)
	}
	statuses := make(chan *client.SegmentStatus, 10)
	subscription, err := c.SubscribeToSegment(ctx, store, "orders", "order-17", func(s *client.SegmentStatus) { statuses <- s })
	if err != nil {
		log.Fatal(err)
	}
	defer subscription.Unsubscribe()
	status := <-statuses
	fmt.Println(status.Segment, status.LastSequence)
	// Output: order-17 1
}

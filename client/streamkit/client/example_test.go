package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/hub"
)

// open gives a client of a hub in the same process; package wskit has the provider for gateways.
func open(ctx context.Context) (client.Client, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	c := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	return c, func() { _ = c.Close(); _ = h.Close() }
}

// A program of streamkit's changes its import lines.
func Example() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()
	store := uuid.New()
	for _, text := range []string{"accepted", "packed"} {
		if err := c.Publish(ctx, store, "orders", "order-17", []byte(text), nil); err != nil {
			log.Fatal(err)
		}
	}
	entries := c.ConsumeSegment(ctx, store, &client.ConsumeSegment{Space: "orders", Segment: "order-17"})
	defer entries.Dispose()
	for entries.MoveNext() {
		entry, err := entries.Current()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload))
	}
	fmt.Println(entries.Err())
	// Output:
	// 1 accepted
	// 2 packed
	// <nil>
}

// Produce takes an enumerator of records, and gives the status of the segment after each chunk.
func ExampleClient_produce() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()
	records := client.NewEnumerator(func(yield func(*client.Record, error) bool) {
		for i := range uint64(3) {
			if !yield(&client.Record{Sequence: i + 1, Payload: fmt.Append(nil, i)}, nil) {
				return
			}
		}
	})
	statuses := c.Produce(ctx, uuid.New(), "orders", "order-17", records)
	defer statuses.Dispose()
	for statuses.MoveNext() {
		status, err := statuses.Current()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.LastSequence)
	}
	fmt.Println(statuses.Err())
	// Output:
	// 3
	// <nil>
}

// A lease that another holds is an error of its own.
func ExampleClient_withLease() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()
	store := uuid.New()
	err := c.WithLease(ctx, store, "nightly", time.Minute, func(ctx context.Context) error {
		err := c.WithLease(ctx, store, "nightly", time.Minute, func(context.Context) error { return nil })
		fmt.Println(errors.Is(err, client.ErrLeaseNotAcquired))
		return nil
	})
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

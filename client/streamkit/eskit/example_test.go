package eskit_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/eskit"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/hub"
)

// example gives a store of events over a hub in the same process.
func example(ctx context.Context) (store *eskit.StreamStore, c client.Client, done func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	c = client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	return stores(c), c, func() { _ = c.Close(); _ = h.Close() }
}

// An aggregate is saved at the sequence that it was loaded at.
func ExampleNewStreamStore() {
	ctx := context.Background()
	store, _, done := example(ctx)
	defer done()
	order := eskit.Entity{ID: uuid.New(), Area: "orders", TenantID: uuid.New()}
	if err := store.SaveEvents(ctx, order, []eskit.DomainEvent{&accepted{1, "c-7"}, &shipped{2}}, 0); err != nil {
		log.Fatal(err)
	}
	events, err := store.LoadEvents(ctx, order, 0)
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range events {
		fmt.Println(event.GetSequence(), event.GetDiscriminator())
	}
	// Output:
	// 1 order_accepted
	// 2 order_shipped
}

// Of two programs that save at the same sequence one wins. The other loads what came and decides again.
func ExampleStore_SaveEvents_conflict() {
	ctx := context.Background()
	store, _, done := example(ctx)
	defer done()
	order := eskit.Entity{ID: uuid.New(), Area: "orders", TenantID: uuid.New()}
	fmt.Println(store.SaveEvents(ctx, order, []eskit.DomainEvent{&accepted{1, "c-7"}}, 0))
	err := store.SaveEvents(ctx, order, []eskit.DomainEvent{&accepted{1, "c-8"}}, 0)
	fmt.Println(errors.Is(err, streamhub.ErrSequenceMismatch))
	// Output:
	// <nil>
	// true
}

// Events that streamkit has stored are read as they are: an envelope names the type.
func ExampleStore_LoadEvents() {
	ctx := context.Background()
	store, c, done := example(ctx)
	defer done()
	order := eskit.Entity{ID: uuid.New(), Area: "orders", TenantID: uuid.New()}
	payload := `{"$type":"order_accepted","content":{"sequence":1,"customer":"c-9"}}`
	if err := c.Publish(ctx, order.TenantID, order.Area, order.ID.String(), []byte(payload), nil); err != nil {
		log.Fatal(err)
	}
	events, err := store.LoadEvents(ctx, order, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(events[0].(*accepted).Customer)
	// Output: c-9
}

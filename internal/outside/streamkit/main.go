// Streamkit is a program of streamkit's after its import lines were changed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	_ "github.com/seed-147127fe/streamhub/client/streamkit" // what the names map to
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/eskit"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/client/streamkit/wskit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

func run(ctx context.Context) (err error) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	gateway, err := wsgateway.New(ctx, h, nil)
	if err != nil {
		return err
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	defer func() { err = errors.Join(err, gateway.Shutdown(ctx)) }()

	store := uuid.New()
	writer := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	defer writer.Close()
	if err := writer.Publish(ctx, store, "orders", "order-17", []byte("accepted"), nil); err != nil {
		return err
	}
	var provider api.BidiStreamProvider = wskit.NewBidiStreamProvider("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	reader := client.NewClientWithRetryPolicy(provider, client.DefaultRetryPolicy())
	defer reader.Close()
	entries := reader.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "orders"})
	defer entries.Dispose()
	n := 0
	for entries.MoveNext() {
		entry, err := entries.Current()
		if err != nil {
			return err
		}
		if string(entry.Payload) != "accepted" {
			return fmt.Errorf("read %q", entry.Payload)
		}
		n++
	}
	if n != 1 {
		return fmt.Errorf("read %d entries: %w", n, entries.Err())
	}
	if err := entries.Err(); err != nil {
		return err
	}
	return events(ctx, writer)
}

// An accepted is an event of an order.
type accepted struct{ Sequence uint64 }

func (*accepted) GetDiscriminator() string { return "order_accepted" }
func (e *accepted) GetSequence() uint64    { return e.Sequence }

// events saves and loads an aggregate.
func events(ctx context.Context, c client.Client) error {
	store := eskit.NewStreamStore(c, func() eskit.DomainEvent { return &accepted{} })
	order := eskit.Entity{ID: uuid.New(), Area: "aggregates", TenantID: uuid.New()}
	if err := store.SaveEvents(ctx, order, []eskit.DomainEvent{&accepted{1}}, 0); err != nil {
		return err
	}
	events, err := store.LoadEvents(ctx, order, 1)
	if err == nil && len(events) != 1 {
		err = fmt.Errorf("loaded %d events", len(events))
	}
	return err
}

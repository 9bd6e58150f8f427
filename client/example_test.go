package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func Example() {
	ctx := context.Background()
	// The server: a hub, and a gateway to it, which is an http.Handler.
	h, err := hub.Open(ctx, nil, nil) // nil: an embedded Redis
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	gateway, err := wsgateway.New(ctx, h, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	defer func() { _ = gateway.Shutdown(ctx) }()

	// The client, anywhere. With more gateways it goes on at the next one when it loses one.
	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws" + strings.TrimPrefix(server.URL, "http")}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer gateways.Close()
	c := client.New(gateways, nil)
	defer c.Close()
	s := c.Store(uuid.Nil)
	for _, text := range []string{"accepted", "packed"} {
		if _, err := s.Append(ctx, "orders", "order-17", []streamhub.Record{{Payload: []byte(text)}}, nil); err != nil {
			log.Fatal(err)
		}
	}
	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", &streamhub.FollowOptions{Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload))
	}
	// Output:
	// 1 accepted
	// 2 packed
}

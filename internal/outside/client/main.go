// Command client speaks to a gateway, which it starts itself.
package main

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

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
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

	provider, err := client.NewWebSocketProvider(ctx, []string{"ws" + strings.TrimPrefix(server.URL, "http")}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	c := client.New(provider, nil)
	defer c.Close()
	s := c.Store(uuid.Nil)
	w := s.NewWriter(ctx, "orders", "17", nil)
	for n := range 1000 {
		if err := w.Write(streamhub.Record{Payload: fmt.Append(nil, n)}); err != nil {
			log.Fatal(err)
		}
	}
	if written, err := w.Close(); err != nil || written.Records != 1000 {
		log.Fatal(written, err)
	}
	count := 0
	for _, err := range s.ConsumeSpace(ctx, "orders", nil) {
		if err != nil {
			log.Fatal(err)
		}
		count++
	}
	fmt.Println(count)
	fmt.Println("ok")
}

// Command archive keeps history in an archive and checks it.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
)

func main() {
	ctx := context.Background()
	backend := archive.NewMemory()
	h, err := hub.Open(ctx, nil, &hub.Options{
		Archive:   backend,
		Archiving: tier.Options{Policy: tier.Policy{Age: time.Nanosecond}, Every: -1},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s := h.Store(uuid.Nil)
	if _, err := s.Append(ctx, "orders", "17", []streamhub.Record{{Payload: []byte("packed")}}, nil); err != nil {
		log.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond) // the entry has to be older than the policy's age
	if err := h.ArchiveNow(ctx); err != nil {
		log.Fatal(err)
	}
	report, err := archive.New(backend, nil).Verify(ctx, archive.SpaceID{Store: uuid.Nil, Space: "orders"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("entries", report.Entries)
	fmt.Println("ok")
}

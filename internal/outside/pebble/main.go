// Command pebble reads from an archive in a directory what has left Redis.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/pebble"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
)

func main() {
	ctx := context.Background()
	backend, err := pebble.Open(filepath.Join(os.TempDir(), "archive"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	h, err := hub.Open(ctx, nil, &hub.Options{Archive: backend, Archiving: tier.Options{Policy: tier.Policy{Age: time.Nanosecond}, Every: -1}})
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
	for entry, err := range s.ConsumeSegment(ctx, "orders", "17", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(entry.Payload))
	}
	fmt.Println("ok")
}

// Command hub appends to a segment and reads it back.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s := h.Store(uuid.Nil)
	if _, err := s.Append(ctx, "orders", "17", []streamhub.Record{{Payload: []byte("packed")}}, nil); err != nil {
		log.Fatal(err)
	}
	for entry, err := range s.FollowSegment(ctx, "orders", "17", &streamhub.FollowOptions{Limit: 1}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload))
	}
	fmt.Println("ok")
}

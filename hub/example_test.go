package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

func Example() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil) // nil: an embedded Redis; else any redis.UniversalClient
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s := h.Store(uuid.Nil) // one store per tenant

	for _, text := range []string{"accepted", "packed", "shipped"} {
		records := []streamhub.Record{{Payload: []byte(text)}}
		if _, err := s.Append(ctx, "orders", "order-17", records, nil); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := s.CloseSegment(ctx, "orders", "order-17", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); err != nil {
		log.Fatal(err)
	}

	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", nil) { // replay, then live
		if errors.Is(err, streamhub.ErrClosed) {
			fmt.Println(err) // the end has a reason
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload)) // entry.Cursor() resumes here, anywhere
	}
	// Output:
	// 1 accepted
	// 2 packed
	// 3 shipped
	// follow "orders"/"order-17": closed: done
}

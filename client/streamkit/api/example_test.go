package api_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/hub"
)

// A stored offset is bytes: a program keeps them and goes on after the entry that they name.
func ExampleEntry_GetSpaceOffset() {
	ctx, store := context.Background(), uuid.New()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	c := client.NewClient(inprockit.NewInProcBidiStreamProvider(ctx, h))
	defer c.Close()
	for _, text := range []string{"accepted", "packed", "shipped"} {
		if err := c.Publish(ctx, store, "orders", "order-17", []byte(text), nil); err != nil {
			log.Fatal(err)
		}
	}
	var kept api.LexKey
	for _, limit := range []uint64{1, 0} { // two runs of the program
		entries := c.ConsumeSpace(ctx, store, &api.ConsumeSpace{Space: "orders", Offset: kept, Limit: limit})
		for entries.MoveNext() {
			entry, err := entries.Current()
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(string(entry.Payload))
			kept = entry.GetSpaceOffset()
		}
		entries.Dispose()
	}
	// Output:
	// accepted
	// packed
	// shipped
}

// An offset is the key of an entry in streamkit's order: space, time, segment, sequence.
func ExampleEntry() {
	entry := api.Entry{Space: "sp", Segment: "sg", Sequence: 258, Timestamp: 1700000000000}
	fmt.Printf("%x\n", []byte(entry.GetSpaceOffset()))
	fmt.Printf("%x\n", []byte(entry.GetSegmentOffset()))
	// Output:
	// 44415400535041434553007370008000018bcfe56800007367000000000000000102
	// 444154005345474d454e5453007370007367000000000000000102
}

// A program tells errors that may pass from others by their code.
func ExampleStreamsError() {
	for _, err := range []error{api.NewTransientError("the disk is busy"), api.NewPermanentError("no such disk")} {
		var streams *api.StreamsError
		fmt.Println(err, errors.As(err, &streams) && streams.Code == 1)
	}
	// Output:
	// the disk is busy true
	// no such disk false
}

package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/pebble"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
)

// directory is an empty one.
func directory() (string, func()) {
	dir, err := os.MkdirTemp("", "archive")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "archive"), func() { _ = os.RemoveAll(dir) }
}

// A hub with an archive moves what its policy names, and reads it as if it were still in Redis.
func Example() {
	ctx := context.Background()
	dir, done := directory()
	defer done()
	backend, err := pebble.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	h, err := hub.Open(ctx, nil, &hub.Options{
		Archive:   backend,
		Archiving: tier.Options{Policy: tier.Policy{HotBytes: 1}, Every: -1},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s := h.Store(uuid.Nil)
	if _, err := s.Append(ctx, "orders", "order-17", []streamhub.Record{{Payload: []byte("packed")}}, nil); err != nil {
		log.Fatal(err)
	}
	if err := h.ArchiveNow(ctx); err != nil {
		log.Fatal(err)
	}
	for entry, err := range s.ConsumeSegment(ctx, "orders", "order-17", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(entry.Payload))
	}
	// Output:
	// packed
}

// A command that only reads makes no archive by mistake.
func ExampleOptions_mustExist() {
	dir, done := directory()
	defer done()
	_, err := pebble.Open(dir, &pebble.Options{MustExist: true})
	fmt.Println(errors.Is(err, streamhub.ErrNotFound))
	// Output:
	// true
}

// Objects are written once: the same bytes again are no error, others are.
func ExampleBackend_Put() {
	ctx := context.Background()
	dir, done := directory()
	defer done()
	backend, err := pebble.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	space := archive.SpaceID{Space: "orders"}
	for _, data := range []string{"one", "one", "two"} {
		err := backend.Put(ctx, space, archive.Object{Key: "C1", Data: []byte(data)})
		fmt.Println(err == nil, errors.Is(err, streamhub.ErrConflict))
	}
	// Output:
	// true false
	// true false
	// false true
}

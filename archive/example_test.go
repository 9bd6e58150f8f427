package archive_test

import (
	"context"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
)

// archived moves one entry of a space into an archive in memory.
func archived(ctx context.Context) (*archive.Archive, archive.SpaceID, func()) {
	backend := archive.NewMemory()
	h, err := hub.Open(ctx, nil, &hub.Options{
		Archive:   backend,
		Archiving: tier.Options{Policy: tier.Policy{HotBytes: 1}, Every: -1},
	})
	if err != nil {
		log.Fatal(err)
	}
	records := []streamhub.Record{{Payload: []byte("packed")}}
	if _, err := h.Store(uuid.Nil).Append(ctx, "orders", "order-17", records, nil); err != nil {
		log.Fatal(err)
	}
	if err := h.ArchiveNow(ctx); err != nil {
		log.Fatal(err)
	}
	return archive.New(backend, nil), archive.SpaceID{Store: uuid.Nil, Space: "orders"}, func() { _ = h.Close() }
}

// Verify reads everything that is archived of a space, and says what is damaged or missing.
func ExampleArchive_Verify() {
	ctx := context.Background()
	a, space, done := archived(ctx)
	defer done()
	report, err := a.Verify(ctx, space, nil)
	fmt.Println(report.Entries, len(report.Problems), err)
	// Output:
	// 1 0 <nil>
}

// A manifest says how far a space is archived.
func ExampleArchive_Manifest() {
	ctx := context.Background()
	a, space, done := archived(ctx)
	defer done()
	m, err := a.Manifest(ctx, space)
	fmt.Println(m.Commit.Entries, m.Commit.Window, err)
	// Output:
	// 1 1 <nil>
}

// Keys of a backend hold names of any bytes as digits and letters, in the order of the names.
func ExampleEncodeName() {
	text := archive.EncodeName("a/b")
	name, ok := archive.DecodeName(text)
	fmt.Println(text, name, ok)
	// Output:
	// C4NM4 a/b true
}

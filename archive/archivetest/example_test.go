package archivetest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
)

// A write is made and its reply is lost: the caller sees an error, and a repeat succeeds, because the
// key holds the same bytes already.
func ExampleFaulty() {
	ctx := context.Background()
	space := archive.SpaceID{Store: uuid.Nil, Space: "orders"}
	object := archive.Object{Key: "w1", Data: []byte("window")}
	backend := &archivetest.Faulty{Backend: archive.NewMemory()}
	backend.After = func(string) error { return streamhub.ErrUnavailable }
	fmt.Println(errors.Is(backend.Put(ctx, space, object), streamhub.ErrUnavailable))

	backend.After = nil
	fmt.Println(backend.Put(ctx, space, object))
	data, err := backend.Get(ctx, space, object.Key)
	fmt.Println(string(data), err)
	// Output:
	// true
	// <nil>
	// window <nil>
}

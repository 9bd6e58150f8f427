package azure_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/azure"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
)

// Every instance opens the same archive. Without options it authenticates as az login, a managed
// identity or the environment says.
func Example() {
	ctx := context.Background()
	redis, err := hub.NewClient("rediss://redis.example.com:6379")
	if err != nil {
		log.Fatal(err)
	}
	defer redis.Close()
	backend, err := azure.Open(ctx, "account", "streamhub", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	h, err := hub.Open(ctx, redis, &hub.Options{
		Archive:   backend,
		Archiving: tier.Options{Policy: tier.Policy{Age: 24 * time.Hour}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
}

// A program that only reads has a signature for that alone, and creates no archive by mistake.
func ExampleOptions_mustExist() {
	backend, err := azure.Open(context.Background(), "account", "streamhub", &azure.Options{
		SAS:       os.Getenv("ARCHIVE_SAS"),
		MustExist: true,
	})
	if errors.Is(err, streamhub.ErrNotFound) {
		log.Fatal("check the prefix: ", err)
	}
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
}

// The prefix names a table and a container, so it is refused before anything is sent if it cannot.
func ExampleOpen() {
	_, err := azure.Open(context.Background(), "account", "stream-hub", nil)
	fmt.Println(errors.Is(err, streamhub.ErrInvalidArgument))
	fmt.Println(err)
	// Output:
	// true
	// invalid argument: archive prefix "stream-hub": 3 to 63 small letters and digits, the first one a letter
}

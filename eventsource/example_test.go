package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/eventsource"
	"github.com/seed-147127fe/streamhub/hub"
)

// A deposit is the one kind of event of the accounts below.
type deposit struct {
	Amount int `json:"amount"`
}

func add(balance int, d deposit) (int, error) { return balance + d.Amount, nil }

// openAccounts gives the accounts of one tenant, on a hub with an embedded Redis.
func openAccounts(ctx context.Context) (*eventsource.Store[deposit], func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return eventsource.New[deposit](h.Store(uuid.Nil), "accounts", nil), func() { _ = h.Close() }
}

// Of two programs that load the same version, one saves. The other one loads again.
func ExampleStore_Save() {
	ctx := context.Background()
	accounts, done := openAccounts(ctx)
	defer done()
	version, err := accounts.Save(ctx, "alice", []deposit{{Amount: 7}}, 0, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", version)

	_, err = accounts.Save(ctx, "alice", []deposit{{Amount: 1}}, 0, nil)
	var conflict *eventsource.ConflictError
	if errors.As(err, &conflict) {
		fmt.Println("load again: the version is", conflict.Actual)
	}
	// Output:
	// version 1
	// load again: the version is 1
}

// A save whose answer was lost is repeated under the same id, and is stored once.
func ExampleSaveOptions() {
	ctx := context.Background()
	accounts, done := openAccounts(ctx)
	defer done()
	options := &eventsource.SaveOptions{ID: uuid.New()}
	for range 2 {
		version, err := accounts.Save(ctx, "alice", []deposit{{Amount: 7}}, 0, options)
		fmt.Println(version, err)
	}
	// Output:
	// 1 <nil>
	// 1 <nil>
}

// A snapshot saves reading the events before it. Without one the state is the same.
func ExampleSnapshots() {
	ctx := context.Background()
	accounts, done := openAccounts(ctx)
	defer done()
	snapshots := eventsource.NewSnapshots(accounts, add)
	if _, err := accounts.Save(ctx, "alice", []deposit{{Amount: 7}, {Amount: 5}}, 0, nil); err != nil {
		log.Fatal(err)
	}
	balance, version, err := snapshots.Load(ctx, "alice")
	if err != nil {
		log.Fatal(err)
	}
	if err := snapshots.Save(ctx, "alice", balance, version); err != nil {
		log.Fatal(err)
	}
	balance, version, err = snapshots.Load(ctx, "alice") // from the snapshot
	fmt.Println(balance, version, err)
	// Output:
	// 12 2 <nil>
}

// Command eventsource saves the events of an account and folds them.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/eventsource"
	"github.com/seed-147127fe/streamhub/hub"
)

type deposited struct{ Amount int }

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	accounts := eventsource.New[deposited](h.Provider().Store(uuid.Nil), "accounts", nil)
	version, err := accounts.Save(ctx, "anna", []deposited{{100}, {20}}, 0, nil)
	if err != nil {
		log.Fatal(err)
	}
	var conflict *eventsource.ConflictError
	if _, err := accounts.Save(ctx, "anna", []deposited{{1}}, 0, nil); !errors.As(err, &conflict) {
		log.Fatal("a save at an old version was taken: ", err)
	}
	balance, _, err := eventsource.Fold(ctx, accounts, "anna", 0, func(sum int, e deposited) (int, error) { return sum + e.Amount, nil })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(version, balance)
	fmt.Println("ok")
}

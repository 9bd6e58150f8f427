// Command eventstreamkit saves and loads an event in the envelope of streamkit's eskit.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/eventsource"
	"github.com/seed-147127fe/streamhub/eventsource/streamkit"
	"github.com/seed-147127fe/streamhub/hub"
)

type deposit struct {
	Amount int `json:"amount"`
}

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	codec, err := streamkit.NewCodec(map[string]func() any{"deposit": func() any { return &deposit{} }})
	if err != nil {
		log.Fatal(err)
	}
	accounts := eventsource.New[any](h.Store(uuid.Nil), "accounts", codec)
	if _, err := accounts.Save(ctx, "alice", []any{&deposit{7}}, 0, nil); err != nil {
		log.Fatal(err)
	}
	for event, err := range accounts.Load(ctx, "alice", 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Version, event.Data.(*deposit).Amount)
	}
	fmt.Println("ok")
}

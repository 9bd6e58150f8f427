// Command live produces a stream, reads it and asks its producer to stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, &hub.Options{Live: &live.Options{MaxDelay: -1}})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	var streams live.Streams = h.Store(uuid.Nil).Live("chats")
	producer, reader, err := streams.Register(ctx, "answer-1", &live.RegisterOptions{Metadata: map[string]string{"model": "small"}})
	if err != nil || reader != nil {
		log.Fatal(err)
	}
	for _, word := range []string{"hello", "world"} {
		if err := producer.Publish(ctx, []byte(word)); err != nil {
			log.Fatal(err)
		}
	}
	if err := producer.Done(ctx, map[string]int{"words": 2}); err != nil {
		log.Fatal(err)
	}
	stream, err := streams.Get(ctx, "answer-1")
	if err != nil {
		log.Fatal(err)
	}
	var closed *streamhub.ClosedError
	for chunk, err := range stream.Subscribe(ctx, nil) {
		if errors.As(err, &closed) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(chunk.Sequence, string(chunk.Data))
	}
	fmt.Println(closed.Verdict.Kind)
	fmt.Println("ok")
}

// Command livehttp serves live streams as event streams.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	handler := livehttp.New(ctx, func(store uuid.UUID, space string) live.Streams { return h.Store(store).Live(space) }, nil)
	server := httptest.NewServer(handler)
	defer server.Close()
	producer, _, err := h.Store(uuid.Nil).Live("live").Register(ctx, "answer", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := producer.Publish(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	if err := producer.Done(ctx, nil); err != nil {
		log.Fatal(err)
	}
	response, err := http.Get(server.URL + "/v1/live/answer")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), "hello") {
		log.Fatal(string(text), err)
	}
	fmt.Println("ok")
}

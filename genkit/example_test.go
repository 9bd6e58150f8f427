package genkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/core/x/streaming"
	"github.com/firebase/genkit/go/genkit"
	"github.com/google/uuid"

	hubgenkit "github.com/seed-147127fe/streamhub/genkit"
	"github.com/seed-147127fe/streamhub/hub"
)

// openStore opens a hub on the Redis that is embedded; production gives a client of Redis.
func openStore(ctx context.Context) (*hub.Store, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h.Store(uuid.Nil), func() { _ = h.Close() }
}

// A flow that was served with streams in memory changes one line.
func ExampleNewStreamManager() {
	ctx := context.Background()
	store, done := openStore(ctx)
	defer done()
	g := genkit.Init(ctx)
	flow := genkit.DefineStreamingFlow(g, "greet", func(ctx context.Context, name string, send core.StreamCallback[string]) (string, error) {
		return "hello " + name, send(ctx, "hello")
	})
	mux := http.NewServeMux()

	streams := hubgenkit.NewStreamManager(store.Live("genkit"), nil)
	mux.Handle("POST /flow", genkit.Handler(flow, genkit.WithStreamManager(streams)))

	server := httptest.NewServer(mux)
	defer server.Close()
	response := ask(server.URL+"/flow", `{"data":"Ann"}`)
	defer response.Body.Close()
	fmt.Println(response.StatusCode, response.Header.Get("X-Genkit-Stream-Id") != "")
	// Output: 200 true
}

// A reader of any process gets all chunks and then the output.
func ExampleStreamManager_Subscribe() {
	ctx := context.Background()
	store, done := openStore(ctx)
	defer done()
	streams := hubgenkit.NewStreamManager(store.Live("genkit"), nil)
	input, err := streams.Open(ctx, "answer-17")
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range []string{`"hello"`, `"world"`} {
		if err := input.Write(ctx, json.RawMessage(word)); err != nil {
			log.Fatal(err)
		}
	}
	if err := input.Done(ctx, json.RawMessage(`{"words":2}`)); err != nil {
		log.Fatal(err)
	}
	events, stop, err := streams.Subscribe(ctx, "answer-17")
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	for event := range events {
		switch event.Type {
		case streaming.StreamEventChunk:
			fmt.Println("chunk", string(event.Chunk))
		case streaming.StreamEventDone:
			fmt.Println("done", string(event.Output))
		case streaming.StreamEventError:
			fmt.Println("failed", event.Err)
		}
	}
	// Output:
	// chunk "hello"
	// chunk "world"
	// done {"words":2}
}

// Errors are those of the stock manager.
func ExampleStreamManager_Open() {
	ctx := context.Background()
	store, done := openStore(ctx)
	defer done()
	streams := hubgenkit.NewStreamManager(store.Live("genkit"), nil)
	input, err := streams.Open(ctx, "answer-17")
	if err != nil {
		log.Fatal(err)
	}
	defer input.Close()
	_, err = streams.Open(ctx, "answer-17")
	var public *core.UserFacingError
	fmt.Println(errors.As(err, &public) && public.Status == core.ALREADY_EXISTS)
	_, _, err = streams.Subscribe(ctx, "answer-18")
	fmt.Println(errors.As(err, &public) && public.Status == core.NOT_FOUND)
	// Output:
	// true
	// true
}

// ask asks for a stream.
func ask(url, body string) *http.Response {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	return response
}

// Command durable serves a hub as Durable Streams and appends with plain HTTP.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
)

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	handler, err := durable.New(ctx, h, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	at := server.URL + "/v1/stream/notes/today"
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, at, strings.NewReader("milk"))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/plain")
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusCreated {
		log.Fatal(response, err)
	}
	response.Body.Close()
	if response, err = http.Get(at); err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || string(text) != "milk" {
		log.Fatal(string(text), err)
	}
	fmt.Println("ok")
}

package livehttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

// serveExample serves the live streams of a hub with an embedded Redis.
func serveExample(ctx context.Context, authorize func(*http.Request, streamhub.Right) (string, error)) (string, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	streams := func(store uuid.UUID, space string) live.Streams { return h.Store(store).Live(space) }
	handler := livehttp.New(ctx, streams, &livehttp.Options{Authorize: authorize})
	server := httptest.NewServer(handler)
	return server.URL + "/v1/live/answer-1", func() { _ = handler.Shutdown(ctx); server.Close(); _ = h.Close() }
}

// call makes a request and returns the status and the body of its answer.
func call(method, url, body string) (int, string) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/plain")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// The body of a POST is produced line by line, and its end is the verdict done. An EventSource reads it.
func Example() {
	stream, done := serveExample(context.Background(), nil)
	defer done()
	status, _ := call(http.MethodPost, stream, "forty\ntwo\n")
	fmt.Println(status)

	_, events := call(http.MethodGet, stream, "")
	for _, line := range strings.Split(events, "\n") {
		if data, ok := strings.CutPrefix(line, "data:"); ok {
			fmt.Println(data)
		}
	}
	// Output:
	// 200
	// forty
	// two
	// {"kind":"done"}
}

// Authorize decides before anything happens. The id of a stream is the segment of the right.
func ExampleOptions() {
	stream, done := serveExample(context.Background(), func(_ *http.Request, right streamhub.Right) (string, error) {
		if right.Write {
			return "", streamhub.ErrPermissionDenied
		}
		return "ada", nil
	})
	defer done()
	write, _ := call(http.MethodPost, stream, "forty\n")
	read, _ := call(http.MethodGet, stream, "")
	fmt.Println(write, read)
	// Output:
	// 403 404
}

// A reader asks to stop, whatever gateway the producer is at. A stream that has ended keeps its verdict.
func ExampleHandler() {
	stream, done := serveExample(context.Background(), nil)
	defer done()
	call(http.MethodPost, stream, "forty\n")
	status, verdict := call(http.MethodPost, stream+"/cancel", `{"reason":"enough"}`)
	fmt.Println(status, strings.TrimSpace(verdict))
	// Output:
	// 200 {"kind":"done"}
}

package durable_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
)

// serve serves a hub with an embedded Redis.
func serve(ctx context.Context, options *durable.Options) (*hub.Hub, *httptest.Server, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	d, err := durable.New(ctx, h, options)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(d)
	return h, server, func() { server.Close(); _ = d.Shutdown(ctx); _ = h.Close() }
}

// send makes one request and returns its answer.
func send(method, url, body string, header ...string) (*http.Response, string) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/plain")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	return response, string(text)
}

// A stream is created, appended to and read with nothing but HTTP. Stream-Next-Offset resumes it.
func Example() {
	_, server, done := serve(context.Background(), nil)
	defer done()
	stream := server.URL + "/v1/stream/notes/today"
	created, _ := send(http.MethodPut, stream, "")
	send(http.MethodPost, stream, "hello ")
	first, text := send(http.MethodGet, stream+"?offset=-1", "")
	fmt.Printf("%d %q\n", created.StatusCode, text)

	send(http.MethodPost, stream, "world")
	_, text = send(http.MethodGet, stream+"?offset="+first.Header.Get("Stream-Next-Offset"), "")
	fmt.Printf("%q\n", text)
	// Output:
	// 201 "hello "
	// "world"
}

// If-Match appends only where the stream still ends at an offset.
func ExampleNew_ifMatch() {
	_, server, done := serve(context.Background(), nil)
	defer done()
	stream := server.URL + "/v1/stream/notes/today"
	created, _ := send(http.MethodPut, stream, "")
	end := `"` + created.Header.Get("Stream-Next-Offset") + `"`
	for _, note := range []string{"mine", "of another tab"} {
		response, _ := send(http.MethodPost, stream, note, "If-Match", end)
		fmt.Println(response.StatusCode)
	}
	// Output:
	// 204
	// 412
}

// Authorize decides about every request before anything happens. A stream is a segment, so other
// transports of the hub see it too.
func ExampleOptions() {
	ctx := context.Background()
	h, server, done := serve(ctx, &durable.Options{
		Authorize: func(r *http.Request, right streamhub.Right) error {
			if right.Write && r.Header.Get("X-Role") != "editor" {
				return streamhub.ErrPermissionDenied
			}
			return nil
		},
	})
	defer done()
	stream := server.URL + "/v1/stream/notes/today"
	for _, role := range []string{"reader", "editor"} {
		response, _ := send(http.MethodPut, stream, "", "X-Role", role)
		_, err := h.Store(uuid.Nil).Status(ctx, "notes", "today")
		fmt.Println(response.StatusCode, errors.Is(err, streamhub.ErrNotFound))
	}
	// Output:
	// 403 true
	// 201 false
}

package wskit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/wskit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// gateway starts one in this process and returns its address.
func gateway(ctx context.Context) (address string, done func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	g, err := wsgateway.New(ctx, h, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(g)
	return "ws" + strings.TrimPrefix(server.URL, "http"), func() {
		_ = g.Shutdown(ctx)
		server.Close()
		_ = h.Close()
	}
}

// As in streamkit, a provider takes an address and a function that returns the token for each dial.
func ExampleNewBidiStreamProvider() {
	ctx, store := context.Background(), uuid.New()
	address, done := gateway(ctx)
	defer done()
	provider := wskit.NewBidiStreamProvider(address, func() (string, error) { return "token", nil }, wskit.WithWriteQueueSize(8192))
	c := client.NewClient(provider)
	defer c.Close()
	if err := c.Publish(ctx, store, "orders", "order-17", []byte("accepted"), nil); err != nil {
		log.Fatal(err)
	}
	segments := c.GetSegments(ctx, store, "orders")
	defer segments.Dispose()
	for segments.MoveNext() {
		fmt.Println(segments.Current())
	}
	// Output: order-17 <nil>
}

// OnDialFailure hears of each dial that failed, while the client tries again.
func ExampleWebSocketBidiStreamProvider() {
	ctx := context.Background()
	failures := make(chan error, 100)
	provider := wskit.NewBidiStreamProvider("ws://127.0.0.1:1", nil)
	provider.(*wskit.WebSocketBidiStreamProvider).OnDialFailure = func(err error) { failures <- err }
	c := client.NewClientWithRetryPolicy(provider, client.RetryPolicy{MaxAttempts: 2, InitialBackoff: time.Millisecond, MaxBackoff: time.Millisecond, BackoffMultiplier: 1})
	defer c.Close()
	_, err := c.Peek(ctx, uuid.New(), "orders", "order-17")
	fmt.Println(client.IsRetryable(err), <-failures != nil)
	// Output: true true
}

// Programs compare with streamkit's errors; each is also one of the conditions of package streamhub.
func ExampleErrMuxerClosed() {
	for _, err := range []error{wskit.ErrMuxerClosed, wskit.ErrTooManyStreams, wskit.ErrPayloadTooLarge} {
		wrapped := fmt.Errorf("produce: %w", err)
		fmt.Println(wrapped, errors.Is(wrapped, err), client.IsRetryable(wrapped))
	}
	// Output:
	// produce: muxer closed: unavailable true true
	// produce: too many active streams: limit exceeded true false
	// produce: muxer payload too large: too large true false
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func Example() {
	ctx := context.Background()
	// The server: a hub, and a gateway to it, which is an http.Handler.
	h, err := hub.Open(ctx, nil, nil) // nil: an embedded Redis
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	gateway, err := wsgateway.New(ctx, h, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	defer func() { _ = gateway.Shutdown(ctx) }()

	// The client, anywhere. With more gateways it goes on at the next one when it loses one.
	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws" + strings.TrimPrefix(server.URL, "http")}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer gateways.Close()
	c := client.New(gateways, nil)
	defer c.Close()
	s := c.Store(uuid.Nil)
	for _, text := range []string{"accepted", "packed"} {
		if _, err := s.Append(ctx, "orders", "order-17", []streamhub.Record{{Payload: []byte(text)}}, nil); err != nil {
			log.Fatal(err)
		}
	}
	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", &streamhub.FollowOptions{Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload))
	}
	// Output:
	// 1 accepted
	// 2 packed
}

// Any number of gateways, and no token.
func ExampleNewWebSocketProvider() {
	ctx := context.Background()
	records := []streamhub.Record{{Payload: []byte("accepted")}}

	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws://a:8080", "ws://b:8080"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer gateways.Close()
	c := client.New(gateways, nil)
	defer c.Close()
	s := c.Store(uuid.Nil)
	_, err = s.Append(ctx, "orders", "order-17", records, nil) // the same calls
	fmt.Println(err)
}

// A gateway that wants to know who calls gets a token, which is asked for at every dial.
func ExampleWebSocketOptions() {
	ctx, tenant := context.Background(), uuid.New()
	issuer := tokens{}

	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws://a:8080", "ws://b:8080"}, &client.WebSocketOptions{
		Token: func(ctx context.Context) (string, error) { return issuer.Token(ctx) }, // for every dial
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gateways.Close()
	c := client.New(gateways, nil)
	defer c.Close()
	s := c.Store(tenant) // a uuid.UUID
	_, err = s.Append(ctx, "orders", "order-17", []streamhub.Record{{Payload: []byte("packed")}}, nil)
	fmt.Println(err)
}

// tokens stands for what a program asks for its token.
type tokens struct{}

func (tokens) Token(context.Context) (string, error) { return "", nil }

// openStore gives one store over a client of a hub in the same process: what a unit test uses in place of
// gateways.
func openStore(ctx context.Context, options *client.Options) (*client.Store, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	c := client.New(h.Provider(), options)
	return c.Store(uuid.Nil), func() { _ = c.Close(); _ = h.Close() }
}

// A client retries what can be retried, so that an append is stored once however often it was sent.
func ExampleNew() {
	ctx := context.Background()
	policy := client.DefaultRetryPolicy()
	policy.InitialDelay = 10 * time.Millisecond
	s, done := openStore(ctx, &client.Options{Retry: &policy})
	defer done()
	r, err := s.Append(ctx, "orders", "order-17", []streamhub.Record{{Payload: []byte("accepted")}}, nil)
	fmt.Println(r.First, err)
	// Output:
	// 1 <nil>
}

// A writer is for bulk loads: it sends one batch while the next one is collected.
func ExampleStore_NewWriter() {
	ctx := context.Background()
	s, done := openStore(ctx, nil)
	defer done()
	w := s.NewWriter(ctx, "imports", "2026-11", nil)
	for i := range 2500 {
		if err := w.Write(streamhub.Record{Payload: fmt.Append(nil, i)}); err != nil {
			log.Fatal(err)
		}
	}
	written, err := w.Close() // sends the rest
	fmt.Println(written.Records, written.Last, err)
	// Output:
	// 2500 2500 <nil>
}

// Produce appends what a sequence yields, chunk by chunk, and says after each what the segment holds.
func ExampleStore_Produce() {
	ctx := context.Background()
	s, done := openStore(ctx, nil)
	defer done()
	var lines iter.Seq2[streamhub.Record, error] = func(yield func(streamhub.Record, error) bool) {
		for _, line := range []string{"one", "two", "three"} {
			if !yield(streamhub.Record{Payload: []byte(line)}, nil) {
				return
			}
		}
	}
	for status, err := range s.Produce(ctx, "imports", "lines", lines) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.LastSequence)
	}
	// Output:
	// 3
}

// The lease over a gateway is the same as in process: its token fences the appends.
func ExampleStore_WithLease() {
	ctx := context.Background()
	s, done := openStore(ctx, nil)
	defer done()
	err := s.WithLease(ctx, "nightly", time.Minute, time.Second, func(ctx context.Context, token uint64) error {
		_, err := s.Append(ctx, "reports", "today", []streamhub.Record{{Payload: []byte("begun")}}, &streamhub.AppendOptions{Generation: token})
		return errors.Join(err, ctx.Err())
	})
	fmt.Println(err)
	// Output:
	// <nil>
}

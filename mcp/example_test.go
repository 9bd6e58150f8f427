package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/google/uuid"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed-147127fe/streamhub/hub"
	hubmcp "github.com/seed-147127fe/streamhub/mcp"
)

// openStore opens a hub on the Redis that is embedded; production gives a client of Redis.
func openStore(ctx context.Context) (*hub.Store, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h.Store(uuid.Nil), func() { _ = h.Close() }
}

// A server that kept events in memory changes two lines; a client connects and calls as before.
func ExampleNewEventStore() {
	ctx := context.Background()
	store, done := openStore(ctx)
	defer done()
	server := sdk.NewServer(&sdk.Implementation{Name: "example", Version: "1"}, nil)
	getServer := func(*http.Request) *sdk.Server { return server }
	mux := http.NewServeMux()

	events := hubmcp.NewEventStore(store, nil)
	opts := &sdk.StreamableHTTPOptions{EventStore: events}
	mux.Handle("/mcp", hubmcp.NewResumer(sdk.NewStreamableHTTPHandler(getServer, opts), events, nil))

	front := httptest.NewServer(mux)
	defer front.Close()
	client := sdk.NewClient(&sdk.Implementation{Name: "client", Version: "1"}, nil)
	session, err := client.Connect(ctx, &sdk.StreamableClientTransport{Endpoint: front.URL + "/mcp"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	fmt.Println(session.InitializeResult().ServerInfo.Name, session.Ping(ctx, nil))
	// Output: example <nil>
}

// What one process stores, every other one can read after an index.
func ExampleEventStore_After() {
	ctx := context.Background()
	store, done := openStore(ctx)
	defer done()
	here, there := hubmcp.NewEventStore(store, nil), hubmcp.NewEventStore(store, nil)
	if err := here.Open(ctx, "session", "stream"); err != nil {
		log.Fatal(err)
	}
	for _, event := range []string{"zero", "one", "two"} {
		if err := here.Append(ctx, "session", "stream", []byte(event)); err != nil {
			log.Fatal(err)
		}
	}
	for event, err := range there.After(ctx, "session", "stream", 0) {
		fmt.Println(string(event), err)
	}
	// Output:
	// one <nil>
	// two <nil>
}

// The end of a session removes its events everywhere.
func ExampleEventStore_SessionClosed() {
	ctx := context.Background()
	store, done := openStore(ctx)
	defer done()
	here, there := hubmcp.NewEventStore(store, nil), hubmcp.NewEventStore(store, nil)
	if err := errors.Join(here.Open(ctx, "session", "stream"), here.Append(ctx, "session", "stream", []byte("zero"))); err != nil {
		log.Fatal(err)
	}
	if err := there.SessionClosed(ctx, "session"); err != nil {
		log.Fatal(err)
	}
	for event, err := range here.After(ctx, "session", "stream", -1) {
		fmt.Println(len(event), err != nil)
	}
	// Output: 0 true
}

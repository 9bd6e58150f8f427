// Command wsgateway serves a hub with an authenticator of its own.
package main

import (
	"context"
	"fmt"
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

// passwords knows one user.
type passwords struct{}

func (passwords) Authenticate(_ context.Context, token string) (*streamhub.Identity, error) {
	if token != "open sesame" {
		return nil, streamhub.ErrUnauthenticated
	}
	return &streamhub.Identity{Subject: "ali", Issuer: "cave", Expires: time.Now().Add(time.Hour), Scopes: []string{"streamhub::*::*::*"}}, nil
}

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	gateway, err := wsgateway.New(ctx, h, &wsgateway.Options{Auth: passwords{}})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	provider, err := client.NewWebSocketProvider(ctx, []string{"ws" + strings.TrimPrefix(server.URL, "http")}, &client.WebSocketOptions{
		Token: func(context.Context) (string, error) { return "open sesame", nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	if _, err := provider.Store(uuid.Nil).Append(ctx, "cave", "gold", []streamhub.Record{{Payload: []byte("coin")}}, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

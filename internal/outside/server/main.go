// Command server puts every transport before a hub, behind tokens of its own, and operators on another listener.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/server"
)

// passwords knows one user.
type passwords struct{}

func (passwords) Authenticate(_ context.Context, token string) (*streamhub.Identity, error) {
	if token != "milk" {
		return nil, streamhub.ErrUnauthenticated
	}
	return &streamhub.Identity{Subject: "cat", Issuer: "kitchen", Expires: time.Now().Add(time.Hour), Scopes: []string{"streamhub::*::*::*"}}, nil
}

// get asks with a token, if there is one, and wants a status.
func get(ctx context.Context, url, token string, want int) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		log.Fatalf("%s: %s, want %d", url, response.Status, want)
	}
}

func main() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s, err := server.New(h, &server.Options{Auth: passwords{}, AdminToken: "cheese"})
	if err != nil {
		log.Fatal(err)
	}
	front, admin := httptest.NewServer(s), httptest.NewServer(s.Admin())
	defer front.Close()
	defer admin.Close()

	provider, err := client.NewWebSocketProvider(ctx, []string{"ws" + strings.TrimPrefix(front.URL, "http")}, &client.WebSocketOptions{
		Token: func(context.Context) (string, error) { return "milk", nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	if _, err := provider.Store(uuid.Nil).Append(ctx, "mice", "seen", []streamhub.Record{{Payload: []byte("one")}}, nil); err != nil {
		log.Fatal(err)
	}
	get(ctx, front.URL+"/readyz", "", http.StatusOK)
	get(ctx, front.URL+"/v1/stream/mice/seen", "", http.StatusUnauthorized)
	get(ctx, front.URL+"/v1/stream/mice/seen", "milk", http.StatusOK)
	get(ctx, admin.URL+"/debug/pprof/", "milk", http.StatusUnauthorized)
	get(ctx, admin.URL+"/debug/pprof/", "cheese", http.StatusOK)
	if err := s.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

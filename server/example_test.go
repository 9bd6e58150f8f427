package server_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/server"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// Every transport, with tokens, in a program of one's own.
func Example() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil) // or the client of a Redis
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	tokens, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: []byte("a secret that is long enough for HS256")})
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.New(h, &server.Options{Auth: tokens})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = s.Shutdown(ctx) }()

	listener := httptest.NewServer(s) // or http.ListenAndServeTLS
	defer listener.Close()
	response, err := http.Get(listener.URL + "/v1/stream/orders/17")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	// Output: 401 Unauthorized
}

// Operators have a handler of their own, on another listener. With a token it answers nothing without it.
func ExampleServer_Admin() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s, err := server.New(h, &server.Options{AdminToken: "a long random text"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = s.Shutdown(ctx) }()
	listener := httptest.NewServer(s.Admin())
	defer listener.Close()
	for _, token := range []string{"guessed", "a long random text"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, listener.URL+"/debug/pprof/cmdline", nil)
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		fmt.Println(response.Status)
	}
	// Output:
	// 401 Unauthorized
	// 200 OK
}

// While a server drains, /readyz says so, and readers go on at another instance.
func ExampleServer_Shutdown() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s, err := server.New(h, nil)
	if err != nil {
		log.Fatal(err)
	}
	listener := httptest.NewServer(s)
	defer listener.Close()
	if err := s.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	response, err := http.Get(listener.URL + "/readyz")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	// Output: 503 Service Unavailable
}

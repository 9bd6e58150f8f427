package wsgateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// openHub opens a hub on an embedded Redis.
func openHub(ctx context.Context) *hub.Hub {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h
}

// status asks for the status of a segment over a gateway.
func status(ctx context.Context, server *httptest.Server, token string) error {
	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws" + strings.TrimPrefix(server.URL, "http")}, &client.WebSocketOptions{
		Token: func(context.Context) (string, error) { return token, nil },
	})
	if err != nil {
		return err
	}
	defer gateways.Close()
	_, err = gateways.Store(uuid.Nil).Status(ctx, "orders", "order-17")
	return err
}

// A gateway is an http.Handler. Shut it down before its hub is closed.
func Example() {
	ctx := context.Background()
	h := openHub(ctx)
	defer h.Close()
	gateway, err := wsgateway.New(ctx, h, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	defer func() { _ = gateway.Shutdown(ctx) }()

	fmt.Println(errors.Is(status(ctx, server, ""), streamhub.ErrNotFound))
	// Output:
	// true
}

// keys is an authenticator of one's own: it knows who has which key.
type keys map[string]streamhub.Identity

func (k keys) Authenticate(_ context.Context, token string) (*streamhub.Identity, error) {
	identity, ok := k[token]
	if !ok {
		return nil, errors.New("unknown key") // for the log; the client gets "unauthenticated"
	}
	return &identity, nil
}

// Tokens need not be JSON Web Tokens.
func ExampleNew_authenticator() {
	ctx := context.Background()
	h := openHub(ctx)
	defer h.Close()
	gateway, err := wsgateway.New(ctx, h, &wsgateway.Options{Auth: keys{
		"key-of-ada": {Subject: "ada", Scopes: []string{"streamhub::" + uuid.Nil.String() + "::orders::read"}},
		"key-of-bob": {Subject: "bob", Scopes: []string{"streamhub::" + uuid.Nil.String() + "::returns::read"}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	defer server.Close()
	defer func() { _ = gateway.Shutdown(ctx) }()

	for _, key := range []string{"key-of-ada", "key-of-bob", "guessed"} {
		fmt.Println(streamhub.CodeOf(status(ctx, server, key)))
	}
	// Output:
	// not_found
	// permission_denied
	// unauthenticated
}

// NewJWT checks signature, expiry, issuer and audience by the rules of docs/auth.md.
func ExampleNewJWT() {
	tokens, err := wsgateway.NewJWT(wsgateway.JWTOptions{
		HMACSecret: []byte("a secret that is long enough for HS256"),
		Issuer:     "https://login.example.com", Audience: "streamhub",
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = tokens.Authenticate(context.Background(), "not a token")
	fmt.Println(err != nil)
	// Output:
	// true
}

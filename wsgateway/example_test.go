package wsgateway_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
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

// A service that knows the secret issues a token, and the gateway sees whose it is and what it allows.
func ExampleNewJWT() {
	secret := []byte("a secret that is long enough for HS256")
	tokens, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: secret, Issuer: "https://login.example.com"})
	if err != nil {
		log.Fatal(err)
	}

	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://login.example.com", "sub": "anna", "exp": time.Now().Add(time.Hour).Unix(),
		"scopes": []string{"streamhub::*::chat::read", "streamhub::*::chat::write"},
	}).SignedString(secret)
	if err != nil {
		log.Fatal(err)
	}
	anna, err := tokens.Authenticate(context.Background(), token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(anna.Subject, anna.Scopes)
	// Output:
	// anna [streamhub::*::chat::read streamhub::*::chat::write]
}

// acquire takes a lease with nothing but a WebSocket: one open on channel 1, and its end.
func acquire(ctx context.Context, c *websocket.Conn, key, holder string, ttl time.Duration) (token uint64, err error) {
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	open := []byte{19}                                          // acquire lease
	open = append(open, make([]byte, 16)...)                    // the store, of UUID 0
	open = append(open, 0, 0)                                   // no credit, no trace
	open = text(text(open, key), holder)                        // the request begins here
	open = binary.AppendVarint(open, int64(ttl))                // in ns
	message := append([]byte{1, 1}, text(nil, string(open))...) // type, channel, length, body
	if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
		return 0, err
	}
	_, answer, err := c.Read(ctx)
	if err != nil {
		return 0, err
	}
	if len(answer) < 4 || answer[0] != 17 || answer[1] != 1 {
		return 0, fmt.Errorf("a message of type %d", answer[0])
	}
	result, n := answer[4:], int(answer[3]) // after the length of the body and that of the result
	if failed := result[n]; failed == 1 {
		return 0, fmt.Errorf("refused: %q", result[n+1:])
	}
	token, _ = binary.Uvarint(result[:n])
	return token, nil
}

// A client in any language speaks the protocol of docs/protocol.md.
func Example_protocol() {
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

	c, _, err := websocket.Dial(ctx, server.URL+"/streamz", &websocket.DialOptions{Subprotocols: []string{"streamhub.v1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	token, err := acquire(ctx, c, "nightly", "me", time.Minute)
	fmt.Println(token > 0, err)
	// Output:
	// true <nil>
}

package session_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"github.com/seed-147127fe/streamhub/session"
)

// startEcho starts a server that sends back what it gets.
func startEcho() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, text, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, text) != nil {
				return
			}
		}
	}))
}

func address(s *httptest.Server) string { return "ws" + strings.TrimPrefix(s.URL, "http") }

// A Conn is one WebSocket that can be dialled again.
func ExampleConn() {
	ctx := context.Background()
	server := startEcho()
	defer server.Close()
	c := session.NewConn(&session.ConnConfig{URL: address(server)})
	if err := c.ConnectWithRetry(ctx); err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendRaw([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	text, err := c.Receive(ctx)
	fmt.Println(string(text), err)
	// Output:
	// hello <nil>
}

// Header is asked before each attempt, so a token is always a fresh one.
func ExampleConnConfig_header() {
	ctx := context.Background()
	server := startEcho()
	defer server.Close()
	tokens := 0
	c := session.NewConn(&session.ConnConfig{
		URL: address(server),
		Header: func(context.Context) (http.Header, error) {
			tokens++
			return http.Header{"Authorization": {fmt.Sprint("Bearer ", tokens)}}, nil
		},
	})
	for range 2 {
		if err := c.Connect(ctx); err != nil {
			log.Fatal(err)
		}
		c.Reset()
	}
	fmt.Println(tokens, c.Close())
	// Output:
	// 2 <nil>
}

// A Session turns messages into values of a type, over any number of connections.
func ExampleSession() {
	ctx := context.Background()
	server := startEcho()
	defer server.Close()
	c := session.NewConn(&session.ConnConfig{URL: address(server)})
	if err := c.Connect(ctx); err != nil {
		log.Fatal(err)
	}
	s, err := session.NewSession(ctx, session.SessionConfig[string]{
		Conn:      c,
		OnMessage: func(message []byte) ([]string, error) { return strings.Fields(string(message)), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := s.SendRaw([]byte("two words")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-s.Response())
	fmt.Println(<-s.Response())
	fmt.Println(s.Close(), s.Error())
	// Output:
	// two
	// words
	// <nil> <nil>
}

// A chunk is what the provider of a model made of a message.
type chunk struct{ Content string }

// A program of PromptKit's after its import line was changed.
func ExampleConn_ConnectWithRetry() {
	ctx := context.Background()
	server := startEcho()
	defer server.Close()
	url, headers := address(server), http.Header{"Authorization": {"Bearer key"}}
	parse := func(message []byte) ([]chunk, error) { return []chunk{{string(message)}}, nil }
	setup := func(ctx context.Context, c *session.Conn) error { return c.SendRaw([]byte("set up again")) }

	conn := session.NewConn(&session.ConnConfig{URL: url, Headers: headers})
	if err := conn.ConnectWithRetry(ctx); err != nil {
		log.Fatal(err)
	}
	s, err := session.NewSession(ctx, session.SessionConfig[chunk]{Conn: conn, OnMessage: parse, OnReconnect: setup, MaxReconnectAttempts: 3})
	if err != nil {
		log.Fatal(err)
	}
	if err := s.SendRaw([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	fmt.Println((<-s.Response()).Content, s.Close())
	// Output: hello <nil>
}

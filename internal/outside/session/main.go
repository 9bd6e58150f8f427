// Command session talks to a WebSocket server of its own.
package main

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

func main() {
	ctx := context.Background()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, text, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, text) != nil {
				return
			}
		}
	}))
	defer server.Close()
	c := session.NewConn(&session.ConnConfig{URL: "ws" + strings.TrimPrefix(server.URL, "http")})
	if err := c.ConnectWithRetry(ctx); err != nil {
		log.Fatal(err)
	}
	if err := c.SendRaw([]byte("echo")); err != nil {
		log.Fatal(err)
	}
	text, err := c.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

// Command chat is a page that shows a live stream: refresh it and watch it resume, open it in another
// tab, press stop there. A generator of words stands in for the language model. Its Redis is
// embedded, or the one that -redis names: start it several times, and any of them resumes and stops
// what another one produces.
//
//	go run ./examples/chat
package main

import (
	"context"
	_ "embed" // the page
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/server"
)

//go:embed index.html
var page []byte

var (
	listen  = flag.String("listen", "127.0.0.1:8081", "address to listen on")
	address = flag.String("redis", "", "Redis to use instead of an embedded one")
	pause   = flag.Duration("pause", 100*time.Millisecond, "time for a word")
	length  = flag.Int("words", 300, "words of an answer")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	var client redis.UniversalClient
	if *address != "" {
		var err error
		if client, err = hub.NewClient(*address); err != nil {
			return err
		}
		defer client.Close()
	}
	h, err := hub.Open(ctx, client, nil)
	if err != nil {
		return err
	}
	defer h.Close()
	chats := h.Store(uuid.Nil).Live("live")
	gateway, err := server.New(h, nil) // pages of its own origin only
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("POST /ask/{id}", func(w http.ResponseWriter, r *http.Request) {
		// The answer outlives the request, and this process stops when the answer has ended.
		if err := answer(context.WithoutCancel(r.Context()), chats, r.PathValue("id")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	mux.Handle("/v1/live/", gateway)
	mux.Handle("GET /streamhub.js", gateway)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Printf("open http://%s\n", listener.Addr())
	front := &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = gateway.Shutdown(bye)
		_ = front.Shutdown(bye)
	}()
	if err := front.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer begins an answer, which any instance may be asked for.
func answer(ctx context.Context, chats live.Streams, id string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	p, _, err := chats.Register(ctx, id, &live.RegisterOptions{OnCancel: func(reason error) { cancel(reason) }})
	if err != nil || p == nil {
		cancel(nil)
		return errors.Join(err, streamhub.ErrConflict)
	}
	go func() {
		defer cancel(nil)
		defer p.Close(context.WithoutCancel(ctx)) // cancelled, if that was asked for
		for n := range *length {
			if err := p.Publish(ctx, fmt.Append(nil, word(n))); err != nil {
				return
			}
			select {
			case <-time.After(*pause):
			case <-ctx.Done():
				return
			}
		}
		_ = p.Done(ctx, map[string]int{"words": *length})
	}()
	return nil
}

var words = []string{"streams", "resume", "wherever", "you", "are", "and", "end", "with", "a", "verdict", "whatever", "dies", "when"}

// word is one as a language model would say it, numbered so that a gap can be seen.
func word(n int) string { return fmt.Sprintf("%s·%d ", words[rand.IntN(len(words))], n+1) }

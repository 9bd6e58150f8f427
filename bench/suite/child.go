package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// runChild is what a process does that the suite started.
func runChild(ctx context.Context, what string, args []string) error {
	switch what {
	case "gateway":
		h, _, err := openHub(ctx, args[0], nil) // until the process is ended
		if err != nil {
			return err
		}
		g, err := wsgateway.New(ctx, h, nil)
		if err != nil {
			return err
		}
		return listen(ctx, g)
	case "durable":
		h, _, err := openHub(ctx, args[0], nil) // until the process is ended
		if err != nil {
			return err
		}
		d, err := durable.New(ctx, h, &durable.Options{EventStreamTime: time.Hour})
		if err != nil {
			return err
		}
		return listen(ctx, d)
	case "file":
		content := make([]byte, messages*posted)
		return listen(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}))
	case "events":
		return eventReader(ctx, args[0])
	case "bare":
		return newBare().serve(ctx)
	case "centrifuge":
		return serveCentrifuge(ctx)
	case "spin":
		return spin(ctx)
	case "subscriber":
		return subscriber(ctx, args[0])
	case "follower":
		h, _, err := openHub(ctx, args[0], nil) // until the process is ended
		if err != nil {
			return err
		}
		return follower(ctx, h.Provider(), args[1])
	case "client":
		p, err := client.NewWebSocketProvider(ctx, []string{"ws://" + args[0]}, nil)
		if err != nil {
			return err
		}
		return follower(ctx, p, args[1])
	case "reader":
		p, err := client.NewWebSocketProvider(ctx, []string{"ws://" + args[0]}, nil)
		if err != nil {
			return err
		}
		return reader(ctx, p, args[1])
	}
	return fmt.Errorf("no child is called %q", what)
}

// listen serves on a free port, and says which one.
func listen(ctx context.Context, h http.Handler) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, h) //nolint:gosec // on the loopback, for the program that started it
}

// spin keeps every core awake, and leaves it to whatever else wants it.
func spin(ctx context.Context) error {
	lowered := make(chan error)
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			lowered <- syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) // of this thread
			for ctx.Err() == nil {
			}
		}()
	}
	for range runtime.NumCPU() {
		if err := <-lowered; err != nil {
			return err
		}
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

// stamp is a payload that says when it was made.
func stamp() []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 100), uint64(time.Now().UnixNano()))[:100]
}

// A watch notes how old what arrives is, and prints the ages when its parent asks.
type watch struct {
	ages []time.Duration
}

// last is a payload that asks for the ages so far.
var last = make([]byte, 100)

func (w *watch) note(payload []byte) {
	if string(payload) != string(last) {
		w.ages = append(w.ages, time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(payload)))))
		return
	}
	fmt.Println(percentile(w.ages, 0.5).Nanoseconds(), percentile(w.ages, 0.99).Nanoseconds(), len(w.ages))
	w.ages = w.ages[:0]
}

// numbered notes what has a sequence; the first only says that the reader is there.
func (w *watch) numbered(sequence uint64, payload []byte) {
	if sequence == 1 {
		fmt.Println("ready")
		return
	}
	w.note(payload)
}

func subscriber(ctx context.Context, addr string) error {
	c := redis.NewClient(&redis.Options{Addr: addr})
	sub := c.Subscribe(ctx, "latency")
	if _, err := sub.Receive(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	var w watch
	for m := range sub.Channel(redis.WithChannelSize(10_000)) {
		w.note([]byte(m.Payload))
	}
	return nil
}

func follower(ctx context.Context, p streamhub.Provider, store string) error {
	id, err := uuid.Parse(store)
	if err != nil {
		return err
	}
	var w watch
	for e, err := range p.Store(id).FollowSegment(ctx, "bench", "latency", nil) {
		if err != nil {
			return err
		}
		w.numbered(e.Sequence, e.Payload)
	}
	return nil
}

func reader(ctx context.Context, p streamhub.Provider, store string) error {
	id, err := uuid.Parse(store)
	if err != nil {
		return err
	}
	stream, err := client.New(p, nil).Store(id).Live("bench").Await(ctx, "latency")
	if err != nil {
		return err
	}
	var w watch
	for chunk, err := range stream.Subscribe(ctx, nil) {
		if err != nil {
			return err
		}
		w.numbered(chunk.Sequence, chunk.Data)
	}
	return nil
}

func eventReader(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"?live=sse&offset=-1", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var w watch
	return events(response.Body, func(b []byte) {
		if len(b) == 0 {
			fmt.Println("ready")
		}
		for payload := range slices.Chunk(b, len(last)) { // an event may carry several
			w.note(payload)
		}
	})
}

// A bare server writes every line of its input to the connections of a segment, each encoded once. A line begins with
// the segment, which is the path of a connection.
type bare struct {
	conns chan bareConn
}

type bareConn struct {
	net.Conn
	segment string
}

func newBare() *bare { return &bare{conns: make(chan bareConn)} }

func (b *bare) serve(ctx context.Context) error {
	go func() {
		all := make(map[string][]net.Conn)
		lines := make(chan string)
		go func() {
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				lines <- in.Text()
			}
		}()
		for {
			select {
			case c := <-b.conns:
				all[c.segment] = append(all[c.segment], c.Conn)
			case line := <-lines:
				segment, payload, _ := strings.Cut(line, " ")
				frame := append([]byte{0x81, byte(len(payload))}, payload...) // text, fewer than 126 bytes
				for _, c := range all[segment] {
					_, _ = c.Write(frame)
				}
			}
		}
	}()
	return listen(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.accept(ctx, w, r) }))
}

// accept makes the handshake and keeps the connection under it: what is measured is one write of
// prepared bytes for each connection.
func (b *bare) accept(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	hijacker := &keep{ResponseWriter: w}
	ws, err := websocket.Accept(hijacker, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	b.conns <- bareConn{hijacker.conn, strings.TrimPrefix(r.URL.Path, "/")}
	_, _, _ = ws.Read(ctx)
}

type keep struct {
	http.ResponseWriter
	conn net.Conn
}

func (k *keep) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	c, rw, err = k.ResponseWriter.(http.Hijacker).Hijack()
	k.conn = c
	return c, rw, err
}

// serveCentrifuge publishes every line of its input to the channel that it begins with.
func serveCentrifuge(ctx context.Context) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			channel, payload, _ := strings.Cut(in.Text(), " ")
			_, _ = node.Publish(channel, fmt.Appendf(nil, "%q", payload))
		}
	}()
	return listen(ctx, centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
}

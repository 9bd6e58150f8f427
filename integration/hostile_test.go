//go:build faults && crowd

package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// hostileConfig is that of a worker with clients that do the worst they can for a while.
type hostileConfig struct {
	Address string // host:port
	TLS     bool
	Token   string // "" for clients that never say who they are
	Clients int
	For     time.Duration
}

func init() { roles["hostile"] = hostileRole }

func hostileRole(ctx context.Context, config []byte, lines *bufio.Scanner) error {
	var h hostile
	if err := json.Unmarshal(config, &h.hostileConfig); err != nil {
		return err
	}
	h.prepare()
	fmt.Fprintln(os.Stderr, "ready")
	lines.Scan()
	ctx, cancel := context.WithTimeout(ctx, h.For)
	defer cancel()
	attacks := h.attacks()
	var clients sync.WaitGroup
	for n := range h.Clients {
		attack := attacks[n%len(attacks)]
		clients.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithCancel(ctx)
				_ = attack(life) // it is thrown out, and comes again
				end()
				pause.For(ctx, time.Millisecond)
			}
		})
	}
	clients.Wait()
	return nil
}

// A hostile is one of them. Each attack is one connection, or one request, until it is thrown out.
type hostile struct {
	hostileConfig
	store              uuid.UUID
	large              []byte // more than a message may have
	opens, auths, open []byte // messages of streamhub.v1
}

func (h *hostile) prepare() {
	h.store = uuid.New()
	h.large = make([]byte, 21<<20)
	for n := range uint64(20_000) {
		h.opens = wire.AppendMessage(h.opens, wire.TypeOpen, n+1, (&wire.Open{Store: h.store, Credit: 1 << 20, Request: &wire.Follow{Space: "space", Segment: fmt.Sprint(n)}}).Append(nil))
	}
	h.auths = bytes.Repeat(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, "x.y.z")), 1000)
	request := &wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg", Records: []streamhub.Record{{Payload: make([]byte, 4<<20)}}}}
	h.open = wire.AppendMessage(nil, wire.TypeOpen, 1, (&wire.Open{Store: h.store, Request: request}).Append(nil))
}

func (h *hostile) attacks() []func(context.Context) error {
	endless := func() io.Reader { return &slowReader{piece: make([]byte, 64<<10)} }
	return []func(context.Context) error{
		h.socket(wire.Subprotocol, "", func(ctx context.Context, ws *websocket.Conn) error { // much more than a message may have
			return ws.Write(ctx, websocket.MessageBinary, h.large)
		}),
		h.socket(wire.Subprotocol, "", func(ctx context.Context, ws *websocket.Conn) error { // readers without number, which read nothing
			for {
				if err := ws.Write(ctx, websocket.MessageBinary, h.opens[:15<<10]); err != nil {
					return err
				}
				if err := ws.Write(ctx, websocket.MessageBinary, h.opens); err != nil {
					return err
				}
			}
		}),
		h.socket(wire.Subprotocol, "", func(ctx context.Context, ws *websocket.Conn) error { // tokens, one after the other
			for {
				if err := ws.Write(ctx, websocket.MessageBinary, h.auths); err != nil {
					return err
				}
			}
		}),
		h.socket(wire.Subprotocol, "", func(ctx context.Context, ws *websocket.Conn) error { // silence
			_, _, err := ws.Read(ctx)
			return err
		}),
		h.socket(wire.Subprotocol, "", func(ctx context.Context, ws *websocket.Conn) error { // a message that stops in the middle
			w, err := ws.Writer(ctx, websocket.MessageBinary)
			if err != nil {
				return err
			}
			if _, err = w.Write(h.open[:len(h.open)-1]); err == nil {
				<-ctx.Done()
			}
			return err
		}),
		h.socket("", "", func(ctx context.Context, ws *websocket.Conn) error { // streamkit's dialect, which wants a token first
			for {
				if err := ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"ControlType":"data","store_id":"%s","channel_id":"%s","payload":"e30="}`, h.store, uuid.New())); err != nil {
					return err
				}
			}
		}),
		h.socket(wire.Subprotocol, strings.Repeat("x", 7000), nil), // a token that is none
		h.request("GET", "/v1/live/answer?space=space", nil),
		h.request("GET", "/v1/stream/space/seg?offset=-1&live=sse", nil),
		h.request("GET", "/v1/stream/space/seg?ticket="+strings.Repeat("e", 8000), nil),
		h.request("POST", "/v1/stream/space/seg", endless),
		h.request("POST", "/v1/live/answer?space=space", endless),
		h.request("POST", "/v1/tickets", endless),
		h.raw(func(ctx context.Context, c net.Conn) error { // a connection, and nothing more
			_, err := io.Copy(io.Discard, c)
			return err
		}),
		h.raw(func(ctx context.Context, c net.Conn) error { // headers that do not end
			line := []byte("GET / HTTP/1.1\r\nHost: localhost\r\n")
			for {
				if _, err := c.Write(line); err != nil {
					return err
				}
				line = []byte("X-More: " + strings.Repeat("x", 100) + "\r\n")
				pause.For(ctx, 10*time.Millisecond)
			}
		}),
		h.raw(func(ctx context.Context, c net.Conn) error { // requests of which no answer is read
			all := strings.Repeat("GET /v1/live?space=space HTTP/1.1\r\nHost: localhost\r\n"+h.authorization()+"\r\n", 1000)
			for {
				if _, err := io.WriteString(c, all); err != nil {
					return err
				}
			}
		}),
		h.plain(func(ctx context.Context, c net.Conn) error { // no HTTP, and no TLS
			_, err := c.Write(bytes.Repeat([]byte{0x16, 3, 1, 0xff}, 16<<10))
			return err
		}),
	}
}

// A slowReader is a body without an end.
type slowReader struct{ piece []byte }

func (r *slowReader) Read(b []byte) (int, error) { return copy(b, r.piece), nil }

func (h *hostile) authorization() string {
	if h.Token == "" {
		return ""
	}
	return "Authorization: Bearer " + h.Token + "\r\n"
}

func (h *hostile) url(path string) string {
	scheme := "http"
	if h.TLS {
		scheme = "https"
	}
	return scheme + "://" + h.Address + path
}

// stranger is the TLS of a client that takes every certificate.
var stranger = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the gateway has made its own

func (h *hostile) transport() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: stranger.Clone(), ForceAttemptHTTP2: true}
}

// socket connects over WebSocket. Without a token of the client the other one is presented, and then none.
func (h *hostile) socket(subprotocol, token string, attack func(context.Context, *websocket.Conn) error) func(context.Context) error {
	if token == "" {
		token = h.Token
	}
	return func(ctx context.Context) error {
		transport := h.transport()
		transport.ForceAttemptHTTP2 = false
		defer transport.CloseIdleConnections()
		o := &websocket.DialOptions{HTTPHeader: http.Header{}, HTTPClient: &http.Client{Transport: transport}}
		if subprotocol != "" {
			o.Subprotocols = []string{subprotocol}
		}
		if token != "" {
			o.HTTPHeader.Set("Authorization", "Bearer "+token)
		}
		ws, _, err := websocket.Dial(ctx, h.url("/streamz"), o)
		if err != nil {
			return err
		}
		defer func() { _ = ws.CloseNow() }()
		if attack == nil {
			_, _, err = ws.Read(ctx)
			return err
		}
		return attack(ctx, ws)
	}
}

// request makes one request, reads what it is answered, and then stays for as long as it may.
func (h *hostile) request(method, path string, body func() io.Reader) func(context.Context) error {
	return func(ctx context.Context) error {
		transport := h.transport()
		defer transport.CloseIdleConnections()
		var content io.Reader
		if body != nil {
			content = body()
		}
		r, err := http.NewRequestWithContext(ctx, method, h.url("/stores/"+h.store.String()+path), content)
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "text/plain")
		if h.Token != "" {
			r.Header.Set("Authorization", "Bearer "+h.Token)
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
}

// plain connects over TCP, raw over what the gateway speaks.
func (h *hostile) plain(attack func(context.Context, net.Conn) error) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.Address)
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		defer c.Close()
		return attack(ctx, c)
	}
}

func (h *hostile) raw(attack func(context.Context, net.Conn) error) func(context.Context) error {
	return h.plain(func(ctx context.Context, c net.Conn) error {
		if h.TLS {
			c = tls.Client(c, stranger.Clone())
		}
		return attack(ctx, c)
	})
}

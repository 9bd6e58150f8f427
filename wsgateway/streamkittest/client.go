package streamkittest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// deadline is how long an answer may take.
const deadline = 30 * time.Second

// maxFrame is what the released client takes.
const maxFrame = 8 << 20

// A Gateway is what is judged.
type Gateway struct {
	// Address is host:port.
	Address string
	// Token makes a token with scopes; nil if the gateway asks for none.
	Token func(t testing.TB, scopes ...string) string
}

// A Frame is what travels.
type Frame struct {
	ControlType  string            `json:"ControlType"`
	StoreID      uuid.UUID         `json:"store_id"`
	ChannelID    uuid.UUID         `json:"channel_id"`
	Payload      []byte            `json:"payload"`
	TraceContext map[string]string `json:"trace_context,omitempty"`
}

// A Control is a payload that ends a channel.
type Control struct {
	Type string `json:"type"`
	Err  string `json:"err"`
}

// A Client is one connection.
type Client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader

	writing  sync.Mutex
	mu       sync.Mutex
	channels map[uuid.UUID]*Channel
	ended    map[uuid.UUID]bool
	pongs    chan struct{}
	done     chan struct{}
	code     int // of the close frame, 0 for none
	problem  error
	every    func(Frame) // sees every frame, if set
	// pings hears of the pings of the gateway, if set; mute leaves them without an answer.
	pings chan struct{}
	mute  bool
}

// handshake returns the answer to the request of the released client.
func handshake(t testing.TB, g Gateway, header map[string]string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.Address, deadline)
	require.NoError(t, err)
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	var b strings.Builder
	fmt.Fprintf(&b, "GET /streamz HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n",
		g.Address, base64.StdEncoding.EncodeToString(key))
	if _, ok := header["Origin"]; !ok {
		b.WriteString("Origin: http://localhost\r\n")
	}
	b.WriteString("Sec-WebSocket-Version: 13\r\n")
	for k, v := range header {
		if v != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	b.WriteString("\r\n")
	_, err = io.WriteString(conn, b.String())
	require.NoError(t, err)
	in := bufio.NewReaderSize(conn, 64<<10)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(deadline)))
	response, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	return conn, in, response
}

// Dial connects, with a token for scopes if the gateway wants one.
func Dial(t testing.TB, g Gateway, scopes ...string) *Client {
	t.Helper()
	header := map[string]string{}
	if g.Token != nil {
		header["Authorization"] = "Bearer " + g.Token(t, scopes...)
	}
	conn, in, response := handshake(t, g, header)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	require.Empty(t, response.Header.Values("Sec-WebSocket-Extensions"), "the released client knows none")
	require.Empty(t, response.Header.Values("Sec-WebSocket-Protocol"), "none was asked for")
	require.Equal(t, []string{"Upgrade"}, response.Header.Values("Connection"))
	require.True(t, strings.EqualFold("websocket", response.Header.Get("Upgrade")))
	c := &Client{
		t: t, conn: conn, in: in, channels: map[uuid.UUID]*Channel{}, ended: map[uuid.UUID]bool{},
		pongs: make(chan struct{}, 1024), done: make(chan struct{}),
	}
	go c.read()
	t.Cleanup(func() {
		conn.Close()
		<-c.done
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.problem != nil {
			t.Errorf("the gateway broke the protocol: %v", c.problem)
		}
	})
	return c
}

// read takes frames until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	for {
		opcode, payload, err := c.readFrame()
		if err != nil {
			c.over(err)
			return
		}
		switch opcode {
		case 8:
			if len(payload) >= 2 {
				c.mu.Lock()
				c.code = int(binary.BigEndian.Uint16(payload))
				c.mu.Unlock()
			}
			c.over(io.EOF)
			return
		case 9:
			_ = c.writeFrame(10, payload)
		case 10:
		case 1, 2:
			var f Frame
			if err := json.Unmarshal(payload, &f); err != nil {
				c.over(fmt.Errorf("a frame is no JSON: %w", err))
				return
			}
			if err := c.take(f); err != nil {
				c.over(err)
				return
			}
		default:
			c.over(fmt.Errorf("opcode %d", opcode))
			return
		}
	}
}

// over ends every channel.
func (c *Client) over(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var network net.Error
	if err != io.EOF && err != io.ErrUnexpectedEOF && !isNetwork(err, &network) {
		c.problem = err
	}
	for _, ch := range c.channels {
		ch.finish(&Control{Type: "lost"})
	}
	c.channels = map[uuid.UUID]*Channel{}
}

func isNetwork(err error, as *net.Error) bool {
	e, ok := err.(net.Error)
	*as = e
	return ok
}

// readFrame takes one frame as strictly as the released client does.
func (c *Client) readFrame() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0x80 == 0 {
		return 0, nil, fmt.Errorf("a fragmented message")
	}
	if head[0]&0x70 != 0 {
		return 0, nil, fmt.Errorf("an extension bit")
	}
	if head[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("a masked frame")
	}
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.in, payload)
	return head[0] & 0x0f, payload, err
}

// writeFrame sends one masked frame.
func (c *Client) writeFrame(opcode byte, payload []byte) error {
	b := make([]byte, 0, len(payload)+14)
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	start := len(b)
	b = append(b, payload...)
	// In large pieces: the race detector makes a loop over bytes cost more than the rest of a test.
	for key, rest := bytes.Repeat(mask, 1<<10), b[start:]; len(rest) > 0; {
		rest = rest[subtle.XORBytes(rest, rest, key):]
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.conn.Write(b)
	return err
}

// take passes a frame to its channel.
func (c *Client) take(f Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.every != nil {
		c.every(f)
	}
	switch f.ControlType {
	case "pong":
		select {
		case c.pongs <- struct{}{}:
		default:
		}
		return nil
	case "ping":
		if c.pings != nil {
			c.pings <- struct{}{}
		}
		if c.mute {
			return nil
		}
		go func() { _ = c.send(Frame{ControlType: "pong"}) }()
		return nil
	case "close":
		return nil
	case "data", "error":
	default:
		return fmt.Errorf("control type %q", f.ControlType)
	}
	ch := c.channels[f.ChannelID]
	if ch == nil {
		if c.ended[f.ChannelID] && f.ControlType == "data" && c.every == nil {
			return fmt.Errorf("a message after the end of its channel: %s", f.Payload)
		}
		return nil
	}
	var control Control
	if bytes.HasPrefix(f.Payload, []byte(`{"type":"mux::`)) {
		if err := json.Unmarshal(f.Payload, &control); err != nil {
			return err
		}
	}
	if control.Type != "" || f.ControlType == "error" {
		ch.finish(&control)
		delete(c.channels, f.ChannelID)
		c.ended[f.ChannelID] = true
		return nil
	}
	ch.messages <- f.Payload
	return nil
}

func (c *Client) send(f Frame) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return c.writeFrame(1, text)
}

// Ping waits for the answer to a ping.
func (c *Client) Ping() {
	c.t.Helper()
	require.NoError(c.t, c.send(Frame{ControlType: "ping"}))
	select {
	case <-c.pongs:
	case <-time.After(deadline):
		c.t.Fatal("no pong came")
	}
}

// Pings returns a channel that hears of the pings of the gateway, and says whether the client answers them. The channel
// takes ten.
func (c *Client) Pings(answers bool) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings, c.mute = make(chan struct{}, 10), !answers
	return c.pings
}

// Code waits for the end of the connection and returns the code of its close frame.
func (c *Client) Code() int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(deadline):
		c.t.Fatal("the connection did not end")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// A Channel is one operation.
type Channel struct {
	c        *Client
	store    uuid.UUID
	id       uuid.UUID
	messages chan []byte
	end      chan *Control
}

func (ch *Channel) finish(control *Control) {
	ch.end <- control
	close(ch.messages)
}

// Open begins an operation.
func (c *Client) Open(store uuid.UUID, kind string, content any) *Channel {
	c.t.Helper()
	ch := c.channel(store)
	ch.envelope(kind, content)
	return ch
}

// channel makes a channel that has sent nothing.
func (c *Client) channel(store uuid.UUID) *Channel {
	ch := &Channel{c: c, store: store, id: uuid.New(), messages: make(chan []byte, 1<<17), end: make(chan *Control, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.channels[ch.id] = ch
	return ch
}

func (ch *Channel) envelope(kind string, content any) {
	ch.c.t.Helper()
	ch.Send(map[string]any{"$type": "streamkit://api/v1/" + kind, "content": content})
}

// Send sends a message of the operation.
func (ch *Channel) Send(v any) {
	ch.c.t.Helper()
	payload, err := json.Marshal(v)
	require.NoError(ch.c.t, err)
	require.NoError(ch.c.t, ch.c.send(Frame{ControlType: "data", StoreID: ch.store, ChannelID: ch.id, Payload: payload}))
}

// Close sends the end of this side.
func (ch *Channel) Close(reason string) {
	ch.c.t.Helper()
	control := map[string]string{"type": "mux::close"}
	if reason != "" {
		control["err"] = reason
	}
	ch.Send(control)
}

// Next returns the next message; ok is false at the end.
func (ch *Channel) Next() (message []byte, ok bool) {
	ch.c.t.Helper()
	select {
	case message, ok = <-ch.messages:
		return message, ok
	case <-time.After(deadline):
		ch.c.t.Fatal("the channel is not answered")
		return nil, false
	}
}

// Rest returns all messages that are left and the text of the error that the channel ended with.
func (ch *Channel) Rest() (messages [][]byte, problem string) {
	ch.c.t.Helper()
	for {
		m, ok := ch.Next()
		if !ok {
			end := <-ch.end
			if end.Type == "lost" {
				ch.c.t.Fatal("the connection was lost")
			}
			return messages, end.Err
		}
		messages = append(messages, m)
	}
}

// Package streamz reads from a server of streamkit v1 over its own protocol. Importing its data is what
// it is for; programs that speak to a hub use package client.
//
// Released servers compare keys without the end of a name: after what "order-1" has they send what "order-10" has, of segments and of
// spaces alike. That is left out here. They answer a peek with the last entry of the last such segment, so there is none here.
//
// The protocol has no flow control above TCP: a server sends what it has. A [Conn] therefore stops reading
// the connection while the caller of one read is slow, and every other read of that connection waits
// too. Reads that go on side by side have a connection each.
package streamz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

const (
	prefix = "streamkit://api/v1/"

	// Released clients and servers take frames of 8 MiB. Servers send longer ones: an entry of 4.5 MiB, which they have stored
	// and no released client can read, has one of 8 MiB and a little, and is brought all the same.
	maxFrame = 8<<20 + 4<<10
	// A server drops a connection that is silent for 90 s, and so does this side: its pings are answered.
	silence   = 90 * time.Second
	pingEvery = 25 * time.Second
	// queued is how many messages of a read wait for its caller.
	queued = 256
)

// A Conn is one connection. It is safe for concurrent use.
type Conn struct {
	ws     *websocket.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup

	// mu guards channels: those whose caller still reads, by the id that this side chose.
	mu       sync.Mutex
	channels map[uuid.UUID]*channel
}

// A channel is one operation.
type channel struct {
	messages chan []byte
	done     chan struct{} // its caller wants no more
}

// A frame is what travels: JSON, with the payload in base64.
type frame struct {
	ControlType string
	StoreID     uuid.UUID `json:"store_id"`
	ChannelID   uuid.UUID `json:"channel_id"`
	Payload     []byte    `json:"payload"`
}

// A control is a payload that ends a channel: mux::close, or mux::error with a text.
type control struct {
	Type string `json:"type"`
	Err  string `json:"err,omitempty"`
}

// Dial connects to a server at address: ws:// or wss://, as released clients are given it. token is sent as the
// bearer unless it is empty. dialer may be nil, which stands for http.DefaultClient. ctx bounds the dial only.
func Dial(ctx context.Context, address, token string, dialer *http.Client) (*Conn, error) {
	header := http.Header{"Origin": {"http://localhost"}} // the server refuses clients without one
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	ws, response, err := websocket.Dial(ctx, strings.TrimRight(address, "/")+"/streamz", &websocket.DialOptions{
		HTTPClient: dialer, HTTPHeader: header, CompressionMode: websocket.CompressionDisabled,
	})
	if response != nil && response.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("%w: the streamkit server at %s refuses the token, or the token has no scope for a store", streamhub.ErrUnauthenticated, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: dial the streamkit server at %s: %w", streamhub.ErrUnavailable, address, err)
	}
	ws.SetReadLimit(maxFrame)
	c := &Conn{ws: ws, channels: map[uuid.UUID]*channel{}}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c.tasks.Go(c.read)
	c.tasks.Go(c.ping)
	return c, nil
}

// Close ends the connection and every read on it, and waits for its goroutines.
func (c *Conn) Close() {
	c.end(errors.New("it was closed"))
	c.tasks.Wait()
}

// end ends the connection with a reason for every read on it. Only the first reason counts.
func (c *Conn) end(err error) {
	c.cancel(fmt.Errorf("%w: the connection to the streamkit server has ended: %v", streamhub.ErrUnavailable, err))
	_ = c.ws.CloseNow()
}

// read passes what comes to the channels, until the connection ends. It waits for a channel whose
// caller is slow.
func (c *Conn) read() {
	for {
		ctx, cancel := context.WithTimeout(c.ctx, silence)
		_, data, err := c.ws.Read(ctx)
		cancel()
		var f frame
		if err == nil {
			err = json.Unmarshal(data, &f)
		}
		if err == nil && f.ControlType == "close" {
			err = io.EOF
		}
		if err != nil {
			c.end(err)
			return
		}
		switch f.ControlType {
		case "ping":
			err = c.write(c.ctx, &frame{ControlType: "pong"})
		case "data", "error":
			c.mu.Lock()
			ch := c.channels[f.ChannelID]
			c.mu.Unlock()
			if ch == nil {
				continue // late messages of a read that has ended are usual
			}
			select {
			case ch.messages <- f.Payload:
			case <-ch.done:
			case <-c.ctx.Done():
			}
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// ping keeps the connection from being dropped as silent.
func (c *Conn) ping() {
	for tick := time.NewTicker(pingEvery); ; {
		select {
		case <-tick.C:
			if err := c.write(c.ctx, &frame{ControlType: "ping"}); err != nil {
				c.end(err)
			}
		case <-c.ctx.Done():
			tick.Stop()
			return
		}
	}
}

func (c *Conn) write(ctx context.Context, f *frame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return c.ws.Write(ctx, websocket.MessageText, data)
}

// call makes a request and returns the messages of the answer.
func (c *Conn) call(ctx context.Context, store uuid.UUID, kind string, content any) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		id, ch := uuid.New(), &channel{messages: make(chan []byte, queued), done: make(chan struct{})}
		c.mu.Lock()
		c.channels[id] = ch
		c.mu.Unlock()
		ended := false // the server has ended the channel, or the connection has ended: no close is owed
		send := func(v any) error {
			payload, err := json.Marshal(v)
			if err == nil {
				// Not the context of the caller: the library closes a connection on which a write was cut short, and
				// others use it.
				err = c.write(c.ctx, &frame{"data", store, id, payload})
			}
			return err
		}
		defer func() {
			c.mu.Lock()
			delete(c.channels, id)
			c.mu.Unlock()
			// read may wait for this channel, and every other one with it.
			close(ch.done)
			if !ended {
				_ = send(control{Type: "mux::close"}) // the connection has ended otherwise
			}
		}()
		if err := send(map[string]any{"$type": prefix + kind, "content": content}); err != nil {
			ended = true
			yield(nil, c.failed(err))
			return
		}
		for {
			var message []byte
			select {
			case message = <-ch.messages:
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			case <-c.ctx.Done():
				// What came before the end is passed on: a caller that connects again goes on after it.
				select {
				case message = <-ch.messages:
				default:
					ended = true
					yield(nil, context.Cause(c.ctx))
					return
				}
			}
			if end := controlOf(message); end != nil {
				if ended = true; end.Err != "" {
					yield(nil, remote(end.Err))
				}
				return
			}
			if !yield(message, nil) {
				return
			}
		}
	}
}

// failed is the error of a write: that of the connection, if that has ended.
func (c *Conn) failed(err error) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: %v", streamhub.ErrUnavailable, err)
}

// controlOf returns what a message ends, nil if it is a message of the operation. Those that end something all hold
// the text mux::, and hardly any entry does, so an entry is not decoded twice.
func controlOf(message []byte) *control {
	if !bytes.Contains(message, []byte(`mux::`)) {
		return nil
	}
	var c control
	if json.Unmarshal(message, &c) != nil || !strings.HasPrefix(c.Type, "mux::") {
		return nil
	}
	if c.Type == "mux::error" && c.Err == "" {
		c.Err = "an error without a text"
	}
	return &c
}

// remote turns the error text of a server into an error: the protocol has no codes.
func remote(text string) error {
	if text == "access denied" {
		return fmt.Errorf("%w: the streamkit server: %s", streamhub.ErrPermissionDenied, text)
	}
	return fmt.Errorf("the streamkit server: %s", text)
}

// list makes a call and decodes each message of its answer.
func list[T any](c *Conn, ctx context.Context, store uuid.UUID, kind string, content any, visit func(*T) bool) error {
	for message, err := range c.call(ctx, store, kind, content) {
		if err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(message, &v); err != nil {
			return fmt.Errorf("the streamkit server: a message of %d bytes: %w", len(message), err)
		}
		if !visit(&v) {
			return nil
		}
	}
	return nil
}

func (c *Conn) names(ctx context.Context, store uuid.UUID, kind string, content any) (names []string, err error) {
	err = list(c, ctx, store, kind, content, func(name *string) bool { names = append(names, *name); return true })
	return names, err
}

// Spaces lists the spaces of a store in byte order.
func (c *Conn) Spaces(ctx context.Context, store uuid.UUID) ([]string, error) {
	return c.names(ctx, store, "get_spaces", struct{}{})
}

// Segments lists the segments of a space in byte order, and those of spaces whose names begin with its own.
func (c *Conn) Segments(ctx context.Context, store uuid.UUID, space string) ([]string, error) {
	return c.names(ctx, store, "get_segments", map[string]string{"space": space})
}

// entry is the form of the wire.
type entry struct {
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"`
	TRX       streamhub.TRX     `json:"trx"`
	Payload   []byte            `json:"payload"`
	Metadata  map[string]string `json:"metadata"`
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
}

func (e *entry) public() streamhub.Entry {
	return streamhub.Entry{
		Space: e.Space, Segment: e.Segment, Sequence: e.Sequence, Timestamp: millis.Time(e.Timestamp), TRX: e.TRX,
		Payload: e.Payload, Metadata: e.Metadata,
	}
}

func (c *Conn) entries(ctx context.Context, store uuid.UUID, kind string, content any) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		err := list(c, ctx, store, kind, content, func(e *entry) bool { return yield(e.public(), nil) })
		if err != nil {
			yield(streamhub.Entry{}, err)
		}
	}
}

// ConsumeSpace reads the entries of a space after an offset, from its start if that is empty, in the order of
// timestamp, segment and sequence. until bounds the time, inclusive, unless it is zero.
func (c *Conn) ConsumeSpace(ctx context.Context, store uuid.UUID, space string, offset streamhub.LexKey, until time.Time) iter.Seq2[streamhub.Entry, error] {
	content := map[string]any{"space": space}
	if len(offset) > 0 {
		content["offset"] = offset
	}
	if !until.IsZero() {
		content["max_timestamp"] = until.UnixMilli()
	}
	return func(yield func(streamhub.Entry, error) bool) {
		for e, err := range c.entries(ctx, store, "consume_space", content) {
			if err == nil && e.Space != space || !yield(e, err) {
				return
			}
		}
	}
}

// Entries returns the entries of a segment from a sequence on, n at most.
func (c *Conn) Entries(ctx context.Context, store uuid.UUID, space, segment string, from uint64, n int) (list []streamhub.Entry, err error) {
	content := map[string]any{"space": space, "segment": segment, "min_sequence": from, "limit": n}
	for e, err := range c.entries(ctx, store, "consume_segment", content) {
		if err != nil {
			return nil, err
		}
		if e.Space != space || e.Segment != segment {
			break
		}
		if list = append(list, e); len(list) == n {
			break
		}
	}
	return list, nil
}

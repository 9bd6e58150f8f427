package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coder/websocket"
	"github.com/seed-147127fe/streamhub/internal/option"
)

// A Logger receives background failures, each new connection, and the start and the end of a session. A *slog.Logger
// implements it. Its methods are called from several goroutines.
type Logger interface {
	Debug(msg string, keyvals ...any)
	Info(msg string, keyvals ...any)
	Warn(msg string, keyvals ...any)
	Error(msg string, keyvals ...any)
}

type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

// ConnConfig configures a [Conn]; a zero field has its default.
type ConnConfig struct {
	URL     string
	Headers http.Header
	// Header, if not nil, replaces Headers: it returns the headers of each attempt, with a fresh
	// token for example.
	Header func(ctx context.Context) (http.Header, error)
	// Subprotocols are offered to the server.
	Subprotocols []string
	// HTTPClient dials; the default is http.DefaultClient, which requires TLS 1.2 or later.
	HTTPClient *http.Client

	DialTimeout      time.Duration // of one attempt; the default is 10 s
	WriteWait        time.Duration // of one message; the default is 10 s
	MaxMessageSize   int64         // of a received message, in bytes; the default is 16 MiB
	MaxRetries       int           // attempts of ConnectWithRetry; the default is 3
	RetryBackoffBase time.Duration // before the second attempt, doubled for each further one; the default is 1 s
	RetryBackoffMax  time.Duration // between two attempts; the default is 30 s
	CloseGracePeriod time.Duration // for the peer to answer Close; the default is 5 s
	Logger           Logger
}

func (c *ConnConfig) fill() {
	option.Default(&c.DialTimeout, 10*time.Second)
	option.Default(&c.WriteWait, 10*time.Second)
	option.Default(&c.MaxMessageSize, 16<<20)
	option.Default(&c.MaxRetries, 3)
	option.Default(&c.RetryBackoffBase, time.Second)
	option.Default(&c.RetryBackoffMax, 30*time.Second)
	option.Default(&c.CloseGracePeriod, 5*time.Second)
	if c.Logger == nil {
		c.Logger = silent{}
	}
}

var (
	// ErrConnClosed is the error of calls on a Conn between Close and Reset.
	ErrConnClosed = errors.New("connection is closed")
	// ErrNotConnected is the error of Send and Receive on a Conn that is not connected.
	ErrNotConnected = errors.New("websocket is not connected")
	// ErrNoPong is the error of a connection that ended because its peer did not answer a ping.
	ErrNoPong = errors.New("the peer does not answer")
)

// A DialError is a failed attempt to connect. Status and Header are those of the HTTP answer, 0 and
// nil if there was none.
type DialError struct {
	Status int
	Header http.Header
	Err    error
}

func (e *DialError) Error() string { return "failed to connect: " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// queued is how many received messages may be queued before the connection is no longer read.
const queued = 64

// A Conn is a WebSocket connection that can be dialed again after it was lost.
type Conn struct {
	cfg ConnConfig

	writing sync.Mutex // keeps messages in the order of the calls to send

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when anything below changes
	closed  bool
	ws      *websocket.Conn // nil without a connection
	end     context.CancelFunc
	life    context.Context // ends when ws ends
	err     error           // why the last connection has ended
	chosen  string          // subprotocol of the last connection
	queue   [][]byte        // received messages, of all connections so far
	pumps   sync.WaitGroup
}

// NewConn makes a Conn that is not connected. The configuration is copied.
func NewConn(cfg *ConnConfig) *Conn {
	c := &Conn{changed: make(chan struct{})}
	if cfg != nil {
		c.cfg = *cfg
	}
	c.cfg.fill()
	return c
}

// notify wakes all that wait for a change. The lock is held.
func (c *Conn) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Connect dials once. The error is a [DialError], [ErrConnClosed], or that of ctx. On a connected
// Conn it does nothing.
func (c *Conn) Connect(ctx context.Context) error {
	begun := time.Now()
	subprotocol, connected, err := c.connect(ctx)
	if connected { // logged without the lock: a Logger may call methods of the Conn
		c.cfg.Logger.Info("connected", "host", hostOf(c.cfg.URL), "subprotocol", subprotocol, "took", time.Since(begun))
	}
	return err
}

// hostOf returns the part of a URL that may be logged: the rest may hold a key.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// connect dials once. made says whether it has made a connection, which has the given subprotocol.
func (c *Conn) connect(ctx context.Context) (subprotocol string, made bool, err error) {
	c.mu.Lock()
	closed, connected := c.closed, c.ws != nil
	c.mu.Unlock()
	if closed {
		return "", false, ErrConnClosed
	}
	if connected {
		return "", false, nil
	}
	header := c.cfg.Headers
	if c.cfg.Header != nil {
		if header, err = c.cfg.Header(ctx); err != nil {
			return "", false, &DialError{Err: err}
		}
	}
	dialing, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	ws, response, err := websocket.Dial(dialing, c.cfg.URL, &websocket.DialOptions{
		HTTPClient: c.cfg.HTTPClient, HTTPHeader: header, Subprotocols: c.cfg.Subprotocols,
	})
	if err != nil {
		if ctx.Err() != nil {
			return "", false, ctx.Err()
		}
		failed := &DialError{Err: err}
		if response != nil {
			failed.Status, failed.Header = response.StatusCode, response.Header
		}
		return "", false, failed
	}
	ws.SetReadLimit(c.cfg.MaxMessageSize)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ws != nil {
		_ = ws.CloseNow()
		if c.closed {
			return "", false, ErrConnClosed
		}
		return "", false, nil
	}
	c.ws, c.err, c.chosen = ws, nil, ws.Subprotocol()
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	life := c.life
	c.pumps.Go(func() { c.pump(life, ws) })
	c.notify()
	return c.chosen, true, nil
}

// ConnectWithRetry connects, in up to MaxRetries attempts with growing pauses between them.
func (c *Conn) ConnectWithRetry(ctx context.Context) error {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: c.cfg.RetryBackoffBase, MaxInterval: c.cfg.RetryBackoffMax, Multiplier: 2, RandomizationFactor: 0.25,
	}
	pauses.Reset()
	for attempt := 1; ; attempt++ {
		err := c.Connect(ctx)
		switch {
		case err == nil, errors.Is(err, ErrConnClosed):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case attempt >= c.cfg.MaxRetries:
			return fmt.Errorf("failed to connect after %d attempts: %w", attempt, err)
		}
		pause := min(pauses.NextBackOff(), c.cfg.RetryBackoffMax)
		c.cfg.Logger.Warn("connecting failed, trying again", "attempt", attempt, "pause", pause, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// pump queues received messages until the connection ends.
func (c *Conn) pump(ctx context.Context, ws *websocket.Conn) {
	for {
		_, data, err := ws.Read(ctx)
		c.mu.Lock()
		if err != nil {
			if c.ws == ws {
				c.lost(err)
			}
			c.mu.Unlock()
			_ = ws.CloseNow()
			return
		}
		c.queue = append(c.queue, data)
		c.notify()
		for len(c.queue) >= queued && c.ws == ws {
			changed := c.changed
			c.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			c.mu.Lock()
		}
		c.mu.Unlock()
	}
}

// lost records that the connection has ended because of err. The lock is held.
func (c *Conn) lost(err error) {
	c.end()
	c.ws, c.err = nil, err
	c.notify()
}

// Receive returns the next message, text or binary, in the order in which they came over this and
// earlier connections. After the last message of a lost connection it returns the error that ended
// the connection, such as a [websocket.CloseError], until the Conn is connected again. If ctx ends
// first nothing is lost: the next call gets the message.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if len(c.queue) > 0 {
			data := c.queue[0]
			c.queue = c.queue[1:]
			c.notify()
			return data, nil
		}
		switch {
		case c.closed:
			return nil, ErrConnClosed
		case c.ws == nil && c.err != nil:
			return nil, c.err
		case c.ws == nil:
			return nil, ErrNotConnected
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
			c.mu.Lock()
		case <-ctx.Done():
			c.mu.Lock()
			return nil, ctx.Err()
		}
	}
}

// ReceiveLoop sends received messages to ch until the connection ends or ctx does. It returns nil
// after Close and after close code 1000.
func (c *Conn) ReceiveLoop(ctx context.Context, ch chan<- []byte) error {
	for {
		data, err := c.Receive(ctx)
		if errors.Is(err, ErrConnClosed) || websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case ch <- data:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Send sends v as JSON in a text message.
func (c *Conn) Send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("failed to marshal message: %w", err)
	}
	return c.SendRaw(data)
}

// SendRaw sends a text message. After an error the connection has ended, and it is unknown whether the
// message arrived.
func (c *Conn) SendRaw(data []byte) error { return c.send(websocket.MessageText, data) }

// SendBinary is like SendRaw, for a binary message.
func (c *Conn) SendBinary(data []byte) error { return c.send(websocket.MessageBinary, data) }

func (c *Conn) send(kind websocket.MessageType, data []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	ws, life := c.ws, c.life
	c.mu.Unlock()
	if ws == nil {
		return ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(life, c.cfg.WriteWait)
	defer cancel()
	err := ws.Write(ctx, kind, data)
	if err != nil {
		c.drop(ws, err)
	}
	return err
}

// drop ends ws if it is still the current connection.
func (c *Conn) drop(ws *websocket.Conn, err error) {
	c.mu.Lock()
	if c.ws == ws {
		c.lost(err)
	}
	c.mu.Unlock()
	_ = ws.CloseNow()
}

// StartHeartbeat pings the peer of the current connection until the connection or ctx ends. If the
// peer does not answer within the interval, the connection ends with [ErrNoPong].
func (c *Conn) StartHeartbeat(ctx context.Context, interval time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ws, life := c.ws, c.life; ws != nil && interval > 0 {
		c.pumps.Go(func() { c.heartbeat(ctx, life, ws, interval) })
	}
}

func (c *Conn) heartbeat(ctx, life context.Context, ws *websocket.Conn, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-life.Done():
			return
		case <-tick.C:
		}
		ping, cancel := context.WithTimeout(life, interval)
		err := ws.Ping(ping)
		cancel()
		c.mu.Lock()
		full := len(c.queue) >= queued // with a full queue it is this side that does not read pongs
		c.mu.Unlock()
		if err != nil && !full && life.Err() == nil {
			c.cfg.Logger.Warn("the peer does not answer pings")
			c.drop(ws, fmt.Errorf("%w: %w", ErrNoPong, err))
			return
		}
	}
}

// Close closes the connection with close code 1000 and waits for the goroutines of the Conn. Received messages can
// still be read. On a Conn that is closed or was never connected it does nothing.
func (c *Conn) Close() error {
	c.mu.Lock()
	ws, was := c.ws, c.closed
	c.closed = true
	c.notify()
	c.mu.Unlock()
	if ws != nil && !was {
		late := time.AfterFunc(c.cfg.CloseGracePeriod, func() { _ = ws.CloseNow() })
		_ = ws.Close(websocket.StatusNormalClosure, "") // an error reaches the pump
		late.Stop()
		c.drop(ws, ErrConnClosed)
	}
	c.pumps.Wait()
	return nil
}

// Reset drops the connection without a close handshake, and makes a closed Conn usable again.
// Received messages can still be read.
func (c *Conn) Reset() {
	c.mu.Lock()
	ws := c.ws
	c.mu.Unlock()
	if ws != nil {
		c.drop(ws, ErrNotConnected)
	}
	c.pumps.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.err = false, nil
	c.notify()
}

// IsClosed reports whether Close was called and Reset was not called after it.
func (c *Conn) IsClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// IsConnected reports whether there is a connection.
func (c *Conn) IsConnected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ws != nil
}

// Subprotocol returns the subprotocol that the server chose for the last connection, or "". It
// stays readable after the connection has ended.
func (c *Conn) Subprotocol() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chosen
}

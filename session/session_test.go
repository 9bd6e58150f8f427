package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-147127fe/streamhub/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server; serve gets each connection, numbered from 1.
func peer(t *testing.T, serve func(ctx context.Context, n int, ws *websocket.Conn)) string {
	t.Helper()
	var n atomic.Int64
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1) // before Accept: the server's Close waits for a request, and no longer once it is hijacked
		defer serving.Done()
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"test"}})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		serve(ctx, int(n.Add(1)), ws)
	}))
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		serving.Wait()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func echo(ctx context.Context, _ int, ws *websocket.Conn) {
	for {
		kind, data, err := ws.Read(ctx)
		if err != nil || ws.Write(ctx, kind, data) != nil {
			return
		}
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, url string, edit func(*session.ConnConfig)) *session.Conn {
	t.Helper()
	cfg := &session.ConnConfig{URL: url, RetryBackoffBase: time.Millisecond, RetryBackoffMax: 2 * time.Millisecond, CloseGracePeriod: time.Second}
	if edit != nil {
		edit(cfg)
	}
	c := session.NewConn(cfg)
	require.NoError(t, c.Connect(within(t)))
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// TestSubprotocolOfTheLost: a connection that is cut at once is not one to a server of another kind.
func TestSubprotocolOfTheLost(t *testing.T) {
	cut := func(context.Context, int, *websocket.Conn) {}
	c := connect(t, peer(t, cut), func(cfg *session.ConnConfig) { cfg.Subprotocols = []string{"test"} })
	_, err := c.Receive(within(t))
	require.Error(t, err)
	require.False(t, c.IsConnected())
	require.Equal(t, "test", c.Subprotocol())
}

func TestEcho(t *testing.T) {
	c := connect(t, peer(t, echo), func(cfg *session.ConnConfig) { cfg.Subprotocols = []string{"test"} })
	require.True(t, c.IsConnected())
	require.Equal(t, "test", c.Subprotocol())
	require.NoError(t, c.Connect(within(t)), "it is connected")
	require.NoError(t, c.Send(map[string]int{"n": 1}))
	require.NoError(t, c.SendRaw([]byte("raw")))
	require.NoError(t, c.SendBinary([]byte{0xff}))
	for _, want := range []string{`{"n":1}`, "raw", "\xff"} {
		got, err := c.Receive(within(t))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	err := c.Send(func() {})
	var unsupported *json.UnsupportedTypeError
	require.ErrorAs(t, err, &unsupported)
	require.ErrorContains(t, err, "failed to marshal message")
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.True(t, c.IsClosed())
	require.ErrorIs(t, c.SendRaw(nil), session.ErrNotConnected)
	require.ErrorIs(t, c.Connect(within(t)), session.ErrConnClosed)
	_, err = c.Receive(within(t))
	require.ErrorIs(t, err, session.ErrConnClosed)
	c.Reset()
	require.False(t, c.IsClosed())
	_, err = c.Receive(within(t))
	require.ErrorIs(t, err, session.ErrNotConnected)
	require.NoError(t, c.Connect(within(t)))
	require.NoError(t, c.SendRaw([]byte("again")))
	got, err := c.Receive(within(t))
	require.NoError(t, err)
	require.Equal(t, "again", string(got))
}

// TestResetKeeps has messages of two connections received when both are over.
func TestResetKeeps(t *testing.T) {
	c := connect(t, peer(t, func(ctx context.Context, n int, ws *websocket.Conn) {
		for i := range 3 {
			_ = ws.Write(ctx, websocket.MessageText, fmt.Append(nil, n, i))
		}
	}), nil)
	for c.IsConnected() {
		<-time.After(time.Millisecond)
	}
	c.Reset()
	require.NoError(t, c.Connect(within(t)))
	for n := 1; n <= 2; n++ {
		for i := range 3 {
			got, err := c.Receive(within(t))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(n, i), string(got))
		}
	}
}

// TestReceiveCancelled ends the wait and neither the connection nor a message.
func TestReceiveCancelled(t *testing.T) {
	say := make(chan struct{})
	c := connect(t, peer(t, func(ctx context.Context, _ int, ws *websocket.Conn) {
		<-say
		_ = ws.Write(ctx, websocket.MessageText, []byte("late"))
		_, _, _ = ws.Read(ctx)
	}), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Receive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(say)
	got, err := c.Receive(within(t))
	require.NoError(t, err)
	require.Equal(t, "late", string(got))
}

func TestConnectFails(t *testing.T) {
	attempts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		attempts++
		http.Error(w, "no", http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	cfg := &session.ConnConfig{URL: "ws" + strings.TrimPrefix(server.URL, "http"), RetryBackoffBase: time.Millisecond, RetryBackoffMax: time.Millisecond}
	before := *cfg
	c := session.NewConn(cfg)
	require.Equal(t, before.MaxRetries, cfg.MaxRetries, "the caller's configuration is left alone")
	err := c.Connect(within(t))
	var failed *session.DialError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, http.StatusTeapot, failed.Status)
	require.ErrorContains(t, err, "failed to connect: ")
	attempts = 0
	err = c.ConnectWithRetry(within(t))
	require.ErrorContains(t, err, "failed to connect after 3 attempts")
	require.Equal(t, 3, attempts)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.ConnectWithRetry(ctx), context.Canceled)
	require.NoError(t, c.Close())
}

// TestHeartbeat ends a connection whose peer does not read, and so does not answer.
func TestHeartbeat(t *testing.T) {
	c := connect(t, peer(t, func(ctx context.Context, n int, ws *websocket.Conn) {
		if n == 1 {
			<-ctx.Done()
			return
		}
		echo(ctx, n, ws)
	}), nil)
	c.StartHeartbeat(t.Context(), 20*time.Millisecond)
	_, err := c.Receive(within(t))
	require.ErrorIs(t, err, session.ErrNoPong)
	require.False(t, c.IsConnected())
	c.Reset()
	require.NoError(t, c.Connect(within(t)))
	c.StartHeartbeat(t.Context(), 500*time.Millisecond)
	for range 4 { // and lives on where it does
		<-time.After(300 * time.Millisecond) // pings go by
		require.NoError(t, c.SendRaw([]byte("x")))
		_, err := c.Receive(within(t))
		require.NoError(t, err)
	}
}

// TestReceiveLoop ends without an error at code 1000 only.
func TestReceiveLoop(t *testing.T) {
	for code, clean := range map[websocket.StatusCode]bool{
		websocket.StatusNormalClosure: true, websocket.StatusGoingAway: false, websocket.StatusInternalError: false,
	} {
		c := connect(t, peer(t, func(ctx context.Context, _ int, ws *websocket.Conn) {
			for n := range 200 {
				_ = ws.Write(ctx, websocket.MessageText, fmt.Append(nil, n))
			}
			_ = ws.Close(code, "so")
		}), nil)
		ch, done := make(chan []byte), make(chan error, 1)
		go func() { done <- c.ReceiveLoop(within(t), ch) }()
		for n := range 200 {
			require.Equal(t, fmt.Sprint(n), string(<-ch))
		}
		err := <-done
		if require.Equal(t, clean, err == nil, "%d: %v", code, err); !clean {
			require.Equal(t, code, websocket.CloseStatus(err))
		}
	}
}

// chunks are the words of a message.
func chunks(message []byte) ([]string, error) {
	if string(message) == "bad" {
		return nil, errors.New("a bad message")
	}
	return strings.Fields(string(message)), nil
}

func start(t *testing.T, cfg session.SessionConfig[string]) *session.Session[string] {
	t.Helper()
	if cfg.OnMessage == nil {
		cfg.OnMessage = chunks
	}
	s, err := session.NewSession(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// TestReconnect loses nothing of what was received before the connection broke, however that was.
func TestReconnect(t *testing.T) {
	for name, cut := range map[string]func(ws *websocket.Conn){
		"abruptly": func(ws *websocket.Conn) { _ = ws.CloseNow() },
		"1001":     func(ws *websocket.Conn) { _ = ws.Close(websocket.StatusGoingAway, "deploy") },
	} {
		t.Run(name, func(t *testing.T) {
			const connections, each = 5, 10
			url := peer(t, func(ctx context.Context, n int, ws *websocket.Conn) {
				if n > 1 {
					_, hello, err := ws.Read(ctx)
					if err != nil || string(hello) != `"hello"` {
						t.Errorf("%q %v", hello, err)
					}
				}
				for i := range each {
					_ = ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, " %d/%d  more ", n, i))
				}
				if n < connections {
					cut(ws)
					return
				}
				_ = ws.Write(ctx, websocket.MessageText, nil)
				_ = ws.Close(websocket.StatusNormalClosure, "")
			})
			s := start(t, session.SessionConfig[string]{
				Conn: connect(t, url, nil), MaxReconnectAttempts: 2,
				OnReconnect: func(_ context.Context, c *session.Conn) error { return c.Send("hello") },
			})
			for n := 1; n <= connections; n++ {
				for i := range each {
					require.Equal(t, fmt.Sprintf("%d/%d", n, i), <-s.Response())
					require.Equal(t, "more", <-s.Response())
				}
			}
			_, more := <-s.Response()
			require.False(t, more)
			<-s.Done()
			require.True(t, s.Closed())
			require.NoError(t, s.Error())
		})
	}
}

// TestEnds says why a session has ended, as often as it is asked.
func TestEnds(t *testing.T) {
	drop := func(_ context.Context, _ int, ws *websocket.Conn) { _ = ws.CloseNow() }
	say := func(text string) func(context.Context, int, *websocket.Conn) {
		return func(ctx context.Context, _ int, ws *websocket.Conn) {
			_ = ws.Write(ctx, websocket.MessageText, []byte(text))
			_, _, _ = ws.Read(ctx)
		}
	}
	hook := func(context.Context, *session.Conn) error { return nil }
	for name, c := range map[string]struct {
		serve func(context.Context, int, *websocket.Conn)
		cfg   session.SessionConfig[string]
		want  string
	}{
		"no hook":      {drop, session.SessionConfig[string]{MaxReconnectAttempts: 3}, "EOF"},
		"no attempts":  {drop, session.SessionConfig[string]{OnReconnect: hook}, "EOF"},
		"veto":         {drop, session.SessionConfig[string]{OnReconnect: hook, MaxReconnectAttempts: 3, OnError: func(error) bool { return false }}, "EOF"},
		"bad message":  {say("bad"), session.SessionConfig[string]{OnReconnect: hook, MaxReconnectAttempts: 3}, "a bad message"},
		"hook refuses": {drop, session.SessionConfig[string]{OnReconnect: func(context.Context, *session.Conn) error { return errors.New("refused") }, MaxReconnectAttempts: 2}, "failed 2 times: refused"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Conn = connect(t, peer(t, c.serve), nil)
			s := start(t, c.cfg)
			<-s.Done()
			_, more := <-s.Response()
			require.False(t, more)
			for range 2 {
				require.ErrorContains(t, s.Error(), c.want)
			}
			require.ErrorIs(t, s.Send("x"), session.ErrSessionClosed)
			require.ErrorIs(t, s.SendRaw(nil), session.ErrSessionClosed)
			require.True(t, s.Conn().IsClosed())
		})
	}
}

// TestClose ends a session whose reader has stopped.
func TestClose(t *testing.T) {
	url := peer(t, func(ctx context.Context, _ int, ws *websocket.Conn) {
		for ws.Write(ctx, websocket.MessageText, []byte("x")) == nil {
		}
	})
	s := start(t, session.SessionConfig[string]{Conn: connect(t, url, nil), ResponseChannelSize: 1})
	<-s.Response()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	<-s.Done()
	require.NoError(t, s.Error())
	_, err := session.NewSession(t.Context(), session.SessionConfig[string]{OnMessage: chunks})
	require.EqualError(t, err, "Conn is required")
	_, err = session.NewSession(t.Context(), session.SessionConfig[string]{Conn: session.NewConn(nil)})
	require.EqualError(t, err, "OnMessage is required")
}

// A recorder is a Logger that keeps the messages of the levels that matter.
type recorder struct {
	mu   sync.Mutex
	said []string
}

func (r *recorder) say(level, msg string, keyvals []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, strings.TrimSpace(level+" "+msg))
	for _, v := range keyvals {
		if strings.Contains(fmt.Sprint(v), "secret") {
			r.said = append(r.said, "a secret")
		}
	}
}

func (r *recorder) Debug(msg string, keyvals ...any) { r.say("debug", msg, keyvals) }
func (r *recorder) Info(msg string, keyvals ...any)  { r.say("info", msg, keyvals) }
func (r *recorder) Warn(msg string, keyvals ...any)  { r.say("warn", msg, keyvals) }
func (r *recorder) Error(msg string, keyvals ...any) { r.say("error", msg, keyvals) }

// TestLogger hears each connection, and the start and end of a session, and nothing of a URL that may
// hold a key.
func TestLogger(t *testing.T) {
	url := peer(t, func(ctx context.Context, n int, ws *websocket.Conn) {
		if n == 1 {
			_ = ws.Write(ctx, websocket.MessageText, []byte("one")) // and then it breaks
			return
		}
		echo(ctx, n, ws)
	}) + "/?key=secret"
	log := &recorder{}
	conn := connect(t, url, func(c *session.ConnConfig) { c.Logger = log })
	again := make(chan struct{})
	s, err := session.NewSession(within(t), session.SessionConfig[string]{
		Conn: conn, OnMessage: chunks, Logger: log, MaxReconnectAttempts: 3,
		OnReconnect: func(context.Context, *session.Conn) error { close(again); return nil },
	})
	require.NoError(t, err)
	for range s.Response() {
		break
	}
	<-again
	require.Eventually(t, func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return len(log.said) == 5
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
	require.Equal(t, []string{
		"info connected", "info session started", "info connecting again", "info connected", "info session continues", "info session ended",
	}, log.said)

	failed := &recorder{}
	conn = connect(t, url, nil)
	s, err = session.NewSession(within(t), session.SessionConfig[string]{
		Conn: conn, Logger: failed, OnMessage: func([]byte) ([]string, error) { return nil, errors.New("no") },
	})
	require.NoError(t, err)
	require.NoError(t, conn.SendRaw([]byte("x")))
	<-s.Done()
	require.Equal(t, []string{"info session started", "error session ended"}, failed.said)
}

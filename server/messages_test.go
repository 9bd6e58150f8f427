package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/server"
)

// TestMessages has connections with messages that are not sent to their end. Together they hold no more
// than bodies may, and another subject is not disturbed.
func TestMessages(t *testing.T) {
	const size = 300 << 10
	h, _, url := start(t, &server.Options{Requests: &server.Limits{BodyBytesPerSubject: 500 << 10, BodyPause: 20 * time.Second}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dial := func(subject, protocol string) *websocket.Conn {
		ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/streamz", &websocket.DialOptions{
			Subprotocols: protocols(protocol), HTTPHeader: http.Header{"Authorization": {"Bearer " + sign(t, subject, time.Hour, "streamkit::*")}},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		return ws
	}
	request := &wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg", Records: []streamhub.Record{{Payload: make([]byte, size)}}}}
	message := wire.AppendMessage(nil, wire.TypeOpen, 1, (&wire.Open{Store: uuid.Nil, Request: request}).Append(nil))
	begin := func(ws *websocket.Conn) func() {
		w, err := ws.Writer(ctx, websocket.MessageBinary)
		require.NoError(t, err)
		_, err = w.Write(message[:size])
		require.NoError(t, err)
		return func() {
			_, err := w.Write(message[size:])
			require.NoError(t, err)
			require.NoError(t, w.Close())
		}
	}
	stored := func(ws *websocket.Conn) {
		if _, data, err := ws.Read(ctx); assert.NoError(t, err) {
			assert.Equal(t, wire.TypeEnd, wire.Type(data[0]))
		}
	}
	waiting := dial("a", wire.Subprotocol)
	finish := begin(waiting)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		stored(waiting)
	}()
	require.NoError(t, waiting.Ping(ctx)) // the gateway has read what came before
	for _, protocol := range []string{wire.Subprotocol, ""} {
		refused := dial("a", protocol)
		begin(refused)
		_, _, err := refused.Read(ctx)
		require.Equal(t, websocket.StatusTryAgainLater, websocket.CloseStatus(err), "%v", err)
	}
	other := dial("b", wire.Subprotocol)
	require.NoError(t, other.Write(ctx, websocket.MessageBinary, message))
	stored(other)
	finish()
	<-answered
	for range 5 { // what was held is given back
		again := dial("a", wire.Subprotocol)
		require.NoError(t, again.Write(ctx, websocket.MessageBinary, message))
		stored(again)
	}
	status, err := h.Store(uuid.Nil).Status(ctx, "space", "seg")
	require.NoError(t, err)
	require.EqualValues(t, 7, status.LastSequence)
}

// TestSlowMessage has a message that stops coming. It ends its connection.
func TestSlowMessage(t *testing.T) {
	_, _, url := start(t, &server.Options{Requests: &server.Limits{BodyPause: 100 * time.Millisecond}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/streamz", &websocket.DialOptions{
		Subprotocols: []string{wire.Subprotocol}, HTTPHeader: http.Header{"Authorization": {"Bearer " + sign(t, "a", time.Hour, "streamkit::*")}},
	})
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	w, err := ws.Writer(ctx, websocket.MessageBinary)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 100<<10))
	require.NoError(t, err)
	_, _, err = ws.Read(ctx)
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
}

// protocols is what a client asks for: none is the protocol of streamkit.
func protocols(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

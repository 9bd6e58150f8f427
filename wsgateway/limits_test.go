package wsgateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// TestMessageLimits sends messages that are longer than they may be, before and after a token, and says nothing
// for too long.
func TestMessageLimits(t *testing.T) {
	_, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t)})
	known := map[string][]string{"Authorization": {"Bearer " + token(t, "streamkit::*")}}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		require.EqualValues(t, 4401, dial(t, address, nil).code())
	})
	for name, test := range map[string]struct {
		header map[string][]string
		bytes  int
	}{"before a token": {nil, 16<<10 + 1}, "after it": {known, 20<<20 + 1}} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, address, test.header)
			_ = p.ws.Write(within(t), websocket.MessageBinary, make([]byte, test.bytes)) // it may be closed before the end
			require.Equal(t, websocket.StatusMessageTooBig, p.code())
		})
	}
	t.Run("that fits", func(t *testing.T) {
		p := dial(t, address, known)
		id := uuid.New()
		message := wire.AppendMessage(nil, wire.TypeOpen, 1, append((&wire.Open{Store: id, Request: &wire.Spaces{}}).Append(nil), make([]byte, 19<<20)...))
		p.write(message)
		end, _ := p.end(1)
		require.NoError(t, end.Err)
	})
}

// TestStreamkitLimits opens as many channels as a connection of a streamkit client may have, and sends more than
// a payload and a frame may hold.
func TestStreamkitLimits(t *testing.T) {
	const channels, subscriptions = 16_384, 15_360
	_, _, address := gateway(t, nil)
	connect := func() *websocket.Conn {
		ws, _, err := websocket.Dial(within(t), "ws://"+address+"/streamz", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://localhost"}}})
		require.NoError(t, err)
		ws.SetReadLimit(1 << 20)
		t.Cleanup(func() { _ = ws.CloseNow() })
		return ws
	}
	id := uuid.New()
	send := func(ws *websocket.Conn, kind string, content any) {
		envelope, err := json.Marshal(map[string]any{"$type": "streamkit://api/v1/" + kind, "content": content})
		require.NoError(t, err)
		frame := fmt.Sprintf(`{"ControlType":"data","store_id":"%s","channel_id":"%s","payload":"%s"}`, id, uuid.New(), base64.StdEncoding.EncodeToString(envelope))
		require.NoError(t, ws.Write(within(t), websocket.MessageText, []byte(frame)))
	}
	told := func(ws *websocket.Conn) string {
		_, data, err := ws.Read(within(t))
		require.NoError(t, err)
		var frame struct{ Payload []byte }
		require.NoError(t, json.Unmarshal(data, &frame))
		return string(frame.Payload)
	}
	at := map[string]any{"space": "space", "segment": "seg"}
	t.Run("channels", func(t *testing.T) {
		ws := connect()
		for range channels {
			send(ws, "produce", at)
		}
		send(ws, "produce", at)
		require.Contains(t, told(ws), "too many active streams")
	})
	t.Run("subscriptions", func(t *testing.T) {
		ws := connect()
		for range subscriptions {
			send(ws, "subscribe_to_segment_status", at)
		}
		send(ws, "subscribe_to_segment_status", at)
		require.Contains(t, told(ws), "too many active streams")
		send(ws, "get_spaces", map[string]any{})
		require.NotContains(t, told(ws), "too many active streams", "room is left for calls")
	})
	for name, size := range map[string]int{"payload": 6<<20 + 1, "frame": 8 << 20} {
		t.Run(name, func(t *testing.T) {
			ws := connect()
			frame := fmt.Sprintf(`{"ControlType":"data","store_id":"%s","channel_id":"%s","payload":"%s"}`, id, uuid.New(),
				base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), size)))
			_ = ws.Write(within(t), websocket.MessageText, []byte(frame)) // it may be closed before the end
			err := error(nil)
			for err == nil {
				_, _, err = ws.Read(within(t)) // the goodbye of streamkit comes first
			}
			require.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err), "%v", err)
		})
	}
}

package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/server"
)

// TestStoreQuota has a store that is full: what would be stored is refused with the documented code on every
// transport, deletes, trims, closes and cancels go on, and another store is not disturbed.
func TestStoreQuota(t *testing.T) {
	const quota = 256 << 10
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	h, err := hub.Open(t.Context(), nil, &hub.Options{StoreQuota: quota, MeterProvider: meters})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	_, url := serve(t, h, &server.Options{MeterProvider: meters})
	token := sign(t, "tenant", time.Hour, "streamkit::*")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	store := h.Store(uuid.Nil)
	run, _, err := store.Live("live").Register(ctx, "answer", nil)
	require.NoError(t, err)
	require.NoError(t, run.Publish(ctx, []byte("once")))
	require.NoError(t, run.Flush(ctx))
	require.Equal(t, http.StatusCreated, send(t, "PUT", url+"/v1/stream/space/small", token, nil, "Content-Type", "text/plain").StatusCode)
	var producer struct{ Producer string }
	answer := send(t, "PUT", url+"/v1/live/remote", token, nil)
	require.Equal(t, http.StatusCreated, answer.StatusCode)
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&producer))
	big := []streamhub.Record{{Payload: []byte(strings.Repeat("x", 32<<10))}}
	for err = nil; err == nil; {
		_, err = store.Append(ctx, "space", "big", big, nil)
	}
	require.ErrorIs(t, err, streamhub.ErrQuota)

	for _, r := range []struct {
		method, path string
		header       []string
	}{
		{"POST", "/v1/stream/space/small", []string{"Content-Type", "text/plain"}},
		{"PUT", "/v1/stream/space/new", []string{"Content-Type", "text/plain"}},
		{"PUT", "/v1/live/new", nil},
		{"POST", "/v1/live/plain", []string{"Content-Type", "text/plain"}},
		{"POST", "/v1/live/remote/chunks?first=1", []string{"Content-Type", "text/plain", "Streamhub-Producer", producer.Producer}},
		{"POST", "/v1/live/remote/messages", []string{"Content-Type", "text/plain"}},
	} {
		body := "one more"
		if r.path == "/v1/live/new" {
			body = ""
		}
		answer := send(t, r.method, url+r.path, token, strings.NewReader(body), r.header...)
		text, _ := io.ReadAll(answer.Body)
		require.Equal(t, http.StatusInsufficientStorage, answer.StatusCode, "%s %s: %s", r.method, r.path, text)
		if strings.HasPrefix(r.path, "/v1/live") {
			require.Contains(t, string(text), `"code":"quota"`)
		}
	}
	gateways, err := client.NewWebSocketProvider(ctx, []string{strings.Replace(url, "http", "ws", 1)}, &client.WebSocketOptions{
		Token: func(context.Context) (string, error) { return token, nil },
	})
	require.NoError(t, err)
	defer gateways.Close()
	remote := client.New(gateways, nil)
	defer remote.Close()
	theirs := remote.Store(uuid.Nil)
	_, err = theirs.Append(ctx, "space", "small", big, nil)
	require.ErrorIs(t, err, streamhub.ErrQuota)
	_, _, err = theirs.Create(ctx, "space", "new", nil)
	require.ErrorIs(t, err, streamhub.ErrQuota)
	require.Contains(t, produceStreamkit(t, ctx, url, token), "quota exceeded")

	refused := counts(t, reader, "streamhub.refusals", "reason")
	require.GreaterOrEqual(t, refused["quota"], int64(9))
	_, err = h.Store(uuid.New()).Append(ctx, "space", "big", big, nil)
	require.NoError(t, err, "another store")

	// What takes no room goes on.
	_, err = theirs.CloseSegment(ctx, "space", "small", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(t, err)
	_, err = theirs.Trim(ctx, "space", "big", 2)
	require.NoError(t, err)
	other, err := store.Live("live").Get(ctx, "remote")
	require.NoError(t, err)
	_, err = other.Cancel(ctx, &live.CancelOptions{NoWait: true})
	require.NoError(t, err)
	require.NoError(t, run.Fail(ctx, errors.New("its end is written")))
	require.NoError(t, theirs.Delete(ctx, "space", "big", "to make room"))
	begun := time.Now()
	require.Eventually(t, func() bool {
		_, err := theirs.Append(ctx, "space", "after", big, nil)
		return err == nil
	}, patience, 20*time.Millisecond)
	t.Logf("room after %v", time.Since(begun).Round(time.Millisecond))
}

// produceStreamkit appends a record over streamkit and returns what it is told.
func produceStreamkit(t *testing.T, ctx context.Context, url, token string) string {
	t.Helper()
	ws, _, err := websocket.Dial(ctx, url+"/streamz", &websocket.DialOptions{HTTPHeader: http.Header{
		"Origin": {"http://localhost"}, "Authorization": {"Bearer " + token},
	}})
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	channel := uuid.New()
	for _, payload := range []any{
		map[string]any{"$type": "streamkit://api/v1/produce", "content": map[string]any{"space": "space", "segment": "kit"}},
		map[string]any{"sequence": 1, "payload": []byte("one more")},
		map[string]any{"type": "mux::close"},
	} {
		text, err := json.Marshal(payload)
		require.NoError(t, err)
		frame, err := json.Marshal(map[string]any{"ControlType": "data", "store_id": uuid.Nil, "channel_id": channel, "payload": text})
		require.NoError(t, err)
		require.NoError(t, ws.Write(ctx, websocket.MessageText, frame))
	}
	_, data, err := ws.Read(ctx)
	require.NoError(t, err)
	var got struct {
		Payload string `json:"payload"`
	}
	require.NoError(t, json.Unmarshal(data, &got))
	text, err := base64.StdEncoding.DecodeString(got.Payload)
	require.NoError(t, err)
	return string(text)
}

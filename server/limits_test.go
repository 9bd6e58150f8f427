package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/server"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// A limited is a server with limits whose clients seem to come from one address of the network.
type limited struct {
	testing.TB
	url, token string
	reader     sdkmetric.Reader
}

func startLimited(t testing.TB, o *server.Options) *limited {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	tokens, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	o.Auth, o.MeterProvider = tokens, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	s, err := server.New(h, o)
	require.NoError(t, err)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("X-From"), "loopback") {
			r.RemoteAddr = "203.0.113.7:1000"
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		listener.Close()
	})
	return &limited{t, listener.URL, sign(t, "tenant", time.Hour, "streamkit::*"), reader}
}

// connect opens a connection in a dialect, or returns the status of the handshake.
func (l *limited) connect(dialect string, header http.Header) (*websocket.Conn, int) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	o := &websocket.DialOptions{HTTPHeader: header.Clone()}
	if o.HTTPHeader == nil {
		o.HTTPHeader = http.Header{}
	}
	if o.HTTPHeader.Get("Authorization") == "" {
		o.HTTPHeader.Set("Authorization", "Bearer "+l.token)
	}
	if dialect == "websocket" {
		o.Subprotocols = []string{wire.Subprotocol}
	}
	ws, answer, err := websocket.Dial(ctx, l.url+"/streamz", o)
	if err != nil {
		require.NotNil(l, answer, "%v", err)
		return nil, answer.StatusCode
	}
	l.Cleanup(func() { _ = ws.CloseNow() })
	return ws, http.StatusSwitchingProtocols
}

// refused demands that a transport has counted refusals for a reason.
func (l *limited) refused(reason string, transports ...string) {
	l.Helper()
	for _, transport := range transports {
		require.Positive(l, l.refusals(transport, reason), "%s: %s", transport, reason)
	}
}

func (l *limited) refusals(transport, reason string) (n int64) {
	l.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(l, l.reader.Collect(l.Context(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != "streamhub.refusals" {
				continue
			}
			for _, p := range sum.DataPoints {
				of, _ := p.Attributes.Value("transport")
				why, _ := p.Attributes.Value("reason")
				if of.AsString() == transport && why.AsString() == reason {
					n += p.Value
				}
			}
		}
	}
	return n
}

// TestConnectionLimits reaches each limit of connections in both dialects.
func TestConnectionLimits(t *testing.T) {
	for name, limits := range map[string]wsgateway.Limits{
		"process": {Connections: 3}, "subject": {PerSubject: 3}, "address": {PerIP: 3},
		"handshakes of the process": {Handshakes: 0.3}, "handshakes of an address": {HandshakesPerIP: 0.3},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLimited(t, &server.Options{Connections: &limits})
			for range 3 {
				_, status := l.connect("websocket", nil)
				require.Equal(t, http.StatusSwitchingProtocols, status)
			}
			for _, dialect := range []string{"websocket", "streamkit"} {
				_, status := l.connect(dialect, nil)
				require.Equal(t, http.StatusTooManyRequests, status, dialect)
			}
			l.refused("limit", "websocket", "streamkit")
			_, status := l.connect("websocket", http.Header{
				"X-From": {"loopback"}, "Authorization": {"Bearer " + sign(t, "another", time.Hour, "streamkit::*")},
			})
			if name == "process" {
				require.Equal(t, http.StatusTooManyRequests, status)
			} else {
				require.Equal(t, http.StatusSwitchingProtocols, status, "another subject at another address is not disturbed")
			}
			require.Equal(t, http.StatusOK, send(t, "GET", l.url+"/v1/live", l.token, nil).StatusCode, "nor are requests")
		})
	}
}

// TestRequestLimits reaches each limit of requests and their bodies on each transport over HTTP.
func TestRequestLimits(t *testing.T) {
	for name, limits := range map[string]server.Limits{
		"process": {Requests: 3}, "subject": {RequestsPerSubject: 3}, "address": {RequestsPerIP: 3},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLimited(t, &server.Options{Requests: &limits})
			require.Equal(t, http.StatusCreated, send(t, "PUT", l.url+"/v1/stream/space/seg", l.token, nil).StatusCode)
			for range 3 {
				require.Equal(t, http.StatusOK, send(t, "GET", l.url+"/v1/stream/space/seg?offset=-1&live=sse", l.token, nil).StatusCode)
			}
			for _, r := range [][2]string{{"GET", "/v1/stream/space/seg"}, {"GET", "/v1/live"}, {"POST", "/v1/tickets"}} {
				answer := send(t, r[0], l.url+r[1], l.token, strings.NewReader(`{"read":["space/seg"]}`))
				require.Equal(t, http.StatusTooManyRequests, answer.StatusCode, r)
				if text, _ := io.ReadAll(answer.Body); name != "subject" {
					require.Contains(t, string(text), `"code":"limit_exceeded"`)
				}
			}
			for _, path := range []string{"/v1/live/id", "/v1/live?id=a&id=b"} { // an EventSource would give up after 429
				answer := send(t, "GET", l.url+path, l.token, nil, "Accept", "text/event-stream")
				require.Equal(t, http.StatusOK, answer.StatusCode, path)
				require.Equal(t, "*", answer.Header.Get("Access-Control-Allow-Origin"))
				text, err := io.ReadAll(answer.Body)
				require.NoError(t, err)
				require.Regexp(t, `(?m)^retry: \d+\n: limit_exceeded$`, string(text))
			}
			l.refused("limit", "durable", "live", "tickets")
			_, status := l.connect("websocket", nil)
			require.Equal(t, http.StatusSwitchingProtocols, status, "connections are not disturbed")
		})
	}
	for name, limits := range map[string]server.Limits{"process": {BodyBytes: 64 << 10}, "subject": {BodyBytesPerSubject: 64 << 10}} {
		t.Run("bodies of the "+name, func(t *testing.T) {
			l := startLimited(t, &server.Options{Requests: &limits})
			large := strings.Repeat("x", 100<<10)
			for _, path := range []string{"/v1/stream/space/seg", "/v1/live/id/messages"} {
				require.Equal(t, http.StatusTooManyRequests, send(t, "POST", l.url+path, l.token, strings.NewReader(large), "Content-Type", "text/plain").StatusCode, path)
			}
			l.refused("limit", "durable", "live")
			require.Equal(t, http.StatusCreated, send(t, "PUT", l.url+"/v1/stream/space/seg", l.token, strings.NewReader("fits")).StatusCode)
		})
	}
}

// TestChunkLimit has the hub say how large a chunk of a live stream may be over HTTP, and a message to its producer.
func TestChunkLimit(t *testing.T) {
	const most = 2 << 20
	h, err := hub.Open(t.Context(), nil, &hub.Options{MaxRecordBytes: most})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	_, url := serve(t, h, &server.Options{})
	token := sign(t, "a", time.Hour, "streamkit::*")
	for id, size := range map[string]int{"fits": most, "large": most + 1} {
		status := map[bool]int{true: http.StatusOK, false: http.StatusRequestEntityTooLarge}[size == most]
		answer := send(t, http.MethodPost, url+"/v1/live/"+id, token, strings.NewReader(strings.Repeat("x", size)))
		require.Equal(t, status, answer.StatusCode, id)
		answer = send(t, http.MethodPut, url+"/v1/live/chunks-"+id, token, nil, "Streamhub-Producer", strings.Repeat("k", 32))
		require.Equal(t, http.StatusCreated, answer.StatusCode)
		var producer struct{ Producer string }
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&producer))
		answer = send(t, http.MethodPost, url+"/v1/live/chunks-"+id+"/chunks?first=1", token,
			strings.NewReader(strings.Repeat("x\n", 3)+strings.Repeat("x", size)), "Streamhub-Producer", producer.Producer, "Content-Type", "text/plain")
		require.Equal(t, status, answer.StatusCode, id)
		// The name of the sender is part of the record.
		answer = send(t, http.MethodPost, url+"/v1/live/chunks-"+id+"/messages", token, strings.NewReader(strings.Repeat("x", size-len("bya"))))
		require.Equal(t, status, answer.StatusCode, id)
	}
}

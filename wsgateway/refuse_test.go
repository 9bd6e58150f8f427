package wsgateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// levels are the gauges of a gateway.
func levels(t testing.TB, reader sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(within(t), &all))
	found := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && !sum.IsMonotonic {
				for _, p := range sum.DataPoints {
					found[m.Name] += p.Value
				}
			}
		}
	}
	return found
}

// patient connects as soon as there is a place: that of a client is free a moment after the client has
// heard of its end.
func patient(t testing.TB, address, token string) *websocket.Conn {
	t.Helper()
	o := &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}}
	if token != "" {
		o.HTTPHeader = http.Header{"Authorization": {"Bearer " + token}}
	}
	for ctx := within(t); ; {
		ws, answer, err := websocket.Dial(ctx, "ws://"+address+"/streamz", o)
		if answer != nil && answer.StatusCode == http.StatusTooManyRequests {
			continue
		}
		require.NoError(t, err)
		return ws
	}
}

// TestRefusedHandshakes refuses clients in every way there is, a thousand times each, with fewer
// places than that: none of them keeps a place.
func TestRefusedHandshakes(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	_, _, address := gateway(t, &wsgateway.Options{
		Auth: verifier(t), Origins: []string{"https://app.example.com"},
		Limits:        &wsgateway.Limits{Connections: 4, PerSubject: 3},
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	bearer := "Authorization: Bearer " + token(t, "streamkit::*")
	const (
		upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
		ours    = "Sec-WebSocket-Protocol: " + wire.Subprotocol
	)
	handshakes := []struct {
		name, method string
		headers      []string
		status       int
	}{
		{"subprotocol", "GET", []string{upgrade, bearer, "Sec-WebSocket-Protocol: chat"}, http.StatusBadRequest},
		{"subprotocols", "GET", []string{upgrade, bearer, "Sec-WebSocket-Protocol: chat, superchat"}, http.StatusBadRequest},
		{"subprotocol without a token", "GET", []string{upgrade, "Sec-WebSocket-Protocol: chat"}, http.StatusBadRequest},
		{"no upgrade", "GET", []string{bearer}, http.StatusUpgradeRequired},
		{"no upgrade, ours", "GET", []string{bearer, ours}, http.StatusUpgradeRequired},
		{"upgrade to something else", "GET", []string{bearer, "Connection: Upgrade\nUpgrade: h2c"}, http.StatusUpgradeRequired},
		{"method", "POST", []string{upgrade, bearer, ours, "Content-Length: 0"}, http.StatusMethodNotAllowed},
		{"version", "GET", []string{strings.Replace(upgrade, "13", "12", 1), bearer, ours}, http.StatusBadRequest},
		{"no key", "GET", []string{"Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13", bearer, ours}, http.StatusBadRequest},
		{"short key", "GET", []string{strings.Replace(upgrade, "dGhlIHNhbXBsZSBub25jZQ==", "eA==", 1), bearer, ours}, http.StatusBadRequest},
		{"no token", "GET", []string{upgrade}, http.StatusUnauthorized},
		{"bad token", "GET", []string{upgrade, ours, "Authorization: Bearer x.y.z"}, http.StatusUnauthorized},
		{"origin", "GET", []string{upgrade, ours, "Origin: https://evil.example.com"}, http.StatusForbidden},
	}
	for _, test := range handshakes {
		t.Run(test.name, func(t *testing.T) {
			request := fmt.Sprintf("%s /streamz HTTP/1.1\nHost: %s\n%s\n\n", test.method, address, strings.Join(test.headers, "\n"))
			request = strings.ReplaceAll(request, "\n", "\r\n")
			var conn net.Conn
			var answers *bufio.Reader
			for range 1000 {
				if conn == nil {
					var err error
					conn, err = net.Dial("tcp", address)
					require.NoError(t, err)
					answers = bufio.NewReader(conn)
				}
				_, err := io.WriteString(conn, request)
				require.NoError(t, err)
				answer, err := http.ReadResponse(answers, nil)
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, answer.Body)
				require.NoError(t, err)
				require.Equal(t, test.status, answer.StatusCode)
				if answer.Close {
					_ = conn.Close()
					conn = nil
				}
			}
			if conn != nil {
				_ = conn.Close()
			}
		})
	}
	t.Run("garbage", func(t *testing.T) {
		for range 1000 {
			p := &peer{t: t, ws: patient(t, address, "")}
			p.write([]byte{1, 2, 200, 200})
			require.Equal(t, websocket.StatusProtocolError, p.code())
			_ = p.ws.CloseNow()
		}
	})
	t.Run("calls before an error", func(t *testing.T) {
		p := dial(t, address, http.Header{"Authorization": {"Bearer " + token(t, "streamkit::*")}})
		var data []byte
		for n := range uint64(10) {
			o := wire.Open{Store: uuid.New(), Request: &wire.Append{Append: streamhub.Append{Space: "s", Segment: "s"}}}
			data = wire.AppendMessage(data, wire.TypeOpen, n+1, o.Append(nil))
		}
		p.write(append(data, 99, 0, 0))
		p.code()
	})

	good := make([]*peer, 3) // all places of a subject
	for i := range good {
		good[i] = &peer{t: t, ws: patient(t, address, token(t, "streamkit::*"))}
		good[i].open(1, 0, uuid.New(), &wire.Spaces{})
		end, _ := good[i].end(1)
		require.NoError(t, end.Err)
	}
	for _, p := range good {
		_ = p.ws.CloseNow()
	}
	require.Eventually(t, func() bool {
		now := levels(t, reader)
		for _, n := range now {
			if n != 0 {
				return false
			}
		}
		return len(now) > 0
	}, patience, time.Millisecond)
}

// TestSubjectPlaces counts the connections of a subject, whether its token came in the header or in a
// message, and those of tokens without a subject not at all.
func TestSubjectPlaces(t *testing.T) {
	_, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t), Limits: &wsgateway.Limits{PerSubject: 3}})
	enter := func(text string) (*peer, error) {
		p := &peer{t: t, ws: patient(t, address, "")}
		p.write(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, text)))
		end, err := wire.DecodeEnd(p.next().Body)
		require.NoError(t, err)
		return p, end.Err
	}
	known := token(t, "streamkit::*")
	header := patient(t, address, known)
	defer func() { _ = header.CloseNow() }()
	var places []*peer
	for range 2 {
		p, err := enter(known)
		require.NoError(t, err)
		places = append(places, p)
	}
	for range 20 {
		p, err := enter(known)
		require.ErrorIs(t, err, streamhub.ErrLimitExceeded)
		require.EqualValues(t, 4429, p.code())
		_ = p.ws.CloseNow()
	}
	_, answer, err := websocket.Dial(within(t), "ws://"+address+"/streamz", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + known}}})
	require.Error(t, err)
	require.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
	nobody, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "scopes": "streamkit::*"}).SignedString(secret)
	require.NoError(t, err)
	for range 10 {
		p, err := enter(nobody)
		require.NoError(t, err)
		defer func() { _ = p.ws.CloseNow() }()
	}
	_ = places[0].ws.CloseNow()
	require.Eventually(t, func() bool {
		p, err := enter(known)
		_ = p.ws.CloseNow()
		return err == nil
	}, patience, 10*time.Millisecond)
}

// TestManyTokens lets a connection replace its token as often as a client needs to, and ends one that sends tokens
// without end, whether they are good or not: to verify one costs far more than to send it.
func TestManyTokens(t *testing.T) {
	_, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t)})
	known := token(t, "streamkit::*")
	for name, text := range map[string]string{"good": known, "refused": "x.y.z"} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, address, http.Header{"Authorization": {"Bearer " + known}})
			p.write(bytes.Repeat(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, text)), 1000))
			for range 16 {
				require.Equal(t, wire.TypeAuthResult, p.next().Type)
			}
			require.EqualValues(t, 4429, p.code())
		})
	}
}

package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/server"
)

// bodies are requests with a body, of every transport over HTTP.
var bodies = []struct{ method, path string }{
	{http.MethodPut, "/v1/stream/space/new"},
	{http.MethodPost, "/v1/stream/space/seg"},
	{http.MethodPut, "/v1/stream/__ds/subscriptions/hook"},
	{http.MethodPost, "/v1/stream/__ds/subscriptions/hook/streams"},
	{http.MethodPost, "/v1/stream/__ds/subscriptions/hook/claim"},
	{http.MethodPut, "/v1/live/id"},
	{http.MethodPatch, "/v1/live/id"},
	{http.MethodPost, "/v1/live/id/chunks?first=1"},
	{http.MethodPost, "/v1/live/id/end"},
	{http.MethodPost, "/v1/live/id/cancel"},
	{http.MethodPost, "/v1/live/id/messages"},
	{http.MethodPost, "/v1/tickets"},
}

// raw sends the head of a request, and the beginning of its body, over a connection of its own.
func raw(t *testing.T, url, method, path, token, head, body string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: text/plain\r\n%s\r\n\r\n%s",
		method, path, token, head, body)
	require.NoError(t, err)
	return conn.(*net.TCPConn)
}

func answerOf(t *testing.T, conn io.Reader) (status int, body string) {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

// TestBodies has bodies that stall and bodies that are cut off: neither is taken for a good one, and a
// client learns that the same request may be made again.
func TestBodies(t *testing.T) {
	h, _, url := start(t, &server.Options{Requests: &server.Limits{BodyPause: 100 * time.Millisecond}})
	_, err := h.Store(uuid.Nil).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	token := sign(t, "a", time.Hour, "streamkit::*")
	var registered struct{ Producer string }
	require.NoError(t, json.NewDecoder(send(t, http.MethodPut, url+"/v1/live/id", token, nil).Body).Decode(&registered))
	t.Run("all", func(t *testing.T) {
		for _, request := range bodies {
			for name, parts := range map[string][2]string{
				"length":  {"Content-Length: 100", "{"},
				"large":   {"Content-Length: 1000000", "{"},
				"chunked": {"Transfer-Encoding: chunked", "1\r\n{\r\n"},
			} {
				if name == "large" && strings.HasSuffix(request.path, "tickets") {
					continue // more than it takes
				}
				t.Run(request.method+request.path+"/"+name, func(t *testing.T) {
					t.Parallel()
					status, body := answerOf(t, raw(t, url, request.method, request.path, token, "Streamhub-Producer: "+registered.Producer+"\r\n"+parts[0], parts[1]))
					require.Equal(t, http.StatusRequestTimeout, status, body)
					if strings.HasPrefix(request.path, "/v1/live") || strings.HasSuffix(request.path, "tickets") {
						require.Contains(t, body, `"timeout"`)
					}
					conn := raw(t, url, request.method, request.path, token, "Streamhub-Producer: "+registered.Producer+"\r\n"+parts[0], parts[1])
					require.NoError(t, conn.CloseWrite())
					status, body = answerOf(t, conn)
					require.GreaterOrEqual(t, status, 400, body)
					require.Less(t, status, 500, body)
				})
			}
		}
	})
	_, err = h.Store(uuid.Nil).Status(t.Context(), "space", "new")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
}

// TestUnreadBodies refuses requests before their bodies have come. The answer does not wait for them.
func TestUnreadBodies(t *testing.T) {
	_, s, url := start(t, &server.Options{AdminToken: "a token for operators"})
	admin := httptest.NewServer(s.Admin())
	t.Cleanup(admin.Close)
	requests := append(slices.Clone(bodies), []struct{ method, path string }{
		{http.MethodPost, "/"}, {http.MethodPost, "/healthz"}, {http.MethodPost, "/streamz"}, {http.MethodPost, "/v1/stream/__ds/subscriptions/hook/ack"},
	}...)
	for _, request := range requests {
		for _, parts := range [][2]string{{"Content-Length: 100", "{"}, {"Transfer-Encoding: chunked", "1\r\n{\r\n"}} {
			for _, address := range []string{url, admin.URL} {
				t.Run(request.method+request.path, func(t *testing.T) {
					t.Parallel()
					status, body := answerOf(t, raw(t, address, request.method, request.path, "none", parts[0], parts[1]))
					require.GreaterOrEqual(t, status, 400, body)
					require.Less(t, status, 500, body)
				})
			}
		}
	}
}

// TestHalfClosed has a client that closes its direction of the connection after each request. What it
// is told of an append is true.
func TestHalfClosed(t *testing.T) {
	h, _, url := start(t, &server.Options{})
	token := sign(t, "a", time.Hour, "streamkit::*")
	store := h.Store(uuid.Nil)
	_, _, err := store.Create(t.Context(), "space", "seg", nil)
	require.NoError(t, err)
	good := uint64(0)
	for range 50 {
		conn := raw(t, url, http.MethodPost, "/v1/stream/space/seg", token, "Content-Length: 1", "x")
		require.NoError(t, conn.CloseWrite())
		if status, body := answerOf(t, conn); status == http.StatusNoContent {
			good++
		} else {
			require.GreaterOrEqual(t, status, 400, body)
		}
	}
	status, err := store.Status(t.Context(), "space", "seg")
	require.NoError(t, err)
	require.GreaterOrEqual(t, status.LastSequence, good)
	for _, path := range []string{"/v1/stream/space/seg?live=long-poll&offset=now", "/v1/live/never?wait=1m"} {
		conn := raw(t, url, http.MethodGet, path, token, "Content-Length: 0", "")
		require.NoError(t, conn.CloseWrite())
		code, body := answerOf(t, conn)
		require.Equal(t, 499, code, body)
	}
}

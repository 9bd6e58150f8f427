package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/server"
)

// A synced buffer is written by a server.
type synced struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// ticketFor asks for a ticket.
func ticketFor(t testing.TB, url, token, body string) (ticket string, until time.Time) {
	t.Helper()
	answer := send(t, http.MethodPost, url+"/v1/tickets", token, strings.NewReader(body))
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, answer.StatusCode, "%s", text)
	require.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
	require.Equal(t, "no-referrer", answer.Header.Get("Referrer-Policy"))
	require.Equal(t, "*", answer.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Retry-After", answer.Header.Get("Access-Control-Expose-Headers"))
	var got struct {
		Ticket  string    `json:"ticket"`
		Expires time.Time `json:"expires_at"`
	}
	require.NoError(t, json.Unmarshal(text, &got))
	require.NotEmpty(t, got.Ticket)
	return got.Ticket, got.Expires
}

// TestTickets: a ticket opens what it was made for over every transport, at every gateway, and nothing
// else, and leaves no trace.
func TestTickets(t *testing.T) {
	log := &synced{}
	h, _, url := start(t, &server.Options{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	second, err := hub.Open(t.Context(), redisOf(t, h), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, second.Close()) })
	_, elsewhere := serve(t, second, &server.Options{})

	store := h.Store(uuid.Nil)
	for _, space := range []string{"live", "other"} {
		for _, segment := range []string{"answer-17", "answer-18"} {
			_, err := store.Append(t.Context(), space, segment, []streamhub.Record{{Payload: []byte("x")}}, nil)
			require.NoError(t, err)
		}
	}
	p, _, err := store.Live("live").Register(t.Context(), "answer-17", nil)
	require.NoError(t, err)
	token := sign(t, "anna", time.Hour, "streamhub::*::live::read", "streamhub::*::other::*")
	ticket, until := ticketFor(t, url, token, `{"read":["live/answer-17"]}`)
	require.WithinDuration(t, time.Now().Add(time.Minute), until, 5*time.Second)
	both, _ := ticketFor(t, url, token, `{"read":["live/answer-17","other/a*"],"write":["other/answer-18"],"ttl":"5m"}`)

	status := func(method, base, path, token string) int {
		return send(t, method, base+path, token, strings.NewReader("x"), "Content-Type", "application/octet-stream").StatusCode
	}
	for _, base := range []string{url, elsewhere} {
		for range 3 { // as often as wanted
			require.Equal(t, 200, status("GET", base, "/v1/stream/live/answer-17?ticket="+ticket, ""))
		}
		require.Equal(t, 200, status("GET", base, "/v1/live/answer-17/status?ticket="+ticket, ""))
		for path, want := range map[string]int{
			"/v1/stream/live/answer-18?ticket=" + ticket: 403, "/v1/stream/live/answer-1?ticket=" + ticket: 403, "/v1/stream/other/answer-17?ticket=" + ticket: 403,
			"/stores/" + uuid.NewString() + "/v1/stream/live/answer-17?ticket=" + ticket: 403, "/v1/live/answer-18/status?ticket=" + ticket: 403,
			"/v1/stream/live/answer-17": 401, "/v1/stream/live/answer-17?ticket=": 401, "/v1/stream/live/answer-17?ticket=x.y.z": 401,
			"/v1/stream/live/answer-17?ticket=" + ticket + "&ticket=" + ticket: 401, "/v1/stream/live/answer-17?ticket=" + token: 401,
			"/v1/stream/other/answer-18?ticket=" + both: 200,
		} {
			require.Equal(t, want, status("GET", base, path, ""), path)
		}
		require.Equal(t, 403, status("POST", base, "/v1/stream/live/answer-17?ticket="+ticket, ""))
		require.Equal(t, 403, status("POST", base, "/v1/live/answer-17/cancel?ticket="+ticket, ""))
		require.Equal(t, 403, status("POST", base, "/v1/stream/other/answer-17?ticket="+both, ""))
		require.Equal(t, 204, status("POST", base, "/v1/stream/other/answer-18?ticket="+both, ""))
		require.Equal(t, 401, status("GET", base, "/v1/stream/live/answer-17", ticket), "a ticket is no bearer token")
		require.Equal(t, 401, status("POST", base, "/v1/tickets?ticket="+ticket, ""), "a ticket makes no ticket")
		require.Equal(t, 401, status("POST", base, "/v1/tickets?ticket="+ticket, token), "not even beside a token")
		require.Equal(t, "permission", overOursWith(t, base, "?ticket="+ticket, &wire.Status{Space: "live", Segment: "answer-18"}))
		require.Equal(t, "ok", overOursWith(t, base, "?ticket="+ticket, &wire.Status{Space: "live", Segment: "answer-17"}))
	}
	for body, want := range map[string]int{
		`{"read":["live/answer-17"],"write":["live/answer-17"]}`: 403, `{"read":["third/x"]}`: 403, `{}`: 400, `{"reads":["live/x"]}`: 400, `{"read":"live/x"}`: 400,
		`{"read":["live/x"],"ttl":"6m"}`: 400, `{"read":["live/x"],"ttl":60}`: 400, `nonsense`: 400, ``: 400, "{\"read\":[\"live/\xff\"]}": 400, strings.Repeat(" ", 17<<10): 413,
	} {
		require.Equal(t, want, send(t, "POST", url+"/v1/tickets", token, strings.NewReader(body)).StatusCode, "%.60s", body)
	}
	require.Equal(t, 401, status("POST", url, "/v1/tickets", ""))
	require.Equal(t, 405, status("GET", url, "/v1/tickets", token))
	require.Equal(t, 204, status("OPTIONS", url, "/v1/tickets", ""))
	require.Equal(t, 403, send(t, "POST", url+"/stores/nonsense/v1/tickets", sign(t, "a", time.Hour, "streamkit::*"), strings.NewReader(`{"read":["a/b"]}`)).StatusCode)
	require.NoError(t, p.Done(t.Context(), nil))
	for _, secret := range []string{ticket, both, token} {
		require.NotContains(t, log.String(), secret)
		require.NotContains(t, log.String(), strings.Split(secret, ".")[1])
	}
}

// overOursWith opens a connection at a URL with a query, and makes a call.
func overOursWith(t *testing.T, base, query string, r wire.Request) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, base+"/streamz"+query, &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	open := wire.Open{Credit: 1 << 20, Request: r}
	require.NoError(t, ws.Write(ctx, websocket.MessageBinary, wire.AppendMessage(nil, wire.TypeOpen, 1, open.Append(nil))))
	_, data, err := ws.Read(ctx)
	require.NoError(t, err)
	for m, err := range wire.Messages(data) {
		require.NoError(t, err)
		end, err := wire.DecodeEnd(m.Body)
		require.NoError(t, err)
		switch streamhub.CodeOf(end.Err) {
		case "":
			return "ok"
		case streamhub.CodeOf(streamhub.ErrPermissionDenied):
			return "permission"
		}
		return end.Err.Error()
	}
	return "nothing"
}

// TestTicketLife: a stream that a ticket opened outlives the ticket and ends with the token.
func TestTicketLife(t *testing.T) {
	h, _, url := start(t, &server.Options{})
	p, _, err := h.Store(uuid.Nil).Live("live").Register(t.Context(), "answer", nil)
	require.NoError(t, err)
	end := time.Now().Truncate(time.Second).Add(4 * time.Second)
	ticket, _ := ticketFor(t, url, signUntil(t, "anna", end, "streamkit::*"), `{"read":["live/answer"],"ttl":"1s"}`)
	answer := send(t, http.MethodGet, url+"/v1/live/answer?ticket="+ticket, "", nil, "Accept", "text/event-stream")
	require.Equal(t, http.StatusOK, answer.StatusCode)
	lines := bufio.NewScanner(answer.Body)
	hear := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("%q did not come: %v", want, lines.Err())
	}
	require.Eventually(t, func() bool {
		return send(t, http.MethodGet, url+"/v1/live/answer?ticket="+ticket, "", nil, "Accept", "text/event-stream").StatusCode == http.StatusUnauthorized
	}, patience, 50*time.Millisecond)
	require.NoError(t, p.Publish(t.Context(), []byte("after the ticket")))
	hear("data:after the ticket")
	for lines.Scan() {
	}
	late := time.Since(end)
	require.True(t, late >= 0 && late < patience, "the stream ended %v after the token", late)
	require.NoError(t, p.Done(t.Context(), nil))
}

// TestTicketKeyFile: a key of the operator's counts, and no other.
func TestTicketKeyFile(t *testing.T) {
	h, _, url := start(t, &server.Options{TicketKey: bytes.Repeat([]byte("k"), 32)})
	_, other := serve(t, h, &server.Options{TicketKey: bytes.Repeat([]byte("l"), 32)})
	_, same := serve(t, h, &server.Options{TicketKey: bytes.Repeat([]byte("k"), 32)})
	_, err := h.Store(uuid.Nil).Append(t.Context(), "a", "b", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	ticket, _ := ticketFor(t, url, sign(t, "anna", time.Hour, "streamkit::*"), `{"read":["a/b"]}`)
	for base, want := range map[string]int{url: 200, same: 200, other: 401} {
		require.Equal(t, want, send(t, "GET", base+"/v1/stream/a/b?ticket="+ticket, "", nil).StatusCode)
	}
	_, err = server.New(h, &server.Options{TicketKey: []byte("short")})
	require.Error(t, err)
}

// TestTicketsWithoutAuth: where nobody is asked who they are a page gets a ticket that says nothing.
func TestTicketsWithoutAuth(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	s, err := server.New(h, nil)
	require.NoError(t, err)
	listener := httptest.NewServer(s)
	t.Cleanup(func() {
		listener.Close()
		require.NoError(t, s.Shutdown(context.Background()))
		require.NoError(t, h.Close())
	})
	ticket, _ := ticketFor(t, listener.URL, "", `{"read":["a/b"]}`)
	require.Equal(t, 201, send(t, "PUT", listener.URL+"/v1/stream/a/b?ticket="+ticket, "", nil).StatusCode)
	require.Equal(t, 403, send(t, "POST", listener.URL+"/v1/tickets", "", strings.NewReader("{}"), "Origin", "https://evil.example").StatusCode)
}

// TestAccessLog: a line for each request, and for each connection when it has ended or was refused, and no
// secret in any.
func TestAccessLog(t *testing.T) {
	log := &synced{}
	_, _, url := start(t, &server.Options{AccessLog: true, Logger: slog.New(slog.NewJSONHandler(log, nil))})
	token := sign(t, "anna", time.Hour, "streamkit::*")
	ticket, _ := ticketFor(t, url, token, `{"read":["a/b"]}`)
	require.Equal(t, 404, send(t, "GET", url+"/v1/stream/a/b?ticket="+ticket, "", nil).StatusCode)
	require.Equal(t, 401, send(t, "GET", url+"/v1/stream/a/b?ticket=forged", "", nil).StatusCode)
	require.NotEmpty(t, overOursWith(t, url, "?ticket="+ticket, &wire.Status{Space: "a", Segment: "b"}))
	_, answer, err := websocket.Dial(t.Context(), url+"/streamz?ticket=forged", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	require.Error(t, err)
	require.Equal(t, 401, answer.StatusCode)
	for _, line := range []string{
		`"msg":"request","transport":"tickets","remote":"127`, `"subject":"anna","method":"POST","path":"/v1/tickets","status":201`,
		`"subject":"anna","method":"GET","path":"/v1/stream/a/b","status":404`, `"method":"GET","path":"/v1/stream/a/b","status":401`,
		`"msg":"connection","transport":"websocket","remote":"127`, `"subject":"anna","status":101`, `"status":401`,
	} {
		require.Eventually(t, func() bool { return strings.Contains(log.String(), line) }, patience, 5*time.Millisecond, "%s\n%s", line, log.String())
	}
	for _, secret := range []string{ticket, token, "forged"} {
		require.NotContains(t, log.String(), secret)
	}
}

package mcp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	hubmcp "github.com/seed-147127fe/streamhub/mcp"
)

// redisVariable makes a child of the test binary an MCP server on this Redis.
const redisVariable = "STREAMHUB_MCP_REDIS"

func TestMain(m *testing.M) {
	if redis := os.Getenv(redisVariable); redis != "" {
		if err := serve(redis); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is a process with an MCP server, until its standard input ends.
func serve(redis string) error {
	ctx := context.Background()
	client, err := hub.NewClient(redis)
	if err != nil {
		return err
	}
	h, err := hub.Open(ctx, client, nil)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := newHandler(hubmcp.NewEventStore(h.Store(uuid.Nil), nil))
	go func() { _ = http.Serve(listener, handler) }()
	fmt.Println("http://" + listener.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return h.Close()
}

type counting struct {
	To int `json:"to"`
}

type large struct {
	Bytes int `json:"bytes"`
}

func digits(n int) string { return strings.Repeat("0123456789", n/10+1)[:n] }

// newHandler is an MCP server with a tool that takes a while.
func newHandler(events *hubmcp.EventStore) http.Handler {
	server := sdk.NewServer(&sdk.Implementation{Name: "counter", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "count"}, func(ctx context.Context, r *sdk.CallToolRequest, in counting) (*sdk.CallToolResult, any, error) {
		for n := 1; n <= in.To; n++ {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(n)}); err != nil {
				return nil, nil, err
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprint("counted to ", in.To)}}}, nil, nil
	})
	sdk.AddTool(server, &sdk.Tool{Name: "large"}, func(ctx context.Context, r *sdk.CallToolRequest, in large) (*sdk.CallToolResult, any, error) {
		text := digits(in.Bytes)
		for n, message := range []string{"begun", text} {
			params := &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(n), Message: message}
			if err := r.Session.NotifyProgress(ctx, params); err != nil && n == 0 { // later ones find no client
				return nil, nil, err
			}
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil, nil
	})
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, &sdk.StreamableHTTPOptions{EventStore: events})
	return hubmcp.NewResumer(handler, events, nil)
}

func child(t *testing.T, redis string) (url string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), redisVariable+"="+redis)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		stop := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func open(t *testing.T) *hub.Hub {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// TestTwoProcesses calls a tool in one process, has the connection cut, and gets the rest from the
// other one.
func TestTwoProcesses(t *testing.T) {
	redis := open(t).RedisURL()
	one, two := child(t, redis), child(t, redis)
	var mu sync.Mutex
	cut, resumed := 0, 0
	// Calls go to the process that has the session, and are cut; readers always go to the other one.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := one
		if r.Method == http.MethodGet {
			to = two
			if r.Header.Get("Last-Event-ID") != "" {
				mu.Lock()
				resumed++
				mu.Unlock()
			}
		}
		request, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header = r.Header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return
		}
		defer response.Body.Close()
		for name, values := range response.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(response.StatusCode)
		lines, seen := bufio.NewReader(response.Body), 0
		for {
			line, err := lines.ReadString('\n')
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
			if strings.Contains(line, "notifications/progress") {
				seen++
			}
			if r.Method == http.MethodPost && seen == 5 {
				mu.Lock()
				cut++
				mu.Unlock()
				panic(http.ErrAbortHandler)
			}
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var progress []float64
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			mu.Lock()
			defer mu.Unlock()
			progress = append(progress, r.Params.Progress)
		},
	})
	session, err := client.Connect(ctx, &sdk.StreamableClientTransport{Endpoint: proxy.URL}, nil)
	require.NoError(t, err)
	const calls, to = 3, 100
	for range calls {
		params := &sdk.CallToolParams{Name: "count", Arguments: counting{to}}
		params.SetProgressToken("token")
		result, err := session.CallTool(ctx, params)
		require.NoError(t, err)
		require.Equal(t, "counted to 100", result.Content[0].(*sdk.TextContent).Text)
	}
	require.Eventually(t, func() bool { // the client handles notifications a moment later
		mu.Lock()
		defer mu.Unlock()
		return len(progress) >= calls*to
	}, 10*time.Second, 5*time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, calls, cut, "no connection was cut")
	require.GreaterOrEqual(t, resumed, calls, "nothing was resumed")
	require.Len(t, progress, calls*to)
	for i, n := range progress {
		require.InDelta(t, i%to+1, n, 0, "progress %v", progress)
	}
	require.NoError(t, session.Close())
}

// collect reads what After yields.
func collect(t *testing.T, s sdk.EventStore, session, stream string, index int) (events []string, err error) {
	t.Helper()
	for data, err := range s.After(t.Context(), session, stream, index) {
		if err != nil {
			return events, err
		}
		events = append(events, string(data))
	}
	return events, nil
}

// TestContract is what mcp.EventStore promises, over two instances.
func TestContract(t *testing.T) {
	h := open(t)
	client, err := hub.NewClient(h.RedisURL())
	require.NoError(t, err)
	other, err := hub.Open(t.Context(), client, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, other.Close())
		_ = client.Close()
	})
	a, b := hubmcp.NewEventStore(h.Store(uuid.Nil), nil), hubmcp.NewEventStore(other.Store(uuid.Nil), nil)
	ctx := t.Context()
	long := strings.Repeat("s", 300)
	for _, session := range []string{"one", "one/", "o%2Fne", long, long + "x"} {
		for _, stream := range []string{"", "1", "a/b"} {
			require.Error(t, a.Append(ctx, session, stream, []byte("x")), "not opened")
			require.NoError(t, a.Open(ctx, session, stream))
			require.NoError(t, b.Open(ctx, session, stream))
			for n := range 5 {
				data := fmt.Sprint(session, stream, n)
				if n == 0 {
					data = ""
				}
				require.NoError(t, []*hubmcp.EventStore{a, b}[n%2].Append(ctx, session, stream, []byte(data)))
			}
			for index := -1; index < 5; index++ {
				events, err := collect(t, b, session, stream, index)
				require.NoError(t, err)
				require.Len(t, events, 4-index)
				if index == 3 {
					require.Equal(t, []string{session + stream + "4"}, events)
				}
			}
			for range a.After(ctx, session, stream, -1) {
				break
			}
		}
	}
	require.NoError(t, b.SessionClosed(ctx, "one"))
	require.NoError(t, b.SessionClosed(ctx, "one"))
	for _, stream := range []string{"", "1", "a/b"} {
		_, err := collect(t, a, "one", stream, -1)
		require.ErrorIs(t, err, sdk.ErrEventsPurged)
	}
	events, err := collect(t, a, "one/", "1", -1)
	require.NoError(t, err)
	require.Len(t, events, 5, "other sessions stay")

	// What was dropped is an error at once, never a part.
	_, err = h.Store(uuid.Nil).Trim(ctx, "mcp", "s/"+"one%2F"+"/1", 2)
	require.NoError(t, err)
	events, err = collect(t, b, "one/", "1", 0)
	require.ErrorIs(t, err, sdk.ErrEventsPurged)
	require.Empty(t, events)
	events, err = collect(t, b, "one/", "1", 1)
	require.NoError(t, err)
	require.Len(t, events, 3)
}

// TestResumeRefused names what is wrong.
func TestResumeRefused(t *testing.T) {
	h := open(t)
	events := hubmcp.NewEventStore(h.Store(uuid.Nil), nil)
	require.NoError(t, events.Open(t.Context(), "session", "1"))
	require.NoError(t, events.Append(t.Context(), "session", "1", []byte(`{"id":1,"result":{}}`)))
	none := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "session not found", http.StatusNotFound) })
	server := httptest.NewServer(hubmcp.NewResumer(none, events, &hubmcp.ResumeOptions{Authorize: func(r *http.Request, _ string) error {
		if r.Header.Get("Authorization") == "" {
			return errors.New("who are you")
		}
		return nil
	}}))
	t.Cleanup(server.Close)
	for _, c := range []struct {
		status  int
		method  string
		headers []string
		body    string
	}{
		{200, "GET", []string{"Mcp-Session-Id", "session", "Last-Event-ID", "1_0"}, ""},
		{404, "POST", []string{"Mcp-Session-Id", "session"}, "session not found"},
		{404, "GET", nil, "session not found"},
		{404, "GET", []string{"Mcp-Session-Id", "none", "Last-Event-ID", "1_0"}, "session not found"},
		{404, "GET", []string{"Mcp-Session-Id", "session", "Last-Event-ID", "2_0"}, "session not found"},
		{400, "GET", []string{"Mcp-Session-Id", "session", "Last-Event-ID", "nonsense"}, "malformed"},
		{403, "GET", []string{"Mcp-Session-Id", "session", "Last-Event-ID", "1_0", "Authorization", ""}, "forbidden"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, c.method, server.URL, nil)
		require.NoError(t, err)
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Authorization", "Bearer x")
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.Equal(t, c.status, response.StatusCode, "%v", c)
		if c.body != "" {
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Contains(t, string(text), c.body)
		}
		cancel()
		response.Body.Close()
	}
	_, err := collect(t, events, "session", "2", -1)
	require.ErrorIs(t, err, sdk.ErrEventsPurged)
	require.ErrorIs(t, err, streamhub.ErrNotFound)
}

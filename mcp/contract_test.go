package mcp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	hubmcp "github.com/seed-147127fe/streamhub/mcp"
)

// stores are two event stores in two hubs on one Redis, as two instances have them, and the hub of
// the first one.
func stores(t *testing.T, url string, o *hubmcp.Options, h *hub.Options) (a, b *hubmcp.EventStore, first *hub.Hub) {
	t.Helper()
	at := func(url string) *hub.Hub {
		client, err := hub.NewClient(url)
		require.NoError(t, err)
		opened, err := hub.Open(t.Context(), client, h)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, opened.Close())
			_ = client.Close()
		})
		return opened
	}
	first = at(url)
	return hubmcp.NewEventStore(first.Store(uuid.Nil), o), hubmcp.NewEventStore(at(url).Store(uuid.Nil), o), first
}

// onEach runs a test on miniredis and on Redis.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("miniredis", func(t *testing.T) { test(t, open(t).RedisURL()) })
	t.Run("redis", func(t *testing.T) { test(t, testredis.Start(t, nil).URL()) })
}

func count(n int) []byte { return []byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"n","params":%d}`, n)) }

// TestGap has events that are not stored: they move no other event, and nobody reads across them.
func TestGap(t *testing.T) {
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	a, b, _ := stores(t, redis.URL(), &hubmcp.Options{Wait: -1}, nil)
	ctx := t.Context()
	require.NoError(t, a.Open(ctx, "s", "1"))
	for n := range 3 {
		require.NoError(t, a.Append(ctx, "s", "1", count(n)))
	}
	redis.Kill()
	for n := 3; n < 5; n++ {
		require.Error(t, a.Append(ctx, "s", "1", count(n)))
	}
	redis.Restart()
	// What the store knows here already is told before anything is stored again.
	var err error
	require.Eventually(t, func() bool {
		_, err = collect(t, a, "s", "1", 1)
		return err != nil && !isAway(err)
	}, 20*time.Second, 20*time.Millisecond)
	require.ErrorIs(t, err, sdk.ErrEventsPurged)
	require.Eventually(t, func() bool { return a.Append(ctx, "s", "1", count(5)) == nil }, 20*time.Second, 20*time.Millisecond)
	// Attempts that failed meanwhile count, too, so the last event tells how many there were.
	events := 6
	for ; ; events++ {
		rest, err := collect(t, b, "s", "1", events-2)
		if err == nil && len(rest) == 1 {
			require.Equal(t, string(count(5)), rest[0])
			break
		}
		require.ErrorIs(t, err, sdk.ErrEventsPurged)
		require.Empty(t, rest, "a part")
	}
	for n := events; n < events+3; n++ {
		require.NoError(t, a.Append(ctx, "s", "1", count(n)))
	}
	for _, s := range []*hubmcp.EventStore{a, b} {
		for index := -1; index < events+3; index++ {
			rest, err := collect(t, s, "s", "1", index)
			if index < events-2 {
				require.ErrorIs(t, err, sdk.ErrEventsPurged, "after %d", index)
				require.Empty(t, rest)
				continue
			}
			require.NoError(t, err, "after %d", index)
			require.Len(t, rest, max(events+2-index, 0))
			for i, e := range rest {
				if n := index + 1 + i; n >= events {
					require.Equal(t, string(count(n)), e)
				}
			}
		}
	}
}

func isAway(err error) bool {
	return strings.Contains(err.Error(), streamhub.ErrUnavailable.Error())
}

// TestOutage stores an event that comes while Redis is away for a moment.
func TestOutage(t *testing.T) {
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	a, b, _ := stores(t, redis.URL(), &hubmcp.Options{Wait: time.Minute}, nil)
	ctx := t.Context()
	require.NoError(t, a.Open(ctx, "s", "1"))
	require.NoError(t, a.Append(ctx, "s", "1", count(0)))
	redis.Kill()
	done := make(chan error, 1)
	go func() { done <- a.Append(ctx, "s", "1", count(1)) }()
	select {
	case err := <-done:
		t.Fatalf("the event did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	redis.Restart()
	require.NoError(t, <-done)
	var rest []string
	require.Eventually(t, func() bool {
		var err error
		rest, err = collect(t, b, "s", "1", -1)
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, []string{string(count(0)), string(count(1))}, rest)
}

// TestLostHistory goes on counting where Redis came back empty.
func TestLostHistory(t *testing.T) {
	redis := testredis.Start(t, nil)
	a, b, _ := stores(t, redis.URL(), &hubmcp.Options{Wait: time.Minute}, nil)
	ctx := t.Context()
	require.NoError(t, a.Open(ctx, "s", "1"))
	for n := range 3 {
		require.NoError(t, a.Append(ctx, "s", "1", count(n)))
	}
	redis.Kill()
	redis.RestartEmpty()
	require.NoError(t, a.Append(ctx, "s", "1", count(3)))
	require.NoError(t, a.Append(ctx, "s", "1", count(4)))
	_, err := collect(t, b, "s", "1", 0)
	require.ErrorIs(t, err, sdk.ErrEventsPurged)
	rest, err := collect(t, b, "s", "1", 2)
	require.NoError(t, err)
	require.Equal(t, []string{string(count(3)), string(count(4))}, rest)
	require.NoError(t, b.SessionClosed(ctx, "s"))
	require.Error(t, a.Append(ctx, "s", "1", count(5)), "a closed session does not come back")
}

// TestLargeEvents stores events of any size, in parts, and reads them with bounded memory.
func TestLargeEvents(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		a, b, h := stores(t, url, nil, nil)
		session := uuid.NewString()
		require.NoError(t, a.Open(t.Context(), session, "1"))
		sizes := []int{10, 1 << 20, 1<<20 + 1, 5 << 20, 50 << 20, 0, 10}
		event := func(n int) []byte { return bytes.Repeat([]byte{byte('a' + n)}, sizes[n]) }
		for n := range sizes {
			require.NoError(t, a.Append(t.Context(), session, "1", event(n)))
		}
		n := 0
		for data, err := range b.After(t.Context(), session, "1", -1) {
			require.NoError(t, err)
			require.True(t, bytes.Equal(event(n), data), "event %d", n)
			n++
		}
		require.Equal(t, len(sizes), n)
		for data, err := range b.After(t.Context(), session, "1", 3) {
			require.NoError(t, err)
			require.True(t, bytes.Equal(event(4), data))
			break
		}
		if strings.HasSuffix(t.Name(), "/redis") {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var highest uint64
			for range b.After(t.Context(), session, "1", 3) {
				runtime.ReadMemStats(&after)
				highest = max(highest, after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))
			}
			t.Logf("an event of 50 MiB was read with %d MiB", highest>>20)
			require.Less(t, highest, uint64(200<<20))
		}
		require.NoError(t, b.SessionClosed(t.Context(), session))
		for segment, err := range h.Store(uuid.Nil).Segments(t.Context(), "mcp") {
			require.NoError(t, err)
			require.NotContains(t, segment, session)
		}
	})
	t.Run("small records", func(t *testing.T) {
		a, b, _ := stores(t, open(t).RedisURL(), nil, &hub.Options{MaxRecordBytes: 10_000})
		require.NoError(t, a.Open(t.Context(), "s", "1"))
		want := strings.Repeat("0123456789", 20_000)
		require.NoError(t, a.Append(t.Context(), "s", "1", []byte(want)))
		events, err := collect(t, b, "s", "1", -1)
		require.NoError(t, err)
		require.Equal(t, []string{want}, events)
	})
}

// TestSessionLives keeps a session for as long as it is used on any instance, and removes it when it
// is closed on any.
func TestSessionLives(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const ttl = 2 * time.Second
		a, b, h := stores(t, url, &hubmcp.Options{TTL: ttl}, nil)
		ctx, session := t.Context(), uuid.NewString()
		store := h.Store(uuid.Nil)
		for _, stream := range []string{"", "1", "answered", "parts"} {
			require.NoError(t, a.Open(ctx, session, stream))
		}
		require.NoError(t, a.Append(ctx, session, "answered", []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`)))
		large := bytes.Repeat([]byte("x"), 2<<20)
		require.NoError(t, a.Append(ctx, session, "parts", large))
		end, n := time.Now().Add(3*ttl), 0
		tick := time.NewTicker(ttl / 10)
		defer tick.Stop()
		for ; time.Now().Before(end); n++ {
			require.NoError(t, a.Append(ctx, session, "1", count(n)))
			<-tick.C
		}
		// The stream that belongs to no request has heard nothing all the time.
		require.NoError(t, a.Append(ctx, session, "", count(0)))
		events, err := collect(t, b, session, "", -1)
		require.NoError(t, err)
		require.Len(t, events, 1)
		events, err = collect(t, b, session, "1", -1)
		require.NoError(t, err)
		require.Len(t, events, n)
		events, err = collect(t, b, session, "parts", -1)
		require.NoError(t, err)
		require.Len(t, events[0], len(large))
		_, err = collect(t, b, session, "answered", -1)
		require.ErrorIs(t, err, sdk.ErrEventsPurged, "nothing was to come")
		require.NoError(t, b.SessionClosed(ctx, session))
		for segment, err := range store.Segments(ctx, "mcp") {
			require.NoError(t, err)
			require.NotContains(t, segment, session)
		}
	})
}

// TestExpiredStream goes on with a stream that was silent for longer than it is kept.
func TestExpiredStream(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		const ttl = 2 * time.Second // longer than what follows may take on a busy machine
		a, b, _ := stores(t, url, &hubmcp.Options{TTL: ttl}, nil)
		ctx, session := t.Context(), uuid.NewString()
		require.NoError(t, a.Open(ctx, session, "1"))
		require.NoError(t, a.Append(ctx, session, "1", count(0)))
		require.Eventually(t, func() bool {
			_, err := collect(t, a, session, "1", 5)
			<-time.After(ttl + ttl/4) // reading is use
			return err != nil
		}, time.Minute, time.Millisecond)
		require.NoError(t, a.Append(ctx, session, "1", count(1)))
		events, err := collect(t, b, session, "1", 0)
		require.NoError(t, err)
		require.Equal(t, []string{string(count(1))}, events)
		_, err = collect(t, b, session, "1", -1)
		require.ErrorIs(t, err, sdk.ErrEventsPurged)
	})
}

// TestCloseWhatever removes a session whose register is gone, and one that was closed while Redis was
// away.
func TestCloseWhatever(t *testing.T) {
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	a, b, h := stores(t, redis.URL(), &hubmcp.Options{Wait: -1}, nil)
	ctx, store := t.Context(), h.Store(uuid.Nil)
	left := func() (names []string) {
		for segment, err := range store.Segments(ctx, "mcp") {
			require.NoError(t, err)
			if segment != "r/one" { // its index outlives what this test does to it
				names = append(names, segment)
			}
		}
		return names
	}
	for _, session := range []string{"one", "two"} {
		for _, stream := range []string{"", "1"} {
			require.NoError(t, a.Open(ctx, session, stream))
			require.NoError(t, a.Append(ctx, session, stream, count(0)))
		}
	}
	client := redis.Client()
	keys, err := client.Keys(ctx, "*:r%2Fone*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	require.NoError(t, client.Del(ctx, keys...).Err())
	require.NoError(t, b.SessionClosed(ctx, "one"))
	require.Equal(t, []string{"r/two", "s/two/", "s/two/1"}, left())
	redis.Kill()
	require.Error(t, a.SessionClosed(ctx, "two"))
	redis.Restart()
	require.Eventually(t, func() bool { return a.Open(ctx, "three", "") == nil }, 20*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		require.NoError(t, a.Open(ctx, "three", ""))
		return len(left()) == 2
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, []string{"r/three", "s/three/"}, left())
}

// A caller speaks to an MCP server as a client does, and sees the ids of events.
type caller struct {
	t            *testing.T
	url, session string
}

func (c *caller) do(ctx context.Context, method, body string, headers ...string) *http.Response {
	c.t.Helper()
	response, err := c.try(ctx, method, body, headers...)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// try is do for a server that may be away.
func (c *caller) try(ctx context.Context, method, body string, headers ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if c.session != "" {
		r.Header.Set("Mcp-Session-Id", c.session)
		r.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(r)
}

func (c *caller) connect(version string) {
	c.t.Helper()
	response := c.do(c.t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"`+version+
		`","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
	require.Equal(c.t, http.StatusOK, response.StatusCode)
	c.session = response.Header.Get("Mcp-Session-Id")
	require.NotEmpty(c.t, c.session)
	response = c.do(c.t.Context(), http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	require.Equal(c.t, http.StatusAccepted, response.StatusCode)
}

// resume reads n events after that with the id last. Like every client it comes again where an answer ends early.
func (c *caller) resume(last string, n int) (got []string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	for len(got) < n && ctx.Err() == nil {
		response, err := c.try(ctx, http.MethodGet, "", "Last-Event-ID", last)
		if err != nil {
			continue
		}
		next := scanEvents(response.Body)
		for len(got) < n {
			id, data, err := next()
			if err != nil {
				break
			}
			last, got = id, append(got, data)
		}
		response.Body.Close()
	}
	return got
}

// scanEvents returns a function that reads the next event of an answer.
func scanEvents(body io.Reader) func() (id, data string, err error) {
	lines := bufio.NewReaderSize(body, 1<<20)
	return func() (id, data string, err error) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return "", "", err
			}
			line = strings.TrimSuffix(line, "\n")
			if v, is := strings.CutPrefix(line, "id: "); is {
				id = v
			} else if v, is := strings.CutPrefix(line, "data:"); is {
				data = strings.TrimPrefix(v, " ")
			} else if line == "" && id != "" {
				return id, data, nil
			}
		}
	}
}

// events is scanEvents for an answer that does not end.
func events(t *testing.T, response *http.Response) func() (id, data string) {
	next := scanEvents(response.Body)
	return func() (id, data string) {
		t.Helper()
		id, data, err := next()
		require.NoError(t, err)
		return id, data
	}
}

// TestGapWithSDK kills Redis under the real server: its events keep their ids, a client resumes after
// the one that was not stored and gets the result.
func TestGapWithSDK(t *testing.T) {
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	a, b, _ := stores(t, redis.URL(), &hubmcp.Options{Wait: -1}, nil)
	steps := make(chan float64)
	var last atomic.Bool
	server := sdk.NewServer(&sdk.Implementation{Name: "steps", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "step"}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		for n := range steps {
			_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: "t", Progress: n})
		}
		last.Store(true)
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: strings.Repeat("r", 5<<20)}}}, nil, nil
	})
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, &sdk.StreamableHTTPOptions{EventStore: a})
	one := httptest.NewServer(handler)
	t.Cleanup(one.Close)
	missing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "session not found", http.StatusNotFound) })
	two := httptest.NewServer(hubmcp.NewResumer(missing, b, nil))
	t.Cleanup(two.Close)

	c := &caller{t: t, url: one.URL}
	c.connect("2025-11-25")
	ctx, cut := context.WithCancel(t.Context())
	next := events(t, c.do(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"step","arguments":{},"_meta":{"progressToken":"t"}}}`))
	id, _ := next()
	stream, ok := strings.CutSuffix(id, "_0")
	require.True(t, ok, id)
	expect := func(next func() (string, string), n int) {
		t.Helper()
		id, data := next()
		require.Equal(t, fmt.Sprint(stream, "_", n), id)
		require.Contains(t, data, fmt.Sprintf(`"progress":%d`, n))
	}
	step := func(n int) {
		steps <- float64(n)
		expect(next, n)
	}
	step(1)
	redis.Kill()
	step(2)
	redis.Restart()
	require.Eventually(t, func() bool { // until the hub has found it again
		return a.Open(t.Context(), "other", "") == nil
	}, 20*time.Second, 20*time.Millisecond)
	step(3)
	step(4)
	cut()
	steps <- 5 // nobody hears it
	for _, at := range []string{two.URL, one.URL} {
		reader := &caller{t: t, url: at, session: c.session}
		var response *http.Response
		require.Eventually(t, func() bool { // until the server has noticed
			response = reader.do(t.Context(), http.MethodGet, "", "Last-Event-ID", stream+"_1")
			return response.StatusCode != http.StatusConflict
		}, 20*time.Second, 20*time.Millisecond)
		require.Equal(t, http.StatusBadRequest, response.StatusCode, "across the gap")
	}
	elsewhere := &caller{t: t, url: two.URL, session: c.session}
	follow := events(t, elsewhere.do(t.Context(), http.MethodGet, "", "Last-Event-ID", stream+"_2"))
	expect(follow, 3)
	resumed := events(t, c.do(t.Context(), http.MethodGet, "", "Last-Event-ID", stream+"_2"))
	for n := 3; n <= 5; n++ {
		expect(resumed, n)
	}
	expect(follow, 4)
	expect(follow, 5)
	close(steps)
	for _, next := range []func() (string, string){resumed, follow} {
		id, data := next()
		require.Equal(t, stream+"_6", id)
		var m struct {
			ID     int
			Result sdk.CallToolResult
		}
		require.NoError(t, json.Unmarshal([]byte(data), &m))
		require.Len(t, m.Result.Content[0].(*sdk.TextContent).Text, 5<<20)
	}
	require.True(t, last.Load())
}

// TestLargeTwoProcesses has a tool send an event and a result of many MiB in one process, to a client that was cut and
// resumes in another one. Redis is killed and restarted in the middle of the event, and again in the middle of the result.
func TestLargeTwoProcesses(t *testing.T) {
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	one, two := &caller{t: t, url: child(t, redis.URL())}, &caller{t: t, url: child(t, redis.URL())}
	one.connect("2025-11-25")
	two.session = one.session
	sizes, kills := []int{1 << 20, 5 << 20}, 0
	if os.Getenv("STREAMHUB_SIZES") != "" { // make test-sizes
		sizes = append(sizes, 50<<20)
	}
	for _, size := range sizes {
		redis.Restart() // counts from 0
		ctx, cut := context.WithCancel(t.Context())
		begun := events(t, one.do(ctx, http.MethodPost, fmt.Sprintf(
			`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"large","arguments":{"bytes":%d},"_meta":{"progressToken":"t"}}}`, size)))
		last, data := begun()
		for !strings.Contains(data, "begun") {
			last, data = begun()
		}
		cut()
		var got []string
		read := make(chan struct{})
		go func() {
			defer close(read)
			got = two.resume(last, 2)
		}()
		for _, received := range []int{size / 2, size} {
			if redis.KillAfter(int64(received), read) {
				kills++
				redis.Restart()
			}
		}
		<-read
		require.Len(t, got, 2)
		var event struct {
			Params sdk.ProgressNotificationParams
		}
		require.NoError(t, json.Unmarshal([]byte(got[0]), &event))
		require.True(t, event.Params.Message == digits(size), "an event with %d bytes", len(event.Params.Message))
		var result struct{ Result sdk.CallToolResult }
		require.NoError(t, json.Unmarshal([]byte(got[1]), &result))
		require.True(t, result.Result.Content[0].(*sdk.TextContent).Text == digits(size), "another result")
		require.True(t, slices.Equal(got, two.resume(last, 2)), "read again")
		t.Logf("%d bytes, %d kills so far", size, kills)
	}
	require.NotZero(t, kills)
}

// A counter counts what the SDK asks of an event store.
type counter struct {
	sdk.EventStore
	mu    sync.Mutex
	calls []string
}

func (c *counter) Append(ctx context.Context, session, stream string, data []byte) error {
	c.mu.Lock()
	c.calls = append(c.calls, string(data))
	c.mu.Unlock()
	return c.EventStore.Append(ctx, session, stream, data)
}

// TestNewProtocol states what the documentation says of protocol 2026-07-28: the SDK stores nothing.
func TestNewProtocol(t *testing.T) {
	for version, stores := range map[string]bool{"2025-11-25": true, "2026-07-28": false} {
		c := &counter{EventStore: hubmcp.NewEventStore(open(t).Store(uuid.Nil), nil)}
		server := sdk.NewServer(&sdk.Implementation{Name: "s", Version: "1"}, nil)
		sdk.AddTool(server, &sdk.Tool{Name: "hello"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{}, nil, nil
		})
		at := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server },
			&sdk.StreamableHTTPOptions{EventStore: c, Stateless: !stores}))
		client := sdk.NewClient(&sdk.Implementation{Name: "c", Version: "1"}, nil)
		session, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: at.URL}, &sdk.ClientSessionOptions{ProtocolVersion: version})
		require.NoError(t, err)
		require.Equal(t, version, session.InitializeResult().ProtocolVersion)
		_, err = session.CallTool(t.Context(), &sdk.CallToolParams{Name: "hello", Arguments: struct{}{}})
		require.NoError(t, err)
		require.NoError(t, session.Close())
		at.Close()
		require.Equal(t, stores, len(c.calls) > 0, "%s: %q", version, c.calls)
	}
}

package livehttp_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// A gateway is a handler on a hub of its own.
type gateway struct {
	*testing.T
	*livehttp.Handler
	hub    *hub.Hub
	server *httptest.Server
}

// start starts one in which no producer is silent, however slow the machine is.
func start(t *testing.T, redis string, edit func(*livehttp.Options)) *gateway {
	t.Helper()
	return startBeating(t, redis, 5*time.Second, edit)
}

func startBeating(t *testing.T, redis string, heartbeat time.Duration, edit func(*livehttp.Options)) *gateway {
	t.Helper()
	g := &gateway{T: t}
	var err error
	o := &hub.Options{Live: &live.Options{Heartbeat: heartbeat, CancelGrace: time.Second}}
	if redis == "" {
		g.hub, err = hub.Open(t.Context(), nil, o)
	} else {
		client, clientErr := hub.NewClient(redis)
		require.NoError(t, clientErr)
		t.Cleanup(func() { _ = client.Close() })
		g.hub, err = hub.Open(t.Context(), client, o)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.hub.Close()) })
	var options livehttp.Options
	if edit != nil {
		edit(&options)
	}
	g.Handler = livehttp.New(t.Context(), func(id uuid.UUID, space string) live.Streams { return g.hub.Store(id).Live(space) }, &options)
	g.server = httptest.NewUnstartedServer(g.Handler)
	var trouble syncBuffer
	g.server.Config.ErrorLog = log.New(&trouble, "", 0)
	g.server.Start()
	t.Cleanup(func() {
		require.Empty(t, trouble.String(), "what net/http says of the handler")
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		g.server.Close()
	})
	return g
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (g *gateway) produce(id string, o *live.RegisterOptions) live.Producer {
	g.Helper()
	p, _, err := g.hub.Store(uuid.Nil).Live("live").Register(g.Context(), id, o)
	require.NoError(g, err)
	require.NotNil(g, p)
	return p
}

func (g *gateway) publish(p live.Producer, chunks ...string) {
	g.Helper()
	for _, c := range chunks {
		require.NoError(g, p.Publish(g.Context(), []byte(c)))
	}
	require.NoError(g, p.Flush(g.Context()))
}

func (g *gateway) ask(method, path, body string, headers ...string) *http.Response {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second)
	g.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, g.server.URL+path, strings.NewReader(body))
	require.NoError(g, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := g.server.Client().Do(r)
	require.NoError(g, err)
	g.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// must returns the body of an answer that has to have a status.
func (g *gateway) must(status int, method, path, body string, headers ...string) string {
	g.Helper()
	r := g.ask(method, path, body, headers...)
	text, err := io.ReadAll(r.Body)
	require.NoError(g, err)
	require.Equal(g, status, r.StatusCode, string(text))
	return string(text)
}

type event struct{ name, id, data string }

// A reader reads an event stream as a browser does.
type reader struct {
	t     *testing.T
	lines *bufio.Scanner
}

func (g *gateway) events(path string, headers ...string) *reader {
	g.Helper()
	r := g.ask(http.MethodGet, path, "", headers...)
	require.Equal(g, http.StatusOK, r.StatusCode)
	require.Equal(g, "text/event-stream", r.Header.Get("Content-Type"))
	return &reader{g.T, bufio.NewScanner(r.Body)}
}

// next returns the next event; ok is false at the end of the stream.
func (r *reader) next() (e event, ok bool) {
	r.t.Helper()
	var data []string
	for r.lines.Scan() {
		line := r.lines.Text()
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			data = append(data, value)
		}
		if line == "" && e.id != "" {
			e.data = strings.Join(data, "\n")
			return e, true
		}
	}
	return e, false
}

// TestResume reads a part on one gateway and the rest on another one.
func TestResume(t *testing.T) {
	t.Parallel()
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	p := a.produce("a/b c", nil)
	a.publish(p, "one", " two\nlines\r\n", "", "\xff\x00")
	path := "/v1/live/a%2Fb%20c"
	first := a.events(path)
	e, _ := first.next()
	require.Equal(t, event{"", e.id, "one"}, e)
	second := b.events(path, "Last-Event-ID", e.id)
	third := b.events(path + "?cursor=&lastEventId=" + e.id) // of a client that sends no header
	for _, r := range []*reader{first, second, third} {
		for _, want := range []event{{"", "", " two\nlines\n"}, {"", "", ""}, {"binary", "", "/wA="}} {
			e, ok := r.next()
			require.True(t, ok)
			require.Equal(t, want.name+want.data, e.name+e.data)
		}
	}
	a.publish(p, "live")
	require.NoError(t, p.Done(t.Context(), map[string]int{"tokens": 5}))
	for _, r := range []*reader{first, second, third} {
		e, _ := r.next()
		require.Equal(t, "live", e.data)
		e, _ = r.next()
		require.Equal(t, "end", e.name)
		require.JSONEq(t, `{"kind":"done","output":{"tokens":5}}`, e.data)
		_, ok := r.next()
		require.False(t, ok)
		// A browser connects again by itself, and is told that this is all.
		b.must(http.StatusNoContent, http.MethodGet, path, "", "Last-Event-ID", e.id)
		b.must(http.StatusNoContent, http.MethodGet, path+"?lastEventId="+e.id, "")
	}
	exact := b.events(path + "?exact=1")
	for _, want := range []string{"one", "binary" + base64.StdEncoding.EncodeToString([]byte(" two\nlines\r\n")), "", "binary/wA="} {
		got, _ := exact.next()
		require.Equal(t, want, got.name+got.data)
	}
	batch := b.events(path + "?replay=batch&cursor=" + e.id)
	e, _ = batch.next()
	require.Equal(t, "binary", e.name)
	require.Contains(t, b.must(200, http.MethodGet, path+"/status", ""), `"kind":"done"`)
}

// TestCancel stops a producer from another gateway.
func TestCancel(t *testing.T) {
	t.Parallel()
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), func(o *livehttp.Options) {
		o.Authorize = func(r *http.Request, _ streamhub.Right) (string, error) { return "anna", nil }
	})
	stopped := make(chan error, 2)
	p := a.produce("s", &live.RegisterOptions{OnCancel: func(err error) { stopped <- err }})
	require.JSONEq(t, `{}`, b.must(202, http.MethodPost, "/v1/live/s/cancel?wait=0", `{"reason":"enough"}`))
	var cancelled *live.CancelError
	require.ErrorAs(t, <-stopped, &cancelled)
	require.Equal(t, live.CancelError{By: "anna", Reason: "enough"}, *cancelled)
	require.NoError(t, p.Close(t.Context()))
	require.JSONEq(t, `{"kind":"cancelled","reason":"anna: enough"}`, b.must(200, http.MethodPost, "/v1/live/s/cancel", ""))
	require.Empty(t, stopped)

	// One that does not listen is ended all the same.
	a.produce("deaf", nil)
	require.Contains(t, b.must(200, http.MethodPost, "/v1/live/deaf/cancel", ""), `"cancelled"`)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	p := g.produce("s", nil)
	g.must(200, http.MethodPost, "/v1/live/s/messages", "left")
	require.JSONEq(t, `{"sequence":2}`, g.must(200, http.MethodPost, "/v1/live/s/messages?once=approve", "yes"))
	g.must(409, http.MethodPost, "/v1/live/s/messages?once=approve", "no")
	g.must(413, http.MethodPost, "/v1/live/s/messages", strings.Repeat("x", streamhub.MaxRecordBytes+1))
	var got []string
	for m, err := range p.Messages(t.Context(), 0) {
		require.NoError(t, err)
		if got = append(got, m.Once+string(m.Data)); len(got) == 2 {
			break
		}
	}
	require.Equal(t, []string{"left", "approveyes"}, got)
	require.NoError(t, p.Done(t.Context(), nil))
	g.must(409, http.MethodPost, "/v1/live/s/messages", "late")
}

// post produces over HTTP: what is written to out, until that is closed.
func (g *gateway) post(path string) (out *io.PipeWriter, answer <-chan string) {
	in, out := io.Pipe()
	answers := make(chan string, 1)
	go func() {
		r, err := g.server.Client().Post(g.server.URL+path, "text/plain", in)
		if err != nil {
			answers <- err.Error()
			return
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		answers <- fmt.Sprint(r.StatusCode, " ", strings.TrimSpace(string(text)))
	}()
	return out, answers
}

// TestPublish produces over HTTP: line by line as they come, and every end has its verdict.
func TestPublish(t *testing.T) {
	t.Parallel()
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	post := a.post
	write := func(out io.Writer, text string) {
		_, err := io.WriteString(out, text)
		require.NoError(t, err)
	}
	follow := func(id string) *reader {
		for {
			if r := b.ask(http.MethodGet, "/v1/live/"+id, ""); r.StatusCode == http.StatusOK {
				return &reader{t, bufio.NewScanner(r.Body)}
			}
		}
	}
	out, answer := post("/v1/live/done")
	write(out, "one\r\n\n")
	r := follow("done")
	for _, want := range []string{"one", ""} {
		e, ok := r.next()
		require.True(t, ok)
		require.Equal(t, want, e.data)
	}
	b.must(409, http.MethodPost, "/v1/live/done", "x")
	write(out, "no line end")
	require.NoError(t, out.Close())
	require.Equal(t, `200 {"kind":"done"}`, <-answer)
	e, _ := r.next()
	require.Equal(t, "no line end", e.data)

	out, answer = post("/v1/live/cancelled")
	write(out, "1\n")
	r = follow("cancelled")
	_, _ = r.next()
	b.must(200, http.MethodPost, "/v1/live/cancelled/cancel", "")
	require.Equal(t, `200 {"kind":"cancelled"}`, <-answer)
	_ = out.Close()

	out, answer = post("/v1/live/cut")
	write(out, "1\n")
	r = follow("cut")
	_, _ = r.next()
	out.CloseWithError(errors.New("the process died"))
	<-answer
	e, _ = r.next()
	require.Contains(t, e.data, `"lost"`)

	out, answer = post("/v1/live/old")
	write(out, "1\n")
	r = follow("old")
	_, _ = r.next()
	b.must(200, http.MethodPost, "/v1/live/old?takeover=1", "2")
	require.Contains(t, <-answer, `"superseded"`)
	_ = out.Close()
	require.Contains(t, b.must(200, http.MethodGet, "/v1/live/old/status", ""), `"chunks":1`)
}

// TestPublishLost has Redis lose everything while somebody produces.
func TestPublishLost(t *testing.T) {
	t.Parallel()
	g := startBeating(t, "", 200*time.Millisecond, nil)
	out, answer := g.post("/v1/live/s?space=lost")
	_, err := io.WriteString(out, "1\n")
	require.NoError(t, err)
	e, _ := g.events("/v1/live/s?space=lost", "Accept", "text/event-stream").next()
	require.Equal(t, "1", e.data)
	client, err := hub.NewClient(g.hub.RedisURL())
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.FlushAll(t.Context()).Err())
	require.Regexp(t, `^410 .*"code":"history_lost"`, <-answer)
	_ = out.Close()
}

// TestPublishUnread answers producers before their body has ended, and goes on with the next request.
func TestPublishUnread(t *testing.T) {
	t.Parallel()
	g := start(t, "", func(o *livehttp.Options) {
		o.Authorize = func(_ *http.Request, right streamhub.Right) (string, error) {
			if right.Space == "secret" {
				return "", streamhub.ErrPermissionDenied
			}
			return "", nil
		}
	})
	g.produce("s", nil)
	for range 5 {
		g.must(409, http.MethodPost, "/v1/live/s", "x")
		g.must(409, http.MethodPost, "/v1/live/s", strings.Repeat("x\n", 1<<20))
		g.must(200, http.MethodGet, "/v1/live/s/status", "")
	}
	for path, status := range map[string]string{"s": "409", "s?space=secret": "403", "s/none": "404"} {
		out, answer := g.post("/v1/live/" + path)
		require.Contains(t, <-answer, status)
		_ = out.Close()
	}
}

// TestRefused names what is wrong.
func TestRefused(t *testing.T) {
	t.Parallel()
	g := start(t, "", func(o *livehttp.Options) {
		o.CheckOrigin = func(r *http.Request) error {
			if r.Header.Get("Origin") == "https://evil.example" {
				return errors.New("forbidden origin")
			}
			return nil
		}
		o.Authorize = func(r *http.Request, right streamhub.Right) (string, error) {
			switch {
			case right.Space == "anonymous":
				return "", errors.New("who are you")
			case right.Space == "secret" || right.Write && right.Space == "readonly" || right.Segment == "private":
				return "", streamhub.ErrPermissionDenied
			}
			return "", nil
		}
	})
	g.produce("s", nil)
	for _, c := range []struct {
		status       int
		method, path string
	}{
		{404, "GET", "/v1/live/none"}, {404, "GET", "/v1/live/"}, {404, "GET", "/v1/live/s/none"}, {404, "GET", "/stores/x/v1/live/s"},
		{404, "GET", "/stores/" + uuid.NewString() + "/v1/live/s"}, {405, "DELETE", "/v1/live/s"}, {409, "POST", "/v1/live/s"}, {405, "GET", "/v1/live/s/cancel"},
		{400, "GET", "/v1/live/s?cursor=nonsense"}, {400, "GET", "/v1/live/" + strings.Repeat("x", live.MaxIDLength+1)}, {400, "GET", "/v1/live/s?space=" + strings.Repeat("x", streamhub.MaxNameLength+1)},
		{404, "POST", "/v1/live/none/cancel"}, {404, "POST", "/v1/live/none/messages"}, {404, "GET", "/v1/live/none/status"},
		{401, "GET", "/v1/live/s?space=anonymous"}, {403, "GET", "/v1/live/s?space=secret"}, {403, "POST", "/v1/live/s/cancel?space=readonly"},
		{404, "GET", "/v1/live/s/status?space=readonly"}, {204, "OPTIONS", "/v1/live/s/cancel"},
	} {
		r := g.ask(c.method, c.path, "")
		require.Equal(t, c.status, r.StatusCode, "%s %s", c.method, c.path)
		require.Equal(t, "*", r.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "Retry-After", r.Header.Get("Access-Control-Expose-Headers"))
		require.Equal(t, c.status == 401, r.Header.Get("WWW-Authenticate") != "")
	}
	g.must(400, "POST", "/v1/live/s/cancel", "no json")
	require.Contains(t, g.must(403, "POST", "/v1/live/s/cancel", "", "Origin", "https://evil.example"), "forbidden")
	require.Contains(t, g.must(200, "GET", "/v1/live/s/status", ""), `"chunks":0`, "and nobody stopped it")
}

// TestQuery names the parameter that cannot be read, in each request, and does nothing.
func TestQuery(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	p := g.put("s", "")
	producer := []string{"Streamhub-Producer", p.Producer}
	for _, c := range []struct{ method, path, parameter string }{
		{"GET", "s?raw=banana", "raw"}, {"GET", "s?raw", "raw"}, {"GET", "s?raw=true", "raw"}, {"GET", "s?raw=1&raw=0", "raw"},
		{"GET", "s?replay=banana", "replay"}, {"GET", "s?replay=", "replay"}, {"GET", "s?exact=2", "exact"}, {"GET", "s?raw=1&active=yes", "active"},
		{"GET", "s?cursor=%zz", "query"}, {"GET", "s?cursor=a&cursor=b", "cursor"}, {"GET", "s?lastEventId=a&lastEventId=b", "lastEventId"}, {"GET", "s?raw=1;exact=1", "query"},
		{"GET", "s?wait=", "wait"}, {"GET", "s?wait=soon", "wait"}, {"GET", "s?wait=-1s", "wait"}, {"GET", "s?wait=1s&wait=2s", "wait"},
		{"GET", "s?space=a&space=b", "space"}, {"GET", "s/status?raw=banana", "raw"}, {"POST", "s?takeover=yes", "takeover"},
		{"PUT", "s?takeover=yes", "takeover"}, {"PATCH", "s?space=%", "query"},
		{"GET", "?id=s&generations=all", "generations"}, {"GET", "?active=banana", "active"}, {"GET", "?limit=", "limit"}, {"GET", "?after=1.a&after=2.b", "after"},
		{"POST", "s/cancel?wait=banana", "wait"}, {"POST", "s/cancel?wait=30s", "wait"}, {"POST", "s/messages?once=", "once"}, {"POST", "s/messages?once=a&once=b", "once"},
		{"POST", "s/chunks?first=banana", "first"}, {"POST", "s/chunks?first=1&first=2", "first"},
		{"GET", "s/messages?after=banana", "after"}, {"GET", "s/messages?wait=banana", "wait"},
	} {
		var failed struct{ Code, Message string }
		path := strings.Replace("/v1/live/"+c.path, "/?", "?", 1)
		text := g.must(http.StatusBadRequest, c.method, path, "", producer...)
		require.NoError(t, json.Unmarshal([]byte(text), &failed), "%s %s", c.method, path)
		require.Equal(t, "invalid_argument", failed.Code, "%s %s", c.method, path)
		require.Contains(t, failed.Message, c.parameter, "%s %s", c.method, path)
	}
	for _, query := range []string{"raw=banana", "replay=banana", "wait=soon"} {
		e, ok := g.connect("/v1/live/s?" + query).next()
		require.True(t, ok, query)
		require.Equal(t, "error", e.name, query)
		require.Contains(t, e.data, query[:4])
	}
	require.Contains(t, g.must(http.StatusOK, "POST", "/v1/live/s/chunks?other=%20&other=2", "", producer...), `"next":1`, "it is produced as before")
}

// TestMediaParameters takes a type for what it is, whatever its parameters are.
func TestMediaParameters(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	p := g.put("s", "")
	for i, parameters := range []string{"", "; charset=utf-8", ";charset=UTF-8; q", "; charset", ";"} {
		g.must(http.StatusOK, "POST", fmt.Sprint("/v1/live/s/chunks?first=", 2*i+1), "one\ntwo\n",
			"Content-Type", "Text/Plain"+parameters, "Streamhub-Producer", p.Producer)
		e, _ := g.events("/v1/live/s?cursor=unread", "Accept", "text/event-stream"+parameters).next()
		require.Equal(t, "error", e.name, parameters)
	}
	require.Contains(t, g.must(http.StatusOK, "GET", "/v1/live/s/status", ""), `"chunks":10`)
	for _, kind := range []string{"text", "text/html", "; charset=utf-8", "text/plain, text/plain"} {
		g.must(http.StatusUnsupportedMediaType, "POST", "/v1/live/s/chunks?first=11", "one\n", "Content-Type", kind, "Streamhub-Producer", p.Producer)
	}
}

// TestSuperseded ends the readers of a generation that another one took over from.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	old := g.produce("s", nil)
	g.publish(old, "old")
	r := g.events("/v1/live/s")
	e, _ := r.next()
	next := g.produce("s", &live.RegisterOptions{Takeover: true})
	g.publish(next, "new")
	end, _ := r.next()
	require.Contains(t, end.data, fmt.Sprint(`"generation":`, next.Generation()))
	// Who comes back with a cursor of the old one hears how that ended, and not the new one.
	again := g.events("/v1/live/s", "Last-Event-ID", e.id)
	end, _ = again.next()
	require.Equal(t, "end", end.name)
	require.Contains(t, end.data, "superseded")
	fresh := g.events("/v1/live/s")
	e, _ = fresh.next()
	require.Equal(t, "new", e.data)
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	p := g.produce("s", nil)
	g.publish(p, "1")
	r := g.events("/v1/live/s")
	_, ok := r.next()
	require.True(t, ok)
	require.NoError(t, g.Shutdown(t.Context()))
	_, ok = r.next()
	require.False(t, ok, "an end without a word: the browser goes on elsewhere")
	g.must(503, http.MethodGet, "/v1/live/s", "")
}

// TestReserved serves nothing of the store of the gateways, with or without tokens, and no page.
func TestReserved(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.must(404, http.MethodGet, "/stores/"+auth.Internal.String()+"/v1/live/x/status", "")
	g.must(404, http.MethodPost, "/stores/"+auth.Internal.String()+"/v1/live/x", "x")
	w := httptest.NewRecorder()
	livehttp.New(t.Context(), nil, nil).ServeHTTP(w, httptest.NewRequest(http.MethodOptions, "/v1/live/x", nil))
	require.Regexp(t, "^sandbox;.*default-src 'none'", w.Header().Get("Content-Security-Policy"))
}

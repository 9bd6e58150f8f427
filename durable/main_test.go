package durable_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// A gateway is an HTTP server with a handler, on a hub of its own.
type gateway struct {
	*durable.Handler
	hub    *hub.Hub
	server *httptest.Server
}

// start starts a gateway, on an embedded Redis if url is empty.
func start(t *testing.T, url string, o *durable.Options) *gateway {
	t.Helper()
	g := &gateway{}
	var err error
	if url == "" {
		g.hub, err = hub.Open(t.Context(), nil, &hub.Options{Recheck: time.Second})
	} else {
		client, clientErr := hub.NewClient(url)
		require.NoError(t, clientErr)
		t.Cleanup(func() { _ = client.Close() })
		g.hub, err = hub.Open(t.Context(), client, &hub.Options{Recheck: time.Second})
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.hub.Close()) })
	if o == nil {
		o = &durable.Options{LongPollTimeout: 10 * time.Second}
	}
	g.Handler, err = durable.New(t.Context(), g.hub, o)
	require.NoError(t, err)
	g.server = httptest.NewServer(g.Handler)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		g.server.Close()
	})
	return g
}

// pair starts two gateways on one embedded Redis.
func pair(t *testing.T, o *durable.Options) (a, b *gateway) {
	t.Helper()
	a = start(t, "", o)
	return a, start(t, a.hub.RedisURL(), o)
}

func (g *gateway) store() *hub.Store { return g.hub.Store(uuid.Nil) }

// A reply is what came back, whole.
type reply struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// slow reports whether the gateway may have sent an append again, which it does after 200 ms without an answer.
func (r *reply) slow() bool { return r.took > 150*time.Millisecond }

func (r *reply) offset() string { return r.header.Get("Stream-Next-Offset") }

// do makes a request; headers are pairs.
func (g *gateway) do(t *testing.T, method, path, body string, headers ...string) *reply {
	t.Helper()
	r, err := g.try(t.Context(), method, path, body, headers...)
	require.NoError(t, err)
	return r
}

func (g *gateway) try(ctx context.Context, method, path, body string, headers ...string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, g.url(path), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	begun := time.Now()
	response, err := g.server.Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &reply{response.StatusCode, response.Header, string(text), time.Since(begun)}, err
}

func (g *gateway) url(path string) string {
	if strings.HasPrefix(path, "/") {
		return g.server.URL + path
	}
	return g.server.URL + "/v1/stream/" + path
}

// must makes a request that has to be answered with a status.
func (g *gateway) must(t *testing.T, status int, method, path, body string, headers ...string) *reply {
	t.Helper()
	r := g.do(t, method, path, body, headers...)
	require.Equal(t, status, r.status, "%s %s: %s", method, path, r.body)
	return r
}

func (g *gateway) put(t *testing.T, path, contentType, body string, headers ...string) *reply {
	t.Helper()
	return g.must(t, http.StatusCreated, http.MethodPut, path, body, append(headers, "Content-Type", contentType)...)
}

func (g *gateway) post(t *testing.T, path, contentType, body string, headers ...string) *reply {
	t.Helper()
	return g.must(t, http.StatusNoContent, http.MethodPost, path, body, append(headers, "Content-Type", contentType)...)
}

func (g *gateway) get(t *testing.T, path string) *reply {
	t.Helper()
	return g.must(t, http.StatusOK, http.MethodGet, path, "")
}

// eventually waits for something that others do.
func eventually(t *testing.T, what func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := what(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.NoError(t, err)
		}
	}
}

// pause lets time pass for servers and kernels, where it is time that is tested.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// An eventReader reads an event stream.
type eventReader struct {
	t      *testing.T
	body   io.ReadCloser
	buffer []byte
	chunk  []byte
}

type event struct{ kind, data string }

func (g *gateway) events(t *testing.T, path string) *eventReader {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url(path), nil)
	require.NoError(t, err)
	response, err := g.server.Client().Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &eventReader{t: t, body: response.Body, chunk: make([]byte, 64<<10)}
}

// next returns the next event, or ok false where the stream of events has ended cleanly.
func (e *eventReader) next() (v event, ok bool) {
	for {
		if at := bytes.Index(e.buffer, []byte("\n\n")); at >= 0 {
			block := string(e.buffer[:at])
			e.buffer = e.buffer[at+2:]
			var lines []string
			for line := range strings.SplitSeq(block, "\n") {
				if kind, is := strings.CutPrefix(line, "event: "); is {
					v.kind = kind
				} else if data, is := strings.CutPrefix(line, "data:"); is {
					lines = append(lines, strings.TrimPrefix(data, " "))
				}
			}
			if v.kind == "" {
				continue // a comment
			}
			v.data = strings.Join(lines, "\n")
			return v, true
		}
		n, err := e.body.Read(e.chunk)
		e.buffer = append(e.buffer, e.chunk[:n]...)
		if err == io.EOF && n == 0 {
			require.Empty(e.t, e.buffer, "cut off in the middle of an event")
			return v, false
		}
		if err != nil && err != io.EOF {
			require.NoError(e.t, err)
		}
	}
}

func records(payloads ...string) []streamhub.Record {
	all := make([]streamhub.Record, 0, len(payloads))
	for _, p := range payloads {
		all = append(all, streamhub.Record{Payload: []byte(p)})
	}
	return all
}

func producer(id string, epoch, seq int) []string {
	return []string{"Producer-Id", id, "Producer-Epoch", fmt.Sprint(epoch), "Producer-Seq", fmt.Sprint(seq)}
}

package livehttp_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

// connect is a request of an EventSource, which never comes again unless the answer is an event
// stream with status 200.
func (g *gateway) connect(path string, headers ...string) *reader {
	g.Helper()
	return g.events(path, append(headers, "Accept", "text/event-stream")...)
}

// passes requires an answer after which an EventSource comes again: it has no event.
func (g *gateway) passes(path string, headers ...string) string {
	g.Helper()
	text := g.must(http.StatusOK, http.MethodGet, path, "", append(headers, "Accept", "text/event-stream")...)
	require.Regexp(g, regexp.MustCompile(`(?m)^retry: \d+$`), text)
	require.NotRegexp(g, regexp.MustCompile(`(?m)^(id|event|data):`), text)
	return text
}

// fails requires that the last word of the answer says why, and that the EventSource is let go after it.
func (g *gateway) fails(code, path string, headers ...string) {
	g.Helper()
	r := g.connect(path, headers...)
	e, ok := r.next()
	require.True(g, ok)
	require.Equal(g, "error", e.name)
	require.Contains(g, e.data, `"code":"`+code+`"`)
	_, ok = r.next()
	require.False(g, ok)
	bare, _, _ := strings.Cut(path, "?")
	g.must(http.StatusNoContent, http.MethodGet, bare, "", "Accept", "text/event-stream", "Last-Event-ID", e.id)
}

// TestEventSourceNowhere opens paths at which there is no stream: an id with a slash that is not escaped, say.
func TestEventSourceNowhere(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	for _, path := range []string{"/v1/live/a/b", "/v1/live/", "/stores/none/v1/live/a", "/v1/live/a/status/b"} {
		e, ok := g.connect(path).next()
		require.True(t, ok, path)
		require.Equal(t, "error", e.name)
		require.Contains(t, e.data, `"code":"not_found"`)
		g.must(http.StatusNotFound, http.MethodGet, path, "")
	}
}

// TestEventSourceEarly opens streams that have not begun.
func TestEventSourceEarly(t *testing.T) {
	t.Parallel()
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	for _, query := range []string{"", "?wait=30s", "?wait=30"} {
		id := "early" + strings.Trim(query, "?=")
		r := b.connect("/v1/live/" + id + query)
		p := a.produce(id, nil)
		a.publish(p, "one")
		e, ok := r.next()
		require.True(t, ok)
		require.Equal(t, "one", e.data)
		require.NoError(t, p.Done(t.Context(), nil))
		e, _ = r.next()
		require.Equal(t, "end", e.name)
	}
	// Who names a time hears when it is over, and who can take a status gets that.
	b.fails("not_found", "/v1/live/never?wait=50ms")
	b.fails("not_found", "/v1/live/never?wait=0")
	b.must(http.StatusNotFound, http.MethodGet, "/v1/live/never?wait=50ms", "")
	b.must(http.StatusNotFound, http.MethodGet, "/v1/live/never", "")
	b.must(http.StatusBadRequest, http.MethodGet, "/v1/live/never?wait=1h", "")
	answer := make(chan string, 1)
	go func() {
		r, err := b.server.Client().Get(b.server.URL + "/v1/live/plain?wait=30s")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		answer <- string(text)
	}()
	p := a.produce("plain", nil)
	a.publish(p, "one")
	require.NoError(t, p.Done(t.Context(), nil))
	require.Contains(t, <-answer, "data:one\n")
}

// TestEventSourceFinal tells it what will not change.
func TestEventSourceFinal(t *testing.T) {
	t.Parallel()
	g := start(t, "", func(o *livehttp.Options) {
		o.Authorize = func(_ *http.Request, right streamhub.Right) (string, error) {
			if right.Space == "secret" {
				return "", streamhub.ErrPermissionDenied
			}
			if right.Space == "anonymous" {
				return "", errors.New("who are you")
			}
			return "", nil
		}
	})
	p := g.produce("s", nil)
	g.publish(p, "one")
	r := g.connect("/v1/live/s")
	e, _ := r.next()
	require.NoError(t, p.Done(t.Context(), nil))
	require.NoError(t, g.hub.Store(uuid.Nil).Live("live").Remove(t.Context(), "s"))
	g.fails("not_found", "/v1/live/s", "Last-Event-ID", e.id)
	g.fails("not_found", "/v1/live/s?wait=30s&cursor="+e.id)
	g.fails("invalid_cursor", "/v1/live/s?cursor=nonsense")
	g.fails("invalid_argument", "/v1/live/s?wait=soon")
	g.fails("invalid_name", "/v1/live/"+strings.Repeat("x", live.MaxIDLength+1))
	// What stands between judges by the status of these.
	g.must(http.StatusForbidden, http.MethodGet, "/v1/live/s?space=secret", "", "Accept", "text/event-stream")
	g.must(http.StatusUnauthorized, http.MethodGet, "/v1/live/s?space=anonymous", "", "Accept", "text/event-stream")
}

// TestEventSourcePassing has it come again whatever is wrong with the gateway.
func TestEventSourcePassing(t *testing.T) {
	t.Parallel()
	var trouble atomic.Pointer[error]
	g := start(t, "", func(o *livehttp.Options) {
		o.Authorize = func(*http.Request, streamhub.Right) (string, error) {
			if err := trouble.Load(); err != nil {
				return "", *err
			}
			return "", nil
		}
	})
	p := g.produce("s", nil)
	g.publish(p, "one", "two")
	r := g.connect("/v1/live/s")
	one, _ := r.next()
	for _, err := range []error{
		streamhub.ErrUnavailable, streamhub.ErrUnknownOutcome, streamhub.ErrShutdown, streamhub.ErrLimitExceeded,
		&streamhub.UnavailableError{Reason: streamhub.ReasonDenied, Err: errors.New("no right")},
	} {
		trouble.Store(&err)
		for _, headers := range [][]string{nil, {"Last-Event-ID", one.id}} {
			text := g.passes("/v1/live/s", headers...)
			require.NotContains(t, text, "no right")
		}
		require.NotEqual(t, 200, g.ask(http.MethodGet, "/v1/live/s", "").StatusCode, "%v", err)
	}
	trouble.Store(nil)
	e, _ := g.connect("/v1/live/s", "Last-Event-ID", one.id).next()
	require.Equal(t, "two", e.data)

	require.NoError(t, g.Shutdown(t.Context()))
	g.passes("/v1/live/s", "Last-Event-ID", one.id)
}

// TestEventSourceOutage takes Redis away while a stream is opened.
func TestEventSourceOutage(t *testing.T) {
	t.Parallel()
	a := start(t, "", nil)
	redis, err := url.Parse(a.hub.RedisURL())
	require.NoError(t, err)
	proxy, err := faultproxy.New(redis.Host, 1, faultproxy.Faults{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	redis.Host = proxy.Addr()
	b := start(t, redis.String(), nil)
	p := a.produce("s", nil)
	a.publish(p, "one")
	e, _ := b.connect("/v1/live/s").next()
	require.Equal(t, "one", e.data)
	proxy.Set(faultproxy.Faults{Refuse: true})
	proxy.CutAll()
	// Who is let in stays and is told that something is wrong; who wants a status gets that.
	resumed, early := b.connect("/v1/live/s", "Last-Event-ID", e.id), b.connect("/v1/live/other")
	several, raw := b.connect("/v1/live?id=s&id=other"), b.connect("/v1/live/s?raw=1", "Last-Event-ID", e.id)
	for _, r := range []*reader{resumed, early, several, raw} {
		for r.lines.Scan() && r.lines.Text() != ": unavailable" {
			require.Regexp(t, "^(retry: .*|: ping)?$", r.lines.Text())
		}
	}
	b.must(http.StatusServiceUnavailable, http.MethodGet, "/v1/live/s", "")
	proxy.Set(faultproxy.Faults{})
	// The producer's own gateway was never away.
	a.publish(p, "two")
	for _, r := range []*reader{resumed, raw} {
		e, ok := r.next()
		require.True(t, ok)
		require.Equal(t, "two", e.data)
	}
	a.publish(a.produce("other", nil), "three")
	e, ok := early.next()
	require.True(t, ok)
	require.Equal(t, "three", e.data)
	for _, want := range []string{`"data":"one"`, `"data":"two"`, `"data":"three"`} {
		e, ok := several.next()
		require.True(t, ok)
		require.Contains(t, e.data, want)
	}
}

// TestWaitIsDrained ends those who wait when the gateway stops.
func TestWaitIsDrained(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	r := g.ask(http.MethodGet, "/v1/live/never?wait=5m", "", "Accept", "text/event-stream")
	lines := bufio.NewReader(r.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "retry: 1000\n", line)
	begin := time.Now()
	require.NoError(t, g.Shutdown(t.Context()))
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.NotContains(t, string(rest), "event:")
	require.Less(t, time.Since(begin), 20*time.Second)
}

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
	"github.com/seed-147127fe/streamhub/server"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func TestMain(m *testing.M) { testredis.Main(m) }

const patience = 30 * time.Second

var secret = []byte("a secret that is long enough for HS256")

// sign makes a token that ends after a time.
func sign(t testing.TB, subject string, ends time.Duration, scopes ...string) string {
	return signUntil(t, subject, time.Now().Add(ends), scopes...)
}

// signUntil makes a token that ends at a whole second; verifiers add 30 s for clocks that differ.
func signUntil(t testing.TB, subject string, end time.Time, scopes ...string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": subject, "exp": end.Add(-30 * time.Second).Unix(), "scopes": scopes,
	}).SignedString(secret)
	require.NoError(t, err)
	return text
}

func start(t testing.TB, o *server.Options) (h *hub.Hub, s *server.Server, url string) {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	s, url = serve(t, h, o)
	return h, s, url
}

// serve puts a server before a hub, with tokens.
func serve(t testing.TB, h *hub.Hub, o *server.Options) (s *server.Server, url string) {
	t.Helper()
	tokens, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	o.Auth = tokens
	s, err = server.New(h, o)
	require.NoError(t, err)
	listener := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		listener.Close()
	})
	return s, listener.URL
}

// redisOf returns a client of the embedded Redis of a hub.
func redisOf(t testing.TB, h *hub.Hub) redis.UniversalClient {
	t.Helper()
	client, err := hub.NewClient(h.RedisURL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// send makes a request whose answer is the caller's.
func send(t testing.TB, method, url, token string, body io.Reader, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	require.NoError(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// TestExpiry holds everything open that lasts until its token ends: it ends within a second.
func TestExpiry(t *testing.T) {
	h, _, url := start(t, &server.Options{})
	_, err := h.Store(uuid.Nil).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	p, _, err := h.Store(uuid.Nil).Live("live").Register(t.Context(), "answer", nil)
	require.NoError(t, err)
	end := time.Now().Truncate(time.Second).Add(4 * time.Second)
	token := signUntil(t, "reader", end, "streamkit::*")
	ended := func(name string) {
		t.Helper()
		late := time.Since(end)
		if late < 0 || late > time.Second {
			t.Errorf("%s ended %v after its token", name, late)
		}
	}
	var open sync.WaitGroup
	for name, path := range map[string]string{
		"events": "/v1/stream/space/seg?offset=-1&live=sse", "live": "/v1/live/answer", "live that has not begun": "/v1/live/none?wait=20s",
	} {
		answer := send(t, http.MethodGet, url+path, token, nil, "Accept", "text/event-stream")
		require.Equal(t, http.StatusOK, answer.StatusCode, name)
		open.Go(func() {
			_, _ = io.Copy(io.Discard, answer.Body)
			ended(name)
		})
	}
	open.Go(func() {
		answer := send(t, http.MethodGet, url+"/v1/stream/space/seg?offset=now&live=long-poll", token, nil)
		ended("long-poll")
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("long-poll: %s", answer.Status)
		}
	})
	open.Go(func() {
		body, lines := io.Pipe()
		defer lines.Close()
		go func() { _, _ = io.WriteString(lines, "a chunk\n") }()
		answer := send(t, http.MethodPost, url+"/v1/live/produced", token, body)
		ended("producer")
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("producer: %s", answer.Status)
		}
	})
	open.Go(func() {
		body, bytes := io.Pipe()
		defer bytes.Close()
		go func() { _, _ = io.WriteString(bytes, "the beginning") }()
		answer := send(t, http.MethodPost, url+"/v1/stream/space/seg", token, body, "Content-Type", "application/octet-stream")
		ended("body")
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("body: %s", answer.Status)
		}
	})
	open.Wait()
	stream, err := h.Store(uuid.Nil).Live("live").Get(t.Context(), "produced")
	require.NoError(t, err)
	status, err := stream.Status(t.Context())
	require.NoError(t, err)
	require.NotNil(t, status.Verdict, "the generation has ended")
	require.NoError(t, p.Done(t.Context(), nil))
}

// counts are the sums of a metric by one of its attributes.
func counts(t testing.TB, reader sdkmetric.Reader, name, by string) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	found := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
				for _, p := range sum.DataPoints {
					v, _ := p.Attributes.Value(attribute.Key(by))
					found[v.AsString()] += p.Value
				}
			}
		}
	}
	return found
}

// TestLimits reaches each limit of requests and bodies; another subject is not disturbed.
func TestLimits(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	var log bytes.Buffer
	h, _, url := start(t, &server.Options{
		Requests:      &server.Limits{RequestsPerSubject: 3, BodyBytesPerSubject: 64 << 10, BodyPause: time.Second},
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	_, err := h.Store(uuid.Nil).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	a, b := sign(t, "a", time.Hour, "streamkit::*"), sign(t, "b", time.Hour, "streamkit::*")
	stream := url + "/v1/stream/space/seg"
	var readers []*http.Response
	for range 3 {
		answer := send(t, http.MethodGet, stream+"?offset=-1&live=sse", a, nil)
		require.Equal(t, http.StatusOK, answer.StatusCode)
		readers = append(readers, answer)
	}
	require.EqualValues(t, 3, counts(t, reader, "streamhub.open_streams", "transport")["durable"])
	for range 10 {
		require.Equal(t, http.StatusTooManyRequests, send(t, http.MethodGet, stream, a, nil).StatusCode)
	}
	require.Equal(t, http.StatusOK, send(t, http.MethodGet, stream, b, nil).StatusCode)
	for _, answer := range readers {
		_ = answer.Body.Close()
	}
	require.Eventually(t, func() bool { return send(t, http.MethodGet, stream, a, nil).StatusCode == http.StatusOK }, patience, 10*time.Millisecond)

	large := strings.Repeat("x", 100<<10)
	require.Equal(t, http.StatusTooManyRequests, send(t, http.MethodPost, stream, a, strings.NewReader(large), "Content-Type", "application/octet-stream").StatusCode)
	require.Equal(t, http.StatusTooManyRequests, send(t, http.MethodPost, url+"/v1/live/x/messages", a, strings.NewReader(large)).StatusCode)
	require.Equal(t, http.StatusNoContent, send(t, http.MethodPost, stream, a, strings.NewReader("fits"), "Content-Type", "application/octet-stream").StatusCode)

	body, drops := io.Pipe()
	defer drops.Close()
	go func() {
		for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
			if _, err := io.WriteString(drops, "."); err != nil {
				tick.Stop()
				return
			}
		}
	}()
	began := time.Now()
	require.Equal(t, http.StatusRequestTimeout, send(t, http.MethodPost, stream, a, body, "Content-Type", "application/octet-stream").StatusCode)
	require.Less(t, time.Since(began), 10*time.Second, "a body that comes in drops is given up")

	for range 5 {
		require.Equal(t, http.StatusUnauthorized, send(t, http.MethodGet, stream, "x.y.z", nil).StatusCode)
	}
	refusals := counts(t, reader, "streamhub.refusals", "reason")
	require.EqualValues(t, 5, refusals["token"])
	require.GreaterOrEqual(t, refusals["limit"], int64(10))
	require.Equal(t, 5, strings.Count(log.String(), "a token was refused"))
	require.NotContains(t, log.String(), "x.y.z")
	require.Eventually(t, func() bool { return counts(t, reader, "streamhub.open_streams", "transport")["durable"] == 0 }, patience, 10*time.Millisecond)
}

// TestAdmin asks the handler for operators.
func TestAdmin(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	const token = "a token for operators"
	for name, test := range map[string]struct {
		options server.Options
		host    string
		token   string
		status  int
	}{
		"loopback":           {server.Options{}, "127.0.0.1:9090", "", http.StatusOK},
		"rebound":            {server.Options{}, "evil.example.com", "", http.StatusMisdirectedRequest},
		"named":              {server.Options{Hosts: []string{"pod"}}, "pod:9090", "", http.StatusOK},
		"open":               {server.Options{OpenAdmin: true}, "10.1.2.3", "", http.StatusOK},
		"no token":           {server.Options{AdminToken: token}, "127.0.0.1", "", http.StatusUnauthorized},
		"wrong token":        {server.Options{AdminToken: token}, "127.0.0.1", "a token for others", http.StatusUnauthorized},
		"token":              {server.Options{AdminToken: token}, "10.1.2.3", token, http.StatusOK},
		"token and open":     {server.Options{AdminToken: token, OpenAdmin: true}, "10.1.2.3", "", http.StatusUnauthorized},
		"token of a tenant":  {server.Options{AdminToken: token}, "127.0.0.1", "tenant", http.StatusUnauthorized},
		"empty bearer token": {server.Options{AdminToken: token}, "127.0.0.1", " ", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Metrics = metrics
			_, s, _ := start(t, &test.options)
			if test.token == "tenant" {
				test.token = sign(t, "tenant", time.Hour, "streamkit::*")
			}
			for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline"} {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Host = test.host
				if test.token != "" {
					r.Header.Set("Authorization", "Bearer "+test.token)
				}
				w := httptest.NewRecorder()
				s.Admin().ServeHTTP(w, r)
				require.Equal(t, test.status, w.Code, path)
				if path == "/debug/pprof/cmdline" && w.Code == http.StatusOK {
					require.Equal(t, os.Args[0], w.Body.String(), "an argument may be a secret")
				}
			}
		})
	}
}

// TestShutdown ends an event stream, and /readyz says so.
func TestShutdown(t *testing.T) {
	h, s, url := start(t, &server.Options{})
	_, err := h.Store(uuid.Nil).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, send(t, http.MethodGet, url+"/readyz", "", nil).StatusCode)
	answer := send(t, http.MethodGet, url+"/v1/stream/space/seg?offset=-1&live=sse", sign(t, "a", time.Hour, "streamkit::*"), nil)
	_, err = bufio.NewReader(answer.Body).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, s.Shutdown(t.Context()))
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(t, err, "it has ended as event streams end")
	require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodGet, url+"/readyz", "", nil).StatusCode)
}

// TestOwnOrigin has pages of other origins ask handlers that were given neither tokens nor origins.
func TestOwnOrigin(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	_, err = h.Store(uuid.Nil).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	streams, err := durable.New(t.Context(), h, nil)
	require.NoError(t, err)
	lives := livehttp.New(t.Context(), func(id uuid.UUID, space string) live.Streams { return h.Store(id).Live(space) }, nil)
	whole, err := server.New(h, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, errors.Join(streams.Shutdown(ctx), lives.Shutdown(ctx), whole.Shutdown(ctx), h.Close()))
	})
	for name, test := range map[string]struct {
		handler http.Handler
		path    string
		status  int
	}{
		"durable": {streams, "/v1/stream/space/seg", http.StatusOK}, "live": {lives, "/v1/live/none/status", http.StatusNotFound},
		"server, durable": {whole, "/v1/stream/space/seg", http.StatusOK}, "server, live": {whole, "/v1/live/none/status", http.StatusNotFound},
	} {
		for origin, status := range map[string]int{
			"": test.status, "http://127.0.0.1:8080": test.status, "https://127.0.0.1:8080": test.status,
			"http://evil.example.com": http.StatusForbidden, "null": http.StatusForbidden, "http://127.0.0.1": http.StatusForbidden,
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
				if method != http.MethodGet && status != http.StatusForbidden {
					continue
				}
				r := httptest.NewRequest(method, test.path, nil)
				r.Host = "127.0.0.1:8080"
				if origin != "" {
					r.Header.Set("Origin", origin)
				}
				w := httptest.NewRecorder()
				test.handler.ServeHTTP(w, r)
				require.Equal(t, status, w.Code, "%s: %s from %q", name, method, origin)
				if status == http.StatusOK && strings.HasPrefix(name, "server") {
					require.NotContains(t, w.Header().Get("Cache-Control"), "private", "everybody may read")
				}
			}
		}
	}
	// A page that shows or runs an address sends no Origin.
	for _, test := range []struct {
		name    string
		handler http.Handler
		path    string
	}{
		{"durable", streams, "/v1/stream/space/seg"}, {"live", lives, "/v1/live"}, {"server, durable", whole, "/v1/stream/space/seg"},
		{"server, live", whole, "/v1/live"}, {"server, operate", whole, "/v1/operate/live?space=space"},
		{"admin, operate", whole.Admin(), "/v1/operate/live?space=space"}, {"admin, profile", whole.Admin(), "/debug/pprof/cmdline"},
	} {
		for _, site := range []struct {
			site, mode, referer string
			status              int
		}{
			{"cross-site", "no-cors", "", http.StatusForbidden}, {"cross-site", "no-cors", "https://evil.example.com/", http.StatusForbidden},
			{"same-site", "no-cors", "http://127.0.0.1:3000/page", http.StatusForbidden}, {"same-origin", "no-cors", "", http.StatusOK},
			{"cross-site", "navigate", "https://example.com/", http.StatusOK}, {"none", "navigate", "", http.StatusOK},
		} {
			r := httptest.NewRequest(http.MethodGet, test.path, nil)
			r.Host = "127.0.0.1:8080"
			r.Header.Set("Sec-Fetch-Site", site.site)
			r.Header.Set("Sec-Fetch-Mode", site.mode)
			r.Header.Set("Referer", site.referer)
			w := httptest.NewRecorder()
			test.handler.ServeHTTP(w, r)
			require.Equal(t, site.status, w.Code, "%s: %v", test.name, site)
		}
	}
}

// TestCookie has a page send its token in a cookie, over HTTP and a WebSocket of both dialects.
func TestCookie(t *testing.T) {
	h, _, url := start(t, &server.Options{Cookie: "hub"})
	_, err := h.Store(uuid.Nil).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
	require.NoError(t, err)
	cookie := "hub=" + sign(t, "a", time.Hour, "streamhub::*::space::read")
	for site, want := range map[string]struct{ read, write, upgrade int }{
		"same-origin": {http.StatusOK, http.StatusForbidden, http.StatusSwitchingProtocols},
		"cross-site":  {http.StatusUnauthorized, http.StatusUnauthorized, http.StatusUnauthorized},
		"same-site":   {http.StatusUnauthorized, http.StatusUnauthorized, http.StatusUnauthorized},
	} {
		header := []string{"Cookie", cookie, "Sec-Fetch-Site", site}
		require.Equal(t, want.read, send(t, http.MethodGet, url+"/v1/stream/space/seg?offset=-1&live=sse", "", nil, header...).StatusCode, site)
		require.Equal(t, want.write, send(t, http.MethodPost, url+"/v1/stream/space/seg", "", strings.NewReader("x"), header...).StatusCode, site)
		upgrade := append(header, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		require.Equal(t, want.upgrade, send(t, http.MethodGet, url+"/streamz", "", nil, upgrade...).StatusCode, site)
	}
}

// TestScript loads the package for the web from a gateway, which asks nobody who that is.
func TestScript(t *testing.T) {
	t.Parallel()
	_, _, url := start(t, &server.Options{})
	answer, err := http.Get(url + "/streamhub.js")
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
	require.Contains(t, string(text), "as readLive")
}

// TestWelcome: who opens the address that serve prints sees what is there.
func TestWelcome(t *testing.T) {
	_, _, url := start(t, &server.Options{})
	answer := send(t, http.MethodGet, url+"/", "", nil)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	for _, path := range []string{"/v1/live/", "/v1/stream/", "/streamz", "/v1/openapi.json", "/healthz", "/readyz"} {
		require.Contains(t, string(text), path)
	}
	require.Equal(t, http.StatusNotFound, send(t, http.MethodGet, url+"/other", "", nil).StatusCode)
}

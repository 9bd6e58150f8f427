package check_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/openapi"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/server"
)

// load returns the validator of the document.
func load(t *testing.T) validator.Validator {
	t.Helper()
	document, err := libopenapi.NewDocument(openapi.Document())
	require.NoError(t, err)
	v, errs := validator.NewValidator(document)
	require.Empty(t, errs)
	return v
}

// TestDocument: the document is one of OpenAPI 3.1.
func TestDocument(t *testing.T) {
	valid, failures := load(t).ValidateDocument()
	for _, f := range failures {
		t.Errorf("%s: %s %v", f.Message, f.Reason, f.SchemaValidationErrors)
	}
	require.True(t, valid)
}

// A gateway is asked, and what it answers is compared with the document.
type gateway struct {
	*testing.T
	url   string
	v     validator.Validator
	asked map[string]bool // operations and statuses that were seen
}

func start(t *testing.T) *gateway {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, &hub.Options{Live: &live.Options{CancelGrace: 100 * time.Millisecond}})
	require.NoError(t, err)
	s, err := server.New(h, nil)
	require.NoError(t, err)
	front := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		front.Close()
		require.NoError(t, h.Close())
	})
	return &gateway{T: t, url: front.URL, v: load(t), asked: map[string]bool{}}
}

// ask makes a request and requires a status, and that the document says of it what was answered. The
// document must also allow the request, unless the gateway refuses it.
func (g *gateway) ask(status int, method, path, body string, headers ...string) string {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second)
	defer cancel()
	build := func() *http.Request {
		r, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(body))
		require.NoError(g, err)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return r
	}
	response, err := http.DefaultClient.Do(build())
	require.NoError(g, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(g, err)
	require.Equal(g, status, response.StatusCode, "%s %s: %s", method, path, text)
	response.Body = io.NopCloser(bytes.NewReader(text))
	valid, failures := g.v.ValidateHttpResponse(build(), response)
	for _, f := range failures {
		g.Errorf("%s %s answered %d: %s: %s", method, path, status, f.Message, f.Reason)
		for _, s := range f.SchemaValidationErrors {
			g.Errorf("  %s in %s", s.Reason, text)
		}
	}
	require.True(g, valid)
	// The validator takes a body of JSON lines for one JSON value.
	if status < 300 && build().Header.Get("Content-Type") != "application/x-ndjson" {
		valid, failures := g.v.ValidateHttpRequest(build())
		for _, f := range failures {
			g.Errorf("%s %s is taken, and the document does not allow it: %s: %s", method, path, f.Message, f.Reason)
		}
		require.True(g, valid)
	}
	return string(text)
}

// TestAnswers asks for everything, rightly and wrongly.
func TestAnswers(t *testing.T) {
	g := start(t)
	const text, ndjson, form = "text/plain", "application/x-ndjson", "application/json"
	for _, prefix := range []string{"", "/stores/" + uuid.NewString()} {
		at := prefix + "/v1/live"
		g.ask(200, "GET", at, "")
		g.ask(404, "GET", at+"/s", "")
		g.ask(404, "GET", at+"/s/status", "")
		g.ask(204, "GET", at+"/s?raw=1", "")
		g.ask(200, "GET", at+"/s?wait=10ms", "", "Accept", "text/event-stream")
		var p struct{ Producer string }
		require.NoError(t, json.Unmarshal([]byte(g.ask(201, "PUT", at+"/s", `{"metadata":{"model":"small"}}`, "Content-Type", form)), &p))
		key := []string{"Streamhub-Producer", p.Producer}
		with := func(kind string) []string { return append([]string{"Content-Type", kind}, key...) }
		g.ask(409, "PUT", at+"/s", "", "Content-Type", form)
		g.ask(400, "PUT", at+"/s", `{"take":true}`, "Content-Type", form)
		g.ask(200, "POST", at+"/s/chunks?first=1", "{}\n[]\n", with(ndjson)...)
		g.ask(200, "POST", at+"/s/chunks?first=3", "three", with(text)...)
		g.ask(200, "POST", at+"/s/chunks", "", with(text)...)
		g.ask(409, "POST", at+"/s/chunks?first=9", "nine", with(text)...)
		g.ask(400, "POST", at+"/s/chunks?first=0", "zero", with(text)...)
		g.ask(403, "POST", at+"/s/chunks?first=1", "x", "Content-Type", text)
		g.ask(415, "POST", at+"/s/chunks?first=4", "x", with("text/html")...)
		g.ask(413, "POST", at+"/s/chunks?first=4", strings.Repeat("x", 17<<20), with(text)...)
		g.ask(404, "POST", at+"/nobody/chunks?first=1", "x", with(text)...)
		g.ask(204, "PATCH", at+"/s", `{"metadata":{"model":"large"}}`, with(form)...)
		g.ask(400, "PATCH", at+"/s", `{}`, with(form)...)
		g.ask(200, "POST", at+"/s/messages?once=q", "yes", "Content-Type", text)
		g.ask(409, "POST", at+"/s/messages?once=q", "no", "Content-Type", text)
		g.ask(200, "GET", at+"/s/messages?wait=0s", "", key...)
		g.ask(200, "GET", at+"/s/status", "")
		g.ask(202, "POST", at+"/s/cancel?wait=0", `{"reason":"enough"}`, "Content-Type", form)
		g.ask(200, "GET", at+"/s/messages?wait=1s&after=1", "", key...)
		g.ask(200, "POST", at+"/s/end", `{"kind":"done","output":{"words":3}}`, with(form)...)
		g.ask(200, "POST", at+"/s/end", `{"kind":"failed","reason":"late"}`, with(form)...)
		g.ask(400, "POST", at+"/s/end", `{"kind":"deleted"}`, with(form)...)
		g.ask(409, "POST", at+"/s/chunks?first=4", "late", with(text)...)
		g.ask(200, "PUT", at+"/s", `{"once":true}`, "Content-Type", form)
		g.ask(200, "POST", at+"/s/cancel", "", "Content-Type", form)
		g.ask(200, "GET", at+"/s", "")
		g.ask(200, "GET", at+"/s?raw=1&exact=1", "")
		g.ask(204, "GET", at+"/s?raw=1&active=1", "")
		g.ask(400, "GET", at+"/s?cursor=nonsense", "")
		g.ask(200, "GET", at+"?id=s", "")
		g.ask(400, "GET", at+"?id=s&cursor=nonsense", "")
		g.ask(200, "GET", at+"?limit=1&active=1", "")
		g.ask(400, "GET", at+"?limit=0", "")
		g.ask(200, "POST", at+"/plain", "one\ntwo\n", "Content-Type", text)
		g.ask(403, "GET", at+"/s/status", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		g.ask(201, "POST", prefix+"/v1/tickets", `{"read":["live/s"],"ttl":"60s"}`, "Content-Type", form)
	}
	for _, path := range []string{"/healthz", "/readyz", "/streamhub.js", openapi.Path} {
		g.ask(200, "GET", path, "")
	}
}

// TestRoutes: an operation that the document does not have is refused, and one that it has is not.
func TestRoutes(t *testing.T) {
	g := start(t)
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(openapi.Document(), &document))
	for path, operations := range document.Paths {
		concrete := strings.NewReplacer("{id}", "s", "{store}", uuid.NewString()).Replace(path)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			r, err := http.NewRequestWithContext(t.Context(), method, g.url+concrete, http.NoBody)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			_, documented := operations[strings.ToLower(method)]
			require.Equal(t, !documented, response.StatusCode == http.StatusMethodNotAllowed, "%s %s: %d", method, path, response.StatusCode)
		}
	}
}

package check_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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

	"github.com/seed-147127fe/streamhub"
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
	hub   *hub.Hub
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
	return &gateway{T: t, hub: h, url: front.URL, v: load(t), asked: map[string]bool{}}
}

// ask makes a request and requires a status, and that the document says of it what was answered. The
// document must also allow the request, unless the gateway refuses it.
func (g *gateway) ask(status int, method, path, body string, headers ...string) string {
	g.Helper()
	_, text := g.answer(status, method, path, body, headers...)
	return text
}

// answer is ask that returns the headers too.
func (g *gateway) answer(status int, method, path, body string, headers ...string) (http.Header, string) {
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
	parts := [][]byte{text}
	if response.Header.Get("Content-Type") == "application/x-ndjson" { // of which the document describes a line
		parts = bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	}
	for _, part := range parts {
		if len(part) == 0 && response.Header.Get("Content-Type") == "application/x-ndjson" {
			continue // a list without a line
		}
		response.Body = io.NopCloser(bytes.NewReader(part))
		valid, failures := g.v.ValidateHttpResponse(build(), response)
		for _, f := range failures {
			g.Errorf("%s %s answered %d: %s: %s", method, path, status, f.Message, f.Reason)
			for _, s := range f.SchemaValidationErrors {
				g.Errorf("  %s in %s", s.Reason, part)
			}
		}
		require.True(g, valid)
	}
	// The validator takes a body of JSON lines for one JSON value.
	if status < 300 && build().Header.Get("Content-Type") != "application/x-ndjson" {
		valid, failures := g.v.ValidateHttpRequest(build())
		for _, f := range failures {
			g.Errorf("%s %s is taken, and the document does not allow it: %s: %s", method, path, f.Message, f.Reason)
		}
		require.True(g, valid)
	}
	return response.Header, string(text)
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

// TestDurable asks for everything of Durable Streams.
func TestDurable(t *testing.T) {
	g := start(t)
	const text, form = "text/plain", "application/json"
	for _, prefix := range []string{"", "/stores/" + uuid.NewString()} {
		for _, at := range []string{prefix + "/v1/stream/lobby", prefix + "/v1/stream/chat/lobby%2Fa"} {
			g.ask(404, "GET", at, "")
			g.ask(404, "HEAD", at, "")
			g.ask(404, "POST", at, "x", "Content-Type", text)
			g.ask(404, "DELETE", at, "")
			g.ask(400, "PUT", at, "", "Content-Type", text, "Stream-TTL", "soon")
			g.ask(201, "PUT", at, "", "Content-Type", text, "Stream-TTL", "3600")
			g.ask(200, "PUT", at, "", "Content-Type", text, "Stream-TTL", "3600")
			g.ask(409, "PUT", at, "", "Content-Type", form)
			g.ask(204, "POST", at, "hello ", "Content-Type", text)
			producer := func(seq string) []string {
				return []string{"Content-Type", text, "Producer-Id", "p", "Producer-Epoch", "1", "Producer-Seq", seq}
			}
			g.ask(200, "POST", at, "world", producer("0")...)
			g.ask(204, "POST", at, "world", producer("0")...)
			g.ask(409, "POST", at, "!", producer("5")...)
			g.ask(403, "POST", at, "!", "Content-Type", text, "Producer-Id", "p", "Producer-Epoch", "0", "Producer-Seq", "0")
			g.ask(409, "POST", at, "{}", "Content-Type", form)
			g.ask(415, "POST", at, "x", "Content-Type", text, "Content-Encoding", "gzip")
			g.ask(413, "POST", at, strings.Repeat("x", 17<<20), "Content-Type", text)
			header, read := g.answer(200, "GET", at, "")
			require.Equal(t, "hello world", read)
			g.ask(304, "GET", at, "", "If-None-Match", header.Get("ETag"))
			end := header.Get("Stream-Next-Offset")
			g.ask(412, "POST", at, "x", "Content-Type", text, "If-Match", "-1")
			g.ask(400, "GET", at+"?offset=nonsense", "")
			g.ask(400, "GET", at+"?live=sse", "")
			g.ask(200, "HEAD", at, "")
			g.ask(200, "GET", at+"?live=long-poll&offset=-1", "")
			g.ask(204, "POST", at, "", "Stream-Closed", "true")
			g.ask(409, "POST", at, "late", "Content-Type", text)
			g.ask(204, "GET", at+"?live=long-poll&offset="+end, "")
			g.ask(200, "GET", at+"?live=sse&offset=-1", "")
			g.ask(403, "GET", at, "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
			g.ask(204, "DELETE", at, "")
			g.ask(201, "PUT", at, `[1,{"a":2}]`, "Content-Type", form)
			g.ask(410, "GET", at+"?offset="+end, "")
			require.JSONEq(t, `[1,{"a":2}]`, g.ask(200, "GET", at, ""))
			g.ask(201, "PUT", at+"-fork", "", "Stream-Forked-From", at)
		}
	}
}

// TestSubscriptions asks for everything of the subscriptions of Durable Streams.
func TestSubscriptions(t *testing.T) {
	g := start(t)
	const form = "application/json"
	for _, prefix := range []string{"", "/stores/" + uuid.NewString()} {
		stream, at := prefix+"/v1/stream/orders/1", prefix+"/v1/stream/__ds/subscriptions/mail"
		ask := func(status int, method, action, body string, headers ...string) string {
			return g.ask(status, method, at+action, body, append([]string{"Content-Type", form}, headers...)...)
		}
		g.ask(200, "GET", prefix+"/v1/stream/__ds/jwks.json", "")
		g.ask(404, "GET", at, "")
		ask(404, "POST", "/claim", `{"worker":"w"}`)
		ask(401, "POST", "/ack", `{"wake_id":"x","generation":1}`, "Authorization", "Bearer x")
		ask(400, "PUT", "", `{"type":"letter"}`)
		ask(400, "PUT", "", `{"type":"webhook","pattern":"orders/**","webhook":{"url":"http://10.0.0.1/"}}`)
		config := `{"type":"pull-wake","pattern":"orders/*","wake_stream":"wakes/mail"}`
		ask(201, "PUT", "", config)
		ask(200, "PUT", "", config)
		ask(409, "PUT", "", `{"type":"pull-wake","pattern":"orders/**","wake_stream":"wakes/mail"}`)
		ask(204, "POST", "/streams", `{"streams":["other/1"]}`)
		ask(400, "POST", "/streams", `{}`)
		g.ask(204, "DELETE", at+"/streams/other%2F1", "")
		g.ask(201, "PUT", stream, "", "Content-Type", "text/plain")
		ask(409, "POST", "/claim", `{"worker":"w"}`)
		g.ask(204, "POST", stream, "one", "Content-Type", "text/plain")
		var wake struct {
			Wake, Token string
			Generation  uint64
			ID          string `json:"wake_id"`
		}
		claim := func() string {
			text := ask(200, "POST", "/claim", `{"worker":"w"}`)
			require.NoError(t, json.Unmarshal([]byte(text), &wake))
			return fmt.Sprintf(`"wake_id":%q,"generation":%d`, wake.ID, wake.Generation)
		}
		mine := claim()
		token := []string{"Authorization", "Bearer " + wake.Token}
		ask(409, "POST", "/claim", `{"worker":"v"}`)
		ask(400, "POST", "/ack", `{`+mine+`,"acks":[{"offset":"-1"}]}`, token...)
		ask(409, "POST", "/ack", `{`+mine+`,"acks":[{"stream":"orders/1","offset":"x"}]}`, token...)
		ask(204, "POST", "/release", `{`+mine+`}`, token...)
		ask(409, "POST", "/ack", `{`+mine+`}`, token...)
		mine = claim()
		token[1] = "Bearer " + wake.Token
		ask(200, "POST", "/callback", `{`+mine+`,"done":true}`, token...)
		g.ask(200, "GET", at, "")
		ask(400, "PUT", "", `{`)
		g.ask(204, "DELETE", at, "")
		ask(201, "PUT", "", `{"type":"webhook","pattern":"orders/**","webhook":{"url":"https://example.com/hook"}}`)
		ask(400, "POST", "/claim", `{"worker":"w"}`)
		g.ask(200, "GET", prefix+"/v1/stream/__ds/jwks.json", "")
		g.ask(204, "DELETE", at, "")
	}
}

// TestOperations asks for everything that operators ask, of stores with something to tell.
func TestOperations(t *testing.T) {
	g := start(t)
	for _, id := range []uuid.UUID{uuid.Nil, uuid.New()} {
		prefix, store := "", g.hub.Store(id)
		if id != uuid.Nil {
			prefix = "/stores/" + id.String()
		}
		at := prefix + "/v1/operate"
		for _, empty := range []string{"leases", "list", "workers", "live?space=live", "subscriptions"} {
			require.Empty(t, g.ask(200, "GET", at+"/"+empty, ""))
		}
		_, err := store.Append(t.Context(), "orders", "order-1", []streamhub.Record{{Payload: []byte("one")}}, nil)
		require.NoError(t, err)
		_, err = store.CloseSegment(t.Context(), "orders", "order-1", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
		require.NoError(t, err)
		_, err = store.Append(t.Context(), "orders", "order-2", []streamhub.Record{{Payload: []byte("two")}}, nil)
		require.NoError(t, err)
		_, err = store.AcquireLeaseAs(t.Context(), "job", "me", time.Minute)
		require.NoError(t, err)
		worker, err := store.JoinWorkers(t.Context(), streamhub.Worker{ID: uuid.New(), Metadata: map[string]string{"zone": "a"}}, time.Minute)
		require.NoError(t, err)
		p, _, err := store.Live("live").Start(t.Context(), "answer", &live.RegisterOptions{Metadata: 1, By: "anna"})
		require.NoError(t, err)
		g.ask(201, "PUT", prefix+"/v1/stream/__ds/subscriptions/mail", `{"type":"pull-wake","pattern":"orders/*","wake_stream":"wakes/mail"}`, "Content-Type", "application/json")
		for _, full := range []string{"leases", "list", "list?space=orders", "list?space=orders&after=order-1", "workers", "live?space=live", "subscriptions", "subscriptions?id=mail"} {
			require.NotEmpty(t, g.ask(200, "GET", at+"/"+full, ""), full)
		}
		g.ask(400, "GET", at+"/list?space=", "")
		g.ask(400, "GET", at+"/live?space=live&ended=2", "")
		g.ask(404, "GET", at+"/subscriptions?id=none", "")
		g.ask(404, "DELETE", at+"/live?space=live&id=none", "")
		g.ask(200, "DELETE", at+"/live?space=live&id=answer&reason=enough&generation="+fmt.Sprint(p.Generation()), "")
		g.ask(200, "GET", at+"/live?space=live&ended=1", "")
		g.ask(200, "DELETE", at+"/subscriptions?id=mail", "")
		g.ask(404, "DELETE", at+"/subscriptions?id=mail", "")
		g.ask(200, "GET", at+"/instances", "")
		g.ask(200, "GET", at+"/overview", "")
		g.ask(403, "GET", at+"/leases", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		require.NoError(t, worker.Leave(t.Context()))
		g.ask(409, "DELETE", at+"/store", "")
		for _, segment := range []string{"order-1", "order-2"} {
			require.NoError(t, store.Delete(t.Context(), "orders", segment, ""))
		}
		require.NoError(t, store.Live("live").Remove(t.Context(), "answer"))
		g.ask(200, "DELETE", at+"/store", "")
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
		concrete := strings.NewReplacer("{id}", "s", "{store}", uuid.NewString(), "{space}", "s", "{segment}", "s", "{path}", "s").Replace(path)
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

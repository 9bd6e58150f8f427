package livehttp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

// A registered is the answer to PUT.
type registered struct {
	ID         string
	Generation uint64
	Producer   string
	Next       uint64
	Heartbeat  int64 `json:"heartbeat_ms"`
}

func (g *gateway) put(id, body string) registered {
	g.Helper()
	var r registered
	require.NoError(g, json.Unmarshal([]byte(g.must(http.StatusCreated, "PUT", "/v1/live/"+id, body)), &r))
	require.Equal(g, id, r.ID)
	require.EqualValues(g, 1, r.Next)
	require.NotEmpty(g, r.Producer)
	return r
}

// texts are the chunks of a stream that has ended.
func (g *gateway) texts(id string) []string {
	g.Helper()
	var texts []string
	s, err := g.hub.Store(uuid.Nil).Live("live").Get(g.Context(), id)
	require.NoError(g, err)
	for c, err := range s.Subscribe(g.Context(), nil) {
		if err != nil {
			require.ErrorIs(g, err, streamhub.ErrClosed)
			break
		}
		texts = append(texts, string(c.Data))
	}
	return texts
}

// TestRemoteProducer produces one generation over two gateways in turn, with every kind of body and
// with calls that are made again.
func TestRemoteProducer(t *testing.T) {
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	r := a.put("s", `{"metadata":{"model":"small"}}`)
	require.EqualValues(t, (10 * time.Second).Milliseconds(), r.Heartbeat)
	key := []string{"Streamhub-Producer", r.Producer}
	send := func(g *gateway, query, kind, body string) string {
		t.Helper()
		return g.must(http.StatusOK, "POST", "/v1/live/s/chunks"+query, body, append([]string{"Content-Type", kind}, key...)...)
	}
	lines := "{\"a\" : \"<1>\"}\n\r\n[2]\r\n"
	require.JSONEq(t, `{"next":3}`, send(a, "?first=1", "application/x-ndjson", lines))
	require.JSONEq(t, `{"next":3}`, send(b, "?first=1", "application/x-ndjson; charset=utf-8", lines), "a repeat")
	require.JSONEq(t, `{"next":6}`, send(b, "?first=3", "text/plain", "three\n\nfive"))
	require.JSONEq(t, `{"next":7}`, send(a, "?first=6", "application/octet-stream", "\xff\n\x00"))
	require.JSONEq(t, fmt.Sprintf(`{"next":7,"generation":%d,"heartbeat_ms":10000}`, r.Generation), send(b, "", "text/plain", ""), "a heartbeat")
	require.JSONEq(t, `{"code":"gap","message":"publish \"live\"/\"s\": expected sequence 9, but the next one is 7: see what is stored, then go on from there","next":7}`,
		a.must(http.StatusConflict, "POST", "/v1/live/s/chunks?first=9", "x", key...))
	b.must(http.StatusNoContent, "PATCH", "/v1/live/s", `{"metadata":{"model":"large"}}`, key...)
	var status live.Status
	require.NoError(t, json.Unmarshal([]byte(a.must(http.StatusOK, "GET", "/v1/live/s/status", "")), &status))
	require.JSONEq(t, `{"model":"large"}`, string(status.Metadata))
	done := `{"kind":"done","output":{"words": 6}}`
	require.JSONEq(t, done, b.must(http.StatusOK, "POST", "/v1/live/s/end", done, key...))
	require.JSONEq(t, done, a.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"failed","reason":"late"}`, key...))
	require.Equal(t, []string{`{"a" : "<1>"}`, "[2]", "three", "", "five", "\xff\n\x00"}, b.texts("s"))
	closed := a.must(http.StatusConflict, "POST", "/v1/live/s/chunks?first=7", "x", key...)
	require.Contains(t, closed, `"code":"closed"`)
	require.Contains(t, closed, `"verdict":{"kind":"done"`)
}

// TestRemoteRepeatedPut registers again under the key of its own: the first answer may have been lost.
func TestRemoteRepeatedPut(t *testing.T) {
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	key := []string{"Streamhub-Producer", "0123456789abcdefABCDEF"}
	first := a.must(http.StatusCreated, "PUT", "/v1/live/s", "", key...)
	require.JSONEq(t, first, b.must(http.StatusCreated, "PUT", "/v1/live/s", "", key...))
	require.Contains(t, a.must(http.StatusConflict, "PUT", "/v1/live/s", "", "Streamhub-Producer", "another0123456789"), "already_produced")
	var r registered
	require.NoError(t, json.Unmarshal([]byte(first), &r))
	token := []string{"Streamhub-Producer", r.Producer, "Content-Type", "text/plain"}
	a.must(http.StatusOK, "POST", "/v1/live/s/chunks?first=1", "one\ntwo", token...)
	require.Contains(t, b.must(http.StatusCreated, "PUT", "/v1/live/s", "", key...), `"next":3`)
	a.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"done"}`, token...)
	require.Contains(t, b.must(http.StatusConflict, "PUT", "/v1/live/s", "", key...), `"verdict":{"kind":"done"}`)
	require.Contains(t, b.must(http.StatusOK, "PUT", "/v1/live/s", `{"once":true}`, key...), `"verdict":{"kind":"done"}`)
	for _, short := range []string{"x", strings.Repeat("x", 65), "with.a.dot.and.more"} {
		a.must(http.StatusBadRequest, "PUT", "/v1/live/t", "", "Streamhub-Producer", short)
	}
}

// TestRemoteRefused tries what no producer may do, and finds the stream as it was.
func TestRemoteRefused(t *testing.T) {
	g := start(t, "", func(o *livehttp.Options) {
		o.Authorize = func(*http.Request, streamhub.Right) (string, error) { return "anna", nil }
	})
	r := g.put("s", "")
	key := []string{"Streamhub-Producer", r.Producer}
	text := append([]string{"Content-Type", "text/plain"}, key...)
	var taken struct {
		Code, By          string
		Generation, Since uint64
	}
	require.NoError(t, json.Unmarshal([]byte(g.must(http.StatusConflict, "PUT", "/v1/live/s", "")), &taken))
	require.Equal(t, "already_produced", taken.Code)
	require.Equal(t, "anna", taken.By)
	require.Equal(t, r.Generation, taken.Generation)
	require.NotZero(t, taken.Since)
	for _, test := range []struct {
		method, path, body string
		headers            []string
		status             int
		code               string
	}{
		{"POST", "chunks?first=1", "x", nil, http.StatusForbidden, "permission_denied"},
		{"POST", "chunks?first=1", "x", []string{"Streamhub-Producer", "x"}, http.StatusForbidden, "permission_denied"},
		{"POST", "chunks?first=1", "x", []string{"Streamhub-Producer", r.Producer + "x"}, http.StatusForbidden, "permission_denied"},
		{"POST", "chunks", "x", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=0", "x", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=-1", "x", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=2", "x", key, http.StatusConflict, "gap"},
		{"POST", "chunks?first=1", "{}\n{", append([]string{"Content-Type", "application/x-ndjson"}, key...), http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=1", "{}\n\"\xff\"", append([]string{"Content-Type", "application/x-ndjson"}, key...), http.StatusBadRequest, "invalid_argument"},
		{"POST", "end", "{\"kind\":\"done\",\"output\":\"\xff\"}", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "end", "{\"kind\":\"failed\",\"reason\":\"\xff\"}", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "cancel", "{\"reason\":\"\xff\"}", nil, http.StatusBadRequest, "invalid_argument"},
		{"PATCH", "", "{\"metadata\":\"\xff\"}", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=1", "x", append([]string{"Content-Type", "text/html"}, key...), http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"POST", "chunks?first=1", "x", append([]string{"Content-Encoding", "gzip"}, key...), http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"POST", "chunks?first=1", "x", append([]string{"Content-Encoding", "identity, br"}, key...), http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"POST", "messages", "x", []string{"Content-Encoding", "gzip"}, http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"POST", "", "x", []string{"Content-Encoding", "gzip"}, http.StatusUnsupportedMediaType, "unsupported_media_type"},
		{"PUT", "", "[]", nil, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=1", strings.Repeat("x", streamhub.MaxRecordBytes+1), key, http.StatusRequestEntityTooLarge, "too_large"},
		{"POST", "chunks?first=1", strings.Repeat("x", streamhub.MaxFrameBytes+1), key, http.StatusRequestEntityTooLarge, "too_large"},
		{"POST", "end", `{"kind":"superseded"}`, key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "end", `{"kind":"banana"}`, key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "end", ``, key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "end", `{"kind":"done","text":1}`, key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "end", `{"kind":"done"}`, nil, http.StatusForbidden, "permission_denied"},
		{"PATCH", "", `{}`, key, http.StatusBadRequest, "invalid_argument"},
		{"PATCH", "", `{"metadata":1}`, nil, http.StatusForbidden, "permission_denied"},
		{"PUT", "", `{"takeover":true,"once":true}`, nil, http.StatusBadRequest, "invalid_argument"},
		{"PUT", "", `{"take":true}`, nil, http.StatusBadRequest, "invalid_argument"},
		{"PUT", "", `{} {}`, nil, http.StatusBadRequest, "invalid_argument"},
		{"GET", "messages", "", nil, http.StatusForbidden, "permission_denied"},
		{"GET", "messages?after=x", "", key, http.StatusBadRequest, "invalid_argument"},
		{"DELETE", "chunks", "", key, http.StatusMethodNotAllowed, "method_not_allowed"},
		{"POST", "chunks?first=9007199254740991", "x", key, http.StatusConflict, "gap"},
		{"POST", "chunks?first=9007199254740992", "x", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=18446744073709551616", "x", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "chunks?first=1", strings.Repeat("x\n", 100) + strings.Repeat("x", streamhub.MaxRecordBytes+1), text, http.StatusRequestEntityTooLarge, "too_large"},
		{"POST", "chunks?first=1", strings.Repeat("x\n", streamhub.MaxFrameRecords+1) + strings.Repeat("x", streamhub.MaxRecordBytes+1), text, http.StatusRequestEntityTooLarge, "too_large"},
		{"POST", "chunks?first=1", strings.Repeat("\n", 1<<19+1), text, http.StatusRequestEntityTooLarge, "too_large"},
		{"POST", "chunks?first=1", strings.Repeat("1\n", 1<<19) + "1", append([]string{"Content-Type", "application/x-ndjson"}, key...), http.StatusRequestEntityTooLarge, "too_large"},
		{"PATCH", "", `{"metadata":"` + strings.Repeat("x", 64<<10) + `"}`, key, http.StatusRequestEntityTooLarge, "too_large"},
		{"PUT", "", `{"metadata":"` + strings.Repeat("x", 64<<10) + `"}`, nil, http.StatusRequestEntityTooLarge, "too_large"},
		{"PUT", "", `{`, nil, http.StatusBadRequest, "invalid_argument"},
		{"PUT", "", "", nil, http.StatusConflict, "already_produced"},
		{"GET", "status?generation=0", "", nil, http.StatusBadRequest, "invalid_argument"},
		{"GET", "?generation=9007199254740992", "", nil, http.StatusBadRequest, "invalid_argument"},
		{"GET", "status?generation=1", "", nil, http.StatusNotFound, "not_found"},
		{"GET", "?generation=1", "", nil, http.StatusNotFound, "not_found"},
		{"POST", "cancel?generation=1", "", nil, http.StatusNotFound, "not_found"},
		{"POST", "messages?generation=1", "x", nil, http.StatusNotFound, "not_found"},
		{"POST", "", "x", nil, http.StatusConflict, "already_produced"},
		{"GET", "messages?wait=1h", "", key, http.StatusBadRequest, "invalid_argument"},
		{"POST", "cancel", "no json", nil, http.StatusBadRequest, "invalid_argument"},
		{"POST", "messages?once=" + strings.Repeat("x", live.MaxIDLength+1), "x", nil, http.StatusBadRequest, "invalid_name"},
		{"POST", "messages", strings.Repeat("x", streamhub.MaxRecordBytes+1), nil, http.StatusRequestEntityTooLarge, "too_large"},
		{"GET", "nothing", "", nil, http.StatusNotFound, "not_found"},
	} {
		path := strings.TrimSuffix("/v1/live/s/"+test.path, "/")
		path = strings.Replace(path, "/?", "?", 1)
		answer := g.ask(test.method, path, test.body, test.headers...)
		require.Equal(t, test.status, answer.StatusCode, "%s %s %.20s", test.method, test.path, test.body)
		require.Equal(t, "application/json", answer.Header.Get("Content-Type"))
		var failure struct{ Code, Message string }
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&failure))
		require.Equal(t, test.code, failure.Code, "%s %s %.20s: %s", test.method, test.path, test.body, failure.Message)
		require.NotEmpty(t, failure.Message)
	}
	require.Contains(t, g.must(http.StatusOK, "POST", "/v1/live/s/chunks", "", key...), `"next":1`, "nothing was stored")
	require.Equal(t, http.StatusNotFound, g.ask("POST", "/v1/live/nobody/chunks?first=1", "x", key...).StatusCode)
	second := g.put("s", `{"takeover":true}`)
	fenced := g.must(http.StatusConflict, "POST", "/v1/live/s/chunks?first=1", "x", key...)
	require.Contains(t, fenced, `"code":"fenced"`)
	require.Contains(t, fenced, `"generation":`)
	key[1] = second.Producer
	g.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"done"}`, key...)
	once := g.must(http.StatusOK, "PUT", "/v1/live/s", `{"once":true}`)
	require.Contains(t, once, `"verdict":{"kind":"done"}`)
}

// TestRemoteMessages brings messages and a request to stop to a producer, over an event stream and by
// polling.
func TestRemoteMessages(t *testing.T) {
	g := start(t, "", nil)
	r := g.put("s", "")
	key := []string{"Streamhub-Producer", r.Producer}
	require.JSONEq(t, `{"messages":[],"after":0}`, g.must(http.StatusOK, "GET", "/v1/live/s/messages?wait=0s", "", key...))
	g.must(http.StatusOK, "POST", "/v1/live/s/messages", "hello")
	require.Contains(t, g.must(http.StatusOK, "GET", "/v1/live/s/messages?wait=30s", "", key...), `"after":1`)
	events := g.ask("GET", "/v1/live/s/messages", "", append([]string{"Last-Event-ID", "0"}, key...)...)
	lines := bufio.NewScanner(events.Body)
	next := func(prefix string) string {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return text
			}
		}
		require.Fail(t, "the event stream ended", "%v", lines.Err())
		return ""
	}
	require.Contains(t, next("data:"), `"data":"aGVsbG8="`)
	g.must(http.StatusAccepted, "POST", "/v1/live/s/cancel?wait=0", `{"reason":"enough"}`)
	require.Equal(t, "stop", strings.TrimSpace(next("event:")))
	require.Equal(t, `{"reason":"enough"}`, strings.TrimSpace(next("data:")))
	for _, after := range []string{"after=1", "after=0&lastEventId=1"} {
		require.Contains(t, g.must(http.StatusOK, "GET", "/v1/live/s/messages?wait=1s&"+after, "", key...), `"messages":[],"stop":{"reason":"enough"}`)
	}
	g.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"cancelled","reason":"enough"}`, key...)
	require.Equal(t, "end", strings.TrimSpace(next("event:")))
	lines.Scan()
	require.Equal(t, `data:{"kind":"cancelled","reason":"enough"}`, lines.Text(), "it moves no place from which messages come again")
}

// TestGeneration: what names a generation is about that one, also when another one has begun.
func TestGeneration(t *testing.T) {
	g := start(t, "", nil)
	first := g.put("s", "")
	key := []string{"Streamhub-Producer", first.Producer, "Content-Type", "text/plain"}
	g.must(http.StatusOK, "POST", "/v1/live/s/chunks?first=1", "old", key...)
	g.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"done"}`, key...)
	second := g.put("s", "")
	old := "generation=" + fmt.Sprint(first.Generation)
	require.Contains(t, g.must(http.StatusOK, "POST", "/v1/live/s/cancel?"+old, ""), `"kind":"done"`, "the second one is not asked to stop")
	require.Contains(t, g.must(http.StatusConflict, "POST", "/v1/live/s/messages?"+old, "late"), `"code":"closed"`)
	require.Contains(t, g.must(http.StatusOK, "GET", "/v1/live/s/status?"+old, ""), `"verdict":{"kind":"done"}`)
	require.Contains(t, g.must(http.StatusOK, "GET", "/v1/live/s?"+old, ""), "data:old\n")
	require.Contains(t, g.must(http.StatusOK, "GET", "/v1/live/s?wait=1m&"+old, "", "Accept", "text/event-stream"), "data:old\n")
	g.must(http.StatusNoContent, "GET", "/v1/live/s?raw=1&active=1&"+old, "")
	require.JSONEq(t, `{"messages":[],"after":0}`, g.must(http.StatusOK, "GET", "/v1/live/s/messages?wait=0s", "", "Streamhub-Producer", second.Producer))
}

// TestMoved drains a gateway under a plain upload: its client goes on at another one.
func TestMoved(t *testing.T) {
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	body, write := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.server.URL+"/v1/live/s", body)
	require.NoError(t, err)
	answered := make(chan *http.Response, 1)
	go func() {
		response, err := a.server.Client().Do(request)
		if err == nil {
			answered <- response
		}
		close(answered)
	}()
	_, err = io.WriteString(write, "one\ntwo\nthr")
	require.NoError(t, err)
	streams := b.hub.Store(uuid.Nil).Live("live")
	s, err := streams.Await(t.Context(), "s")
	require.NoError(t, err)
	for c, err := range s.Subscribe(t.Context(), nil) {
		require.NoError(t, err)
		if c.Sequence == 2 {
			break
		}
	}
	require.NoError(t, a.Shutdown(t.Context()))
	response, ok := <-answered
	require.True(t, ok)
	defer response.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	var moved struct {
		Code, Producer string
		Next           uint64
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&moved))
	require.Equal(t, "moved", moved.Code)
	require.EqualValues(t, 3, moved.Next)
	require.NoError(t, write.Close())
	key := []string{"Streamhub-Producer", moved.Producer, "Content-Type", "text/plain"}
	require.JSONEq(t, `{"next":4}`, b.must(http.StatusOK, "POST", "/v1/live/s/chunks?first=3", "three\n", key...))
	b.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"done"}`, key...)
	require.Equal(t, []string{"one", "two", "three"}, b.texts("s"))
}

// TestRemoteLargeBody stores a body whose chunks do not fit into one append.
func TestRemoteLargeBody(t *testing.T) {
	g := start(t, "", nil)
	key := []string{"Streamhub-Producer", g.put("s", "").Producer, "Content-Type", "text/plain"}
	line := strings.Repeat("x", 1000) + "\n"
	require.JSONEq(t, `{"next":16001}`, g.must(http.StatusOK, "POST", "/v1/live/s/chunks?first=1", strings.Repeat(line, 16000), key...))
	require.JSONEq(t, `{"next":16001}`, g.must(http.StatusOK, "POST", "/v1/live/s/chunks?first=1", strings.Repeat(line, 16000), key...))
	g.must(http.StatusOK, "POST", "/v1/live/s/end", `{"kind":"done"}`, key...)
	require.Len(t, g.texts("s"), 16000)
}

// TestStopIsPrompt asks producers to stop at another gateway than the one that they listen at.
func TestStopIsPrompt(t *testing.T) {
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	var took []time.Duration
	for n := range 50 {
		id := fmt.Sprint("s", n)
		key := []string{"Streamhub-Producer", a.put(id, "").Producer}
		events := a.ask("GET", "/v1/live/"+id+"/messages", "", key...)
		lines := bufio.NewScanner(events.Body)
		require.True(t, lines.Scan(), "the stream has begun")
		begin := time.Now()
		b.must(http.StatusAccepted, "POST", "/v1/live/"+id+"/cancel?wait=0", "")
		for lines.Scan() && lines.Text() != "event: stop" {
			continue
		}
		took = append(took, time.Since(begin))
		a.must(http.StatusOK, "POST", "/v1/live/"+id+"/end", `{"kind":"cancelled"}`, key...)
	}
	slices.Sort(took)
	t.Logf("median %v, worst %v", took[len(took)/2], took[len(took)-1])
	require.Less(t, took[len(took)/2], time.Second, "it is told at once, not when something is asked again")
}

package durable_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// TestCutRunes appends text byte by byte: every event is UTF-8, wherever a reader comes back.
func TestCutRunes(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	const words = "aé€😀z"
	g.put(t, "s", text, "")
	following := g.events(t, "s?live=sse&offset=-1")
	v, ok := following.next()
	require.True(t, ok)
	require.Equal(t, "control", v.kind)
	var offsets []string
	for _, b := range []byte(words) {
		offsets = append(offsets, g.post(t, "s", text, string([]byte{b})).offset())
	}
	read := func(e *eventReader, want string) {
		t.Helper()
		var got strings.Builder
		for got.String() != want {
			v, ok := e.next()
			require.True(t, ok)
			if v.kind == "data" {
				require.True(t, utf8.ValidString(v.data), "%q", v.data)
				got.WriteString(v.data)
				require.True(t, strings.HasPrefix(want, got.String()), "%q", got.String())
			}
		}
	}
	read(following, words)
	for i, offset := range offsets[:len(offsets)-1] {
		start := i + 1
		for !utf8.RuneStart(words[start]) {
			start-- // a code point that was begun comes whole
		}
		read(g.events(t, "s?live=sse&offset="+offset), words[start:])
	}
	// What is never completed comes at the end, as it is.
	g.post(t, "s", text, "\xf0\x9f")
	late := g.events(t, "s?live=sse&offset="+offsets[len(offsets)-1])
	v, ok = late.next()
	require.True(t, ok)
	require.Equal(t, "control", v.kind)
	g.must(t, 204, http.MethodPost, "s", "", "Stream-Closed", "true")
	v, ok = late.next()
	require.True(t, ok)
	require.Equal(t, event{"data", "\xf0\x9f"}, v)
	require.Equal(t, words+"\xf0\x9f", g.get(t, "s").body)
	v, _ = g.events(t, "s?live=sse&offset=-1").next()
	require.Equal(t, event{"data", words + "\xf0\x9f"}, v)
}

// TestLargeText cuts a large append where no code point is.
func TestLargeText(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	body := "a" + strings.Repeat("€", streamhub.MaxRecordBytes)
	g.put(t, "s", text, body)
	require.True(t, body == g.get(t, "s").body)
	for e, err := range g.store().ConsumeSegment(t.Context(), "default", "s", nil) {
		require.NoError(t, err)
		require.True(t, utf8.Valid(e.Payload))
	}
}

// TestUntyped writes over HTTP to what another transport made.
func TestUntyped(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	for i, contentType := range []string{text, js, "application/octet-stream", "text/html; charset=utf-8"} {
		name := fmt.Sprint("s", i)
		_, err := a.store().Append(t.Context(), "default", name, records("1"), nil)
		require.NoError(t, err)
		for _, g := range []*gateway{a, b, a} {
			g.post(t, name, contentType, "2")
		}
		r := a.get(t, name)
		require.Equal(t, "1222", r.body)
		require.Equal(t, "application/octet-stream", r.header.Get("Content-Type"))
	}
	b.must(t, 200, http.MethodPut, "s0", "")
	b.must(t, 200, http.MethodPut, "s0", "", "Content-Type", "application/octet-stream")
	r := b.must(t, 409, http.MethodPut, "s0", "", "Content-Type", text)
	require.Contains(t, r.body, `"application/octet-stream"`)

	b.put(t, "typed", js, "[]")
	r = b.must(t, 409, http.MethodPost, "typed", "x", "Content-Type", text)
	require.Contains(t, r.body, `"application/json"`)
	require.Contains(t, b.must(t, 409, http.MethodPut, "typed", "", "Content-Type", text).body, `"application/json"`)
	b.post(t, "typed", js, "1", "Stream-Seq", "b")
	require.Contains(t, b.must(t, 409, http.MethodPost, "typed", "1", "Content-Type", js, "Stream-Seq", "a").body, "Stream-Seq")
	require.Contains(t, b.must(t, 409, http.MethodPut, "typed", "", "Content-Type", js, "Stream-TTL", "5").body, "Stream-TTL")
	require.Contains(t, b.must(t, 400, http.MethodPut, "past", "", "Stream-Expires-At", "2020-01-02T15:04:05Z").body, "has passed")
	fork := []string{"Stream-Forked-From", "/v1/stream/typed", "Stream-Fork-Offset", "now"}
	require.Contains(t, b.must(t, 400, http.MethodPut, "fork", "", fork...).body, "Stream-Fork-Offset")
}

// TestNotJSON answers with JSON, whatever another transport has appended to a stream of messages.
func TestNotJSON(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", js, `[1]`)
	appended := []string{"no json", "", "{", "1 2", "]", `"a" `, "\xff", "\"\xff\"", "nul", "2", `,`, "a\nb\r\u2028<"}
	want := `[1,"no json","","{","1 2","]","a","/w==","Iv8i","nul",2,",","a\nb\r\u2028<"]`
	data := func(e *eventReader) string {
		for {
			if v, ok := e.next(); !ok || v.kind == "data" {
				return v.data
			}
		}
	}
	tail := g.get(t, "s").offset()
	live := g.events(t, "s?live=sse&offset="+tail)
	_, err := g.store().Append(t.Context(), "default", "s", records(appended...), nil)
	require.NoError(t, err)
	require.JSONEq(t, want, g.get(t, "s").body)
	require.JSONEq(t, want, data(g.events(t, "s?live=sse&offset=-1")))
	require.JSONEq(t, strings.Replace(want, `1,`, ``, 1), data(live))
	require.JSONEq(t, strings.Replace(want, `1,`, ``, 1), g.get(t, "s?live=long-poll&offset="+tail).body)
	for _, body := range []string{"\xff", "\"\xff\"", "[1,\"\xff\"]", "[\"\xed\xa0\x80\"]"} {
		require.Contains(t, g.must(t, 400, http.MethodPost, "s", body, "Content-Type", js).body, "UTF-8")
		g.must(t, 400, http.MethodPut, "other", body, "Content-Type", js)
	}
	g.post(t, "s", js, `"\ud800"`) // escaped, so it is JSON
}

// TestLimits accepts what the limits allow, and says which one was passed.
func TestLimits(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	long := func(n int) string { return strings.Repeat("x", n) }
	full := long(streamhub.MaxFrameBytes)
	g.put(t, "full", text, full)
	g.post(t, "full", text, full)
	require.EqualValues(t, 32, status(t, g, "full").LastSequence)
	g.must(t, 413, http.MethodPost, "full", full+"x", "Content-Type", text)

	content := "text/" + long(streamhub.MaxContentTypeLength-5)
	g.put(t, "s", content, "")
	g.post(t, "s", content, "1", "Stream-Seq", long(streamhub.MaxStreamSeqLength))
	for _, r := range []*reply{
		g.must(t, 413, http.MethodPut, "t", "", "Content-Type", content+"x"),
		g.must(t, 413, http.MethodPost, "s", "1", "Content-Type", content+"x"),
		g.must(t, 413, http.MethodPost, "s", "1", "Content-Type", content, "Stream-Seq", long(streamhub.MaxStreamSeqLength+1)),
	} {
		require.Regexp(t, `the limit is (256|1024)`, r.body)
	}
	for _, encoding := range []string{"gzip", "br", "identity, gzip"} {
		r := g.must(t, 415, http.MethodPost, "s", "1", "Content-Type", content, "Content-Encoding", encoding)
		require.Contains(t, r.body, "Content-Encoding")
		g.must(t, 415, http.MethodPut, "u", "1", "Content-Type", text, "Content-Encoding", encoding)
		g.must(t, 415, http.MethodPut, "__ds/subscriptions/x", "{}", "Content-Encoding", encoding)
	}
	g.post(t, "s", content, "2", "Content-Encoding", "identity")
	require.Equal(t, "12", g.get(t, "s").body)
	for _, config := range []string{
		fmt.Sprintf(`{"type":"pull-wake","streams":["a"],"wake_stream":"w","description":%q}`, long(1025)),
		fmt.Sprintf(`{"type":"pull-wake","streams":["a"],"wake_stream":%q}`, long(1025)),
		fmt.Sprintf(`{"type":"webhook","streams":["a"],"webhook":{"url":"https://example.com/%s"}}`, long(2048)),
		fmt.Sprintf(`{"type":"pull-wake","wake_stream":"w","pattern":"%s*"}`, strings.Repeat("**/", 16)),
	} {
		g.must(t, 400, http.MethodPut, "__ds/subscriptions/x", config)
	}
}

func status(t *testing.T, g *gateway, segment string) streamhub.Status {
	t.Helper()
	s, err := g.store().Status(t.Context(), "default", segment)
	require.NoError(t, err)
	return s
}

// TestNoPage lets nothing of a stream run as a page of the gateway.
func TestNoPage(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	for i, contentType := range []string{"text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"} {
		name := fmt.Sprint("s", i)
		g.put(t, name, contentType, "<script>alert(1)</script>")
		for _, path := range []string{name, name + "?offset=-1&live=long-poll"} {
			h := g.get(t, path).header
			require.Equal(t, contentType, h.Get("Content-Type"))
			require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
			require.Regexp(t, `^sandbox;.*default-src 'none'`, h.Get("Content-Security-Policy"))
		}
	}
}

// TestInternalStore serves nothing of where the keys are.
func TestInternalStore(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	require.JSONEq(t, `{"keys":[]}`, g.get(t, "__ds/jwks.json").body, "a request without a token makes no key")
	for _, err := range g.hub.Store(auth.Internal).Segments(t.Context(), "keys") {
		require.ErrorIs(t, err, streamhub.ErrNotFound)
	}
	require.Equal(t, 401, g.do(t, http.MethodPost, "__ds/subscriptions/x/callback", "{}", "Authorization", "Bearer x.1.y").status)
	g.must(t, 201, http.MethodPut, "__ds/subscriptions/hook", `{"type":"webhook","pattern":"a/*","webhook":{"url":"https://hooks.example.com/x"}}`, "Content-Type", "application/json")
	require.Contains(t, g.get(t, "__ds/jwks.json").body, `"kid"`)
	s, err := g.hub.Store(auth.Internal).Status(t.Context(), "keys", "webhooks")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.LastSequence)
	at := "/stores/" + auth.Internal.String() + "/v1/stream/"
	for _, path := range []string{"keys/webhooks", "keys/new", "__ds/jwks.json", "__ds/subscriptions/x"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
			g.must(t, 404, method, at+path, "x", "Content-Type", text)
		}
	}
	g.must(t, 404, http.MethodGet, strings.Replace(at, auth.Internal.String(), strings.ToUpper(auth.Internal.String()), 1)+"keys/webhooks", "")
}

// TestManyMessages refuses an array beyond the limit before it has decoded what follows.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	array := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	g.put(t, "a", "application/json", array(10_000))
	require.Equal(t, 413, g.do(t, http.MethodPost, "a", array(10_001), "Content-Type", "application/json").status)
	require.Equal(t, 413, g.do(t, http.MethodPost, "a", array(10_001)[:20_002]+",this is no JSON", "Content-Type", "application/json").status)
	for _, bad := range []string{"[1", "[1,]", "[1]]", "[1] 2", "[", "[1 2]", "[,1]", "[1}"} {
		require.Equal(t, 400, g.do(t, http.MethodPost, "a", bad, "Content-Type", "application/json").status, bad)
	}
	require.Equal(t, 204, g.do(t, http.MethodPost, "a", " [ 1 , {\"a\":[]} ] ", "Content-Type", "application/json").status)
}

// TestPublicURL has others told the address that clients use, whatever a proxy says.
func TestPublicURL(t *testing.T) {
	t.Parallel()
	g := start(t, "", &durable.Options{PublicURL: "https://hub.example.com"})
	r := g.must(t, 201, http.MethodPut, "a", "", "Content-Type", text)
	require.Equal(t, "https://hub.example.com/v1/stream/a", r.header.Get("Location"))
	r = g.must(t, 201, http.MethodPut, "__ds/subscriptions/hook", `{"type":"webhook","pattern":"a/*","webhook":{"url":"https://hooks.example.com/x"}}`, "Content-Type", "application/json")
	require.Contains(t, r.body, `"jwks_url":"https://hub.example.com/v1/stream/__ds/jwks.json"`)
	for _, bad := range []string{"hub.example.com", "https://", "https://hub.example.com/x", "ftp://hub", "https://a@hub", "https://hub?x"} {
		_, err := durable.New(t.Context(), g.hub, &durable.Options{PublicURL: bad})
		require.Error(t, err, bad)
	}
}

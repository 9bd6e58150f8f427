package durable_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
)

// TestHeaders looks at what every answer has, whatever went wrong.
func TestHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", text, "1")
	for _, c := range []struct {
		status       int
		method, path string
	}{
		{200, http.MethodGet, "s"}, {404, http.MethodGet, "none"}, {400, http.MethodGet, "s?offset=x"}, {405, http.MethodPatch, "s"},
		{204, http.MethodOptions, "s"}, {404, http.MethodGet, "/v1/stream/"}, {404, http.MethodGet, "/stores/x/v1/stream/s"},
		{404, http.MethodGet, "a//b"}, {404, http.MethodGet, "a/../s"}, {404, http.MethodGet, "a/./s"}, {400, http.MethodPost, "s"},
		{404, http.MethodGet, "__ds/none"},
	} {
		r := g.do(t, c.method, c.path, "")
		require.Equal(t, c.status, r.status, "%s %s", c.method, c.path)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*",
		} {
			require.Equal(t, want, r.header.Get(name), "%s %s", c.method, c.path)
		}
		require.Contains(t, r.header.Get("Access-Control-Expose-Headers"), "Stream-Next-Offset")
	}
}

// TestQuery names the parameter that cannot be read.
func TestQuery(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", text, "1")
	for query, parameter := range map[string]string{
		"offset=%zz": "query", "offset=-1;live=sse": "query", "offset=": "offset", "offset=banana": "offset", "offset=-1&offset=now": "offset",
		"offset=-1&live=": "live", "offset=-1&live=banana": "live", "offset=-1&live=sse&live=long-poll": "live", "live=sse": "offset",
		"offset=-1&live=long-poll&cursor=1&cursor=2": "cursor", "offset=-1&cursor=banana": "cursor", "offset=-1&cursor=": "cursor", "offset=-1&cursor=-1": "cursor",
	} {
		require.Contains(t, g.must(t, 400, http.MethodGet, "s?"+query, "").body, parameter, query)
	}
	require.Equal(t, "1", g.get(t, "s?offset=-1&other=%20").body)
}

// TestHeaderTwice refuses a header that has one value and is given two, and stores nothing.
func TestHeaderTwice(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", text, "1")
	for _, name := range []string{"Content-Type", "Stream-Seq", "Stream-Closed", "Producer-Id", "Producer-Epoch", "Producer-Seq", "Streamhub-Durability", "Stream-TTL", "Stream-Forked-From"} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			r, err := http.NewRequestWithContext(t.Context(), method, g.url("s"), strings.NewReader("2"))
			require.NoError(t, err)
			r.Header.Set("Content-Type", text)
			r.Header[name] = []string{"1", "1"}
			answer, err := g.server.Client().Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusBadRequest, answer.StatusCode, "%s %s", method, name)
			require.Contains(t, string(body), name+" is given more than once")
		}
	}
	require.Equal(t, "1", g.get(t, "s").body)
}

// TestHeaderValues refuses a header that cannot be read by its name, and stores nothing.
func TestHeaderValues(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", text, "1")
	named := []string{"Producer-Id", "p", "Producer-Epoch", "0", "Producer-Seq", "0"}
	for _, c := range []struct {
		method, name, value string
		with                []string
	}{
		{"POST", "Stream-Closed", "banana", nil}, {"PUT", "Stream-Closed", "banana", nil}, {"POST", "Stream-Closed", "1", nil}, {"PUT", "Stream-Closed", "", nil},
		{"POST", "Stream-Seq", "", nil}, {"POST", "If-Match", "banana", nil}, {"POST", "If-Match", "", nil}, {"POST", "Content-Type", "text/\xff", nil}, {"PUT", "Content-Type", "text/\xff", nil},
		{"POST", "Streamhub-Durability", "", named}, {"POST", "Streamhub-Durability", "banana", named}, {"POST", "Streamhub-Durability", "replicas=1", nil},
		{"POST", "Producer-Epoch", "banana", named}, {"POST", "Producer-Seq", "-1", named}, {"POST", "Producer-Id", "", named},
		{"PUT", "Stream-TTL", "", nil}, {"PUT", "Stream-TTL", "banana", nil}, {"PUT", "Stream-Expires-At", "", nil}, {"PUT", "Stream-Expires-At", "banana", nil},
		{"PUT", "Stream-Forked-From", "", nil}, {"PUT", "Stream-Forked-From", "banana", nil}, {"PUT", "Stream-Fork-Offset", "", nil}, {"PUT", "Stream-Fork-Offset", "banana", nil},
		{"PUT", "Stream-Fork-Sub-Offset", "", []string{"Stream-Forked-From", "/v1/stream/s"}}, {"PUT", "Stream-Fork-Sub-Offset", "banana", []string{"Stream-Forked-From", "/v1/stream/s"}},
		{"PUT", "Stream-Fork-Offset", "banana", []string{"Stream-Forked-From", "/v1/stream/s"}},
	} {
		path := map[string]string{"POST": "s", "PUT": "new"}[c.method]
		answer := g.do(t, c.method, path, "2", append([]string{"Content-Type", text}, append(c.with, c.name, c.value)...)...)
		require.Equal(t, http.StatusBadRequest, answer.status, "%s %s: %q", c.method, c.name, c.value)
		if c.name != "Content-Type" && c.name != "Stream-Fork-Offset" {
			require.Contains(t, answer.body, c.name, "%q", c.value)
		}
	}
	require.Equal(t, "1", g.get(t, "s").body)
	g.must(t, 404, http.MethodGet, "new", "")
	g.post(t, "s", text, "2", "Stream-Closed", "False")
	g.must(t, 204, http.MethodPost, "s", "", "Stream-Closed", "TRUE")
	require.Equal(t, "true", g.get(t, "s").header.Get("Stream-Closed"))
}

// TestNames keeps streams apart whose names differ in what routers, keys and URLs treat alike.
func TestNames(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	paths := []string{"a", "A", "b/a", "b/a/", "b//a", "b/../a", "b/./a", "b/%7Ba%7D", "b/a%00", "b/%C3%A4", "b/%FF", "b/a%3Fx", "b/a%20", "default/a/a"}
	for i, path := range paths {
		g.put(t, path, text, fmt.Sprint(i))
	}
	for i, path := range paths {
		require.Equal(t, fmt.Sprint(i), g.get(t, path).body, path)
	}
	require.Equal(t, "2", g.get(t, "b%2Fa").body, "a slash is a slash however it is written")
	require.Equal(t, "0", g.get(t, "default/a").body)
	g.must(t, 400, http.MethodPut, strings.Repeat("n", streamhub.MaxNameLength+1), "")
	r := g.must(t, 201, http.MethodPut, "b/%7B%C3%A4%7D%3F", "")
	require.True(t, strings.HasSuffix(r.header.Get("Location"), "/v1/stream/b/%7B%C3%A4%7D%3F"), r.header.Get("Location"))
}

// TestOtherTransports reads and appends through the hub what HTTP wrote and reads.
func TestOtherTransports(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "orders/eu/17", js, `[{"n":1}, {"n":2}]`)
	result, err := g.store().Append(t.Context(), "orders", "eu/17", records(`{"n":3}`), nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, result.First)
	require.JSONEq(t, `[{"n":1},{"n":2},{"n":3}]`, g.get(t, "orders/eu/17").body)
	g.post(t, "orders/eu/17", js, `{"n":4}`)
	var got []string
	for e, err := range g.store().ConsumeSegment(t.Context(), "orders", "eu/17", nil) {
		require.NoError(t, err)
		got = append(got, string(e.Payload))
	}
	require.Equal(t, []string{`{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`}, got)

	other := uuid.New()
	at := "/stores/" + other.String() + "/v1/stream/orders/1"
	r := g.must(t, 201, http.MethodPut, at, "x")
	require.True(t, strings.HasSuffix(r.header.Get("Location"), at))
	g.must(t, 404, http.MethodGet, "orders/1", "")
	status, err := g.hub.Store(other).Status(t.Context(), "orders", "1")
	require.NoError(t, err)
	require.EqualValues(t, 1, status.LastSequence)
}

// TestTrimmed tells where reading can begin.
func TestTrimmed(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", text, "")
	var offsets []string
	for i := range 5 {
		offsets = append(offsets, g.post(t, "s", text, fmt.Sprint(i)).offset())
	}
	require.Equal(t, "34", g.get(t, "s?offset="+offsets[2]).body)
	_, err := g.store().Trim(t.Context(), "default", "s", 3)
	require.NoError(t, err)
	for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
		r := g.must(t, 410, http.MethodGet, "s?offset="+offsets[0]+live, "")
		require.Equal(t, offsets[2], r.header.Get("Stream-First-Offset"), live)
	}
	require.Equal(t, "34", g.get(t, "s?offset="+offsets[2]).body)
	require.Equal(t, "34", g.get(t, "s").body, "the beginning is what is kept")
}

// TestFormerLife refuses to go on in a stream that is not the one that was read.
func TestFormerLife(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	empty := a.put(t, "s", text, "").offset() // no entry proves it
	a.post(t, "s", text, "old")
	old := a.post(t, "s", text, "er").offset()
	require.Equal(t, "", b.get(t, "s?offset="+old).body)
	b.must(t, 204, http.MethodDelete, "s", "")
	b.put(t, "s", text, "")
	for _, word := range []string{"n", "e", "w ", "one"} { // longer than the old one
		b.post(t, "s", text, word)
	}
	for _, g := range []*gateway{a, b} {
		for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
			g.must(t, 410, http.MethodGet, "s?offset="+old+live, "")
			g.must(t, 410, http.MethodGet, "s?offset="+empty+live, "")
		}
		g.must(t, 412, http.MethodPost, "s", "x", "Content-Type", text, "If-Match", `"`+empty+`"`)
		g.must(t, 412, http.MethodPost, "s", "x", "Content-Type", text, "If-Match", `"`+old+`"`)
		require.Equal(t, "new one", g.get(t, "s").body)
	}
	end := b.get(t, "s").offset()
	b.must(t, 410, http.MethodGet, "s?offset="+end[:len(end)-1]+"9", "") // of the same life, after its end
}

// TestIfMatch lets many append after the same offset: one does.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	tail := a.put(t, "s", text, "").offset()
	for round := range 5 {
		statuses := make(chan int, 10)
		for i := range cap(statuses) {
			go func() {
				r, err := []*gateway{a, b}[i%2].try(t.Context(), http.MethodPost, "s", fmt.Sprint(round), "Content-Type", text, "If-Match", `"`+tail+`"`)
				if err != nil {
					statuses <- 0
					return
				}
				statuses <- r.status
			}()
		}
		count := map[int]int{}
		for range cap(statuses) {
			count[<-statuses]++
		}
		require.Equal(t, map[int]int{204: 1, 412: 9}, count)
		tail = b.must(t, 200, http.MethodHead, "s", "").offset()
	}
	require.Equal(t, "01234", a.get(t, "s").body)
	a.must(t, 204, http.MethodPost, "s", "x", "Content-Type", text, "If-Match", "*")
	a.must(t, 400, http.MethodPost, "s", "x", "Content-Type", text, "If-Match", `"x"`)
}

// TestIfMatchOfAnotherType checks the type of the stream that is there now.
func TestIfMatchOfAnotherType(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	a.put(t, "s", text, "")
	a.post(t, "s", text, "1")
	b.must(t, 204, http.MethodDelete, "s", "")
	tail := b.put(t, "s", js, "").offset()
	a.must(t, 409, http.MethodPost, "s", "1", "Content-Type", text, "If-Match", `"`+tail+`"`)
	require.Equal(t, "[]", a.get(t, "s").body)
}

// TestTooLarge stores nothing of what is too large.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "s", text, "")
	g.put(t, "j", js, "")
	g.must(t, 413, http.MethodPost, "s", strings.Repeat("x", streamhub.MaxFrameBytes+1), "Content-Type", text)
	g.must(t, 413, http.MethodPost, "j", `["`+strings.Repeat("x", streamhub.MaxRecordBytes)+`"]`, "Content-Type", js)
	g.must(t, 413, http.MethodPost, "j", "[1"+strings.Repeat(",1", streamhub.MaxFrameRecords)+"]", "Content-Type", js)
	require.Equal(t, "", g.get(t, "s").body)
	require.Equal(t, "[]", g.get(t, "j").body)
	large := strings.Repeat("0123456789abcdef", 3*streamhub.MaxRecordBytes/16)
	g.post(t, "s", text, large)
	require.True(t, large == g.get(t, "s").body)
}

// TestForkIntoAnotherSpace copies the prefix: nothing of the source is needed any more.
func TestForkIntoAnotherSpace(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "a/s", text, "12")
	at := g.post(t, "a/s", text, "3").offset()
	g.post(t, "a/s", text, "4")
	fork := []string{"Stream-Forked-From", "/v1/stream/a/s", "Stream-Fork-Offset", at}
	g.must(t, 201, http.MethodPut, "b/f", "", fork...)
	g.must(t, 200, http.MethodPut, "b/f", "", fork...)
	g.must(t, 204, http.MethodDelete, "a/s", "")
	g.must(t, 404, http.MethodGet, "a/s", "")
	g.post(t, "b/f", text, "5")
	require.Equal(t, "1235", g.get(t, "b/f").body)
	g.must(t, 400, http.MethodPut, "b/g", "", "Stream-Forked-From", "/v1/stream")
	g.must(t, 404, http.MethodPut, "b/g", "", "Stream-Forked-From", "/v1/stream/a/none")
}

// TestDeleteEndsReaders deletes through one gateway what is read through another.
func TestDeleteEndsReaders(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	tail := a.put(t, "s", text, "1").offset()
	polls := make(chan int, 2)
	for _, g := range []*gateway{a, b} {
		go func() {
			r, err := g.try(t.Context(), http.MethodGet, "s?live=long-poll&offset="+tail, "")
			if err != nil {
				polls <- 0
				return
			}
			polls <- r.status
		}()
	}
	streams := []*eventReader{a.events(t, "s?live=sse&offset=-1"), b.events(t, "s?live=sse&offset="+tail)}
	for _, e := range streams {
		for {
			v, ok := e.next()
			require.True(t, ok)
			if v.kind == "control" {
				break
			}
		}
	}
	b.must(t, 204, http.MethodDelete, "s", "")
	for range cap(polls) {
		require.Equal(t, 404, <-polls)
	}
	for _, e := range streams {
		_, ok := e.next()
		require.False(t, ok, "an event of a deleted stream")
	}
}

// TestReadersKeepAlive has one event stream keep a stream alive for longer than its time to live.
func TestReadersKeepAlive(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	g.put(t, "read", text, "1", "Stream-TTL", "2")
	g.put(t, "left", text, "1", "Stream-TTL", "2")
	e := g.events(t, "read?live=sse&offset=-1")
	_, ok := e.next()
	require.True(t, ok)
	begun := time.Now()
	eventually(t, func(ctx context.Context) error {
		r, err := g.try(ctx, http.MethodHead, "left", "")
		if err == nil && r.status != 404 {
			err = errors.New("it is still there")
		}
		return err
	})
	require.GreaterOrEqual(t, time.Since(begun), time.Second)
	pause(t, 5*time.Second-time.Since(begun))
	g.must(t, 200, http.MethodHead, "read", "")
}

// TestAuthorize asks for each request whether it may.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	o := &durable.Options{Authorize: func(r *http.Request, right streamhub.Right) error {
		switch {
		case r.Header.Get("Authorization") == "":
			return errors.New("who are you")
		case right.Space == "secret" || right.Space == "" || right.Write && right.Space == "readonly" || right.Segment == "private":
			return streamhub.ErrPermissionDenied
		}
		return nil
	}}
	g := start(t, "", o)
	known := []string{"Authorization", "Bearer x", "Content-Type", text}
	for _, space := range []string{"secret", "readonly"} {
		_, err := g.store().Append(t.Context(), space, "s", records("1"), nil)
		require.NoError(t, err)
	}
	r := g.must(t, 401, http.MethodGet, "readonly/s", "")
	require.Equal(t, "Bearer", r.header.Get("WWW-Authenticate"))
	for _, c := range []struct {
		status       int
		method, path string
	}{
		{200, http.MethodGet, "readonly/s"}, {200, http.MethodHead, "readonly/s"}, {403, http.MethodPost, "readonly/s"},
		{403, http.MethodPut, "readonly/t"}, {403, http.MethodDelete, "readonly/s"}, {403, http.MethodGet, "secret/s"},
		{403, http.MethodGet, "secret/none"}, {403, http.MethodGet, "readonly/private"}, {403, http.MethodGet, "private"}, {403, http.MethodPut, "__ds/subscriptions/x"}, {200, http.MethodGet, "__ds/jwks.json"},
	} {
		require.Equal(t, c.status, g.do(t, c.method, c.path, "1", known...).status, "%s %s", c.method, c.path)
	}
	r = g.do(t, http.MethodGet, "readonly/s", "", known...)
	require.Contains(t, r.header.Get("Cache-Control"), "private", "it is nobody else's")
	g.must(t, 403, http.MethodPut, "open/f", "", "Authorization", "Bearer x", "Stream-Forked-From", "/v1/stream/secret/s")
	g.must(t, 403, http.MethodPut, "open/f", "", "Authorization", "Bearer x", "Stream-Forked-From", "/v1/stream/open/private")
	g.must(t, 201, http.MethodPut, "open/f", "", "Authorization", "Bearer x", "Stream-Forked-From", "/v1/stream/readonly/s")
}

// TestCheckOrigin keeps pages of others out; their browser may ask all the same.
func TestCheckOrigin(t *testing.T) {
	t.Parallel()
	g := start(t, "", &durable.Options{CheckOrigin: func(r *http.Request) error {
		if r.Header.Get("Origin") == "https://evil.example" {
			return errors.New("forbidden origin")
		}
		return nil
	}})
	evil := []string{"Origin", "https://evil.example", "Content-Type", text}
	g.put(t, "s", text, "1", "Origin", "https://good.example")
	g.must(t, 204, http.MethodOptions, "s", "", evil...)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
		r := g.must(t, 403, method, "s", "x", evil...)
		require.Equal(t, "*", r.header.Get("Access-Control-Allow-Origin"))
	}
	require.Equal(t, "1", g.get(t, "s").body)
}

// TestShutdown ends those who wait, and refuses those who come.
func TestShutdown(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	tail := g.put(t, "s", text, "1").offset()
	e := g.events(t, "s?live=sse&offset=-1")
	for range 2 {
		_, ok := e.next()
		require.True(t, ok)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, g.Shutdown(ctx))
	_, ok := e.next()
	require.False(t, ok)
	r := g.must(t, 503, http.MethodGet, "s?live=long-poll&offset="+tail, "")
	require.NotEmpty(t, r.header.Get("Retry-After"))
}

// TestStalledReader lets a client read nothing: it is let go, and nobody else is slower for it.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	g := start(t, "", &durable.Options{WriteTimeout: time.Second})
	g.put(t, "s", text, "")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.server.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10))
	_, err = fmt.Fprintf(conn, "GET /v1/stream/s?live=sse&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReaderSize(conn, 16)
	_, err = reader.ReadByte()
	require.NoError(t, err)
	other := g.events(t, "s?live=sse&offset=-1")
	var want, got strings.Builder
	const parts = 24
	var reading sync.WaitGroup
	reading.Go(func() {
		for got.Len() < parts<<20 {
			v, ok := other.next()
			if !ok {
				t.Error("the other reader was cut off")
				return
			}
			if v.kind == "data" {
				got.WriteString(v.data)
			}
		}
	})
	for i := range parts {
		body := strings.Repeat(fmt.Sprint(i%10), 1<<20)
		want.WriteString(body)
		g.post(t, "s", text, body)
	}
	reading.Wait()
	require.True(t, want.String() == got.String())
	pause(t, 2500*time.Millisecond)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	read := 0
	for buffer := make([]byte, 64<<10); ; {
		n, err := conn.Read(buffer)
		if read += n; err != nil {
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "it was not let go")
			break
		}
	}
	require.Less(t, read, want.Len())
}

// TestManyWriters append to one stream through two gateways without an error and without a retry.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	a.put(t, "s", text, "")
	const writers, each = 32, 20
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range each {
				r, err := []*gateway{a, b}[(n+i)%2].try(t.Context(), http.MethodPost, "s", fmt.Sprintf("%02d:%02d\n", n, i), "Content-Type", text)
				if err != nil || r.status != 204 {
					t.Errorf("%v, %+v", err, r)
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	lines := strings.Fields(a.get(t, "s").body)
	require.Len(t, lines, writers*each)
	for _, line := range lines {
		writer, i, _ := strings.Cut(line, ":")
		require.Equal(t, fmt.Sprintf("%02d", next[writer]), i)
		next[writer]++
	}
}

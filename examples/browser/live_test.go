//go:build browser

package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestOtherOrigin makes requests of a page of another origin, with a header that a tool for tracing adds.
func TestOtherOrigin(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<title>another origin</title><p></p>")
	}))
	t.Cleanup(page.Close)
	gateway := program(t, "./cmd/streamhub", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--origin", page.URL)
	tab := tab(t, browser(t), page.URL)
	require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`(async () => {
		const { readLive, produceLive } = await import("`+gateway+`/streamhub.js")
		const traced = (url, init) => fetch(url, { ...init, headers: { ...init.headers, traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } })
		const producer = await produceLive("`+gateway+`/v1/live/answer", { fetch: traced })
		await producer.publish("hello")
		await producer.done()
		const found = []
		for await (const { text } of readLive("`+gateway+`/v1/live/answer", { fetch: traced, token: () => "none" })) found.push(text)
		for (const [method, path, body] of [["POST", "/v1/tickets", '{"read":["live/answer"]}'], ["PUT", "/v1/stream/a/b"], ["GET", "/v1/live?active=1"]])
			found.push((await traced("`+gateway+`" + path, { method, body })).ok)
		document.querySelector("p").textContent = found.join(" ")
	})().catch((error) => { document.querySelector("p").textContent = error.stack })
	0`, nil)))
	require.Equal(t, "hello true true true", until(t, tab, "p", func(text string) bool { return text != "" }))
}

// TestLivePages runs each page of docs/live.md, at the origin of a gateway: it shows the chunks and the verdict.
func TestLivePages(t *testing.T) {
	document, err := os.ReadFile("../../docs/live.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```(html|js) examples/browser/live_test.go\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	require.Len(t, blocks, 3)
	gateway := program(t, "./cmd/streamhub", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	upstream, err := url.Parse(gateway)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) }, FlushInterval: -1}

	chromium := browser(t)
	for n, block := range blocks {
		id := fmt.Sprint("answer-", n)
		response, err := http.Post(gateway+"/v1/live/"+id, "text/plain", strings.NewReader("one\ntwo\n"))
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)

		code := strings.ReplaceAll(block[2], "answer-17", id)
		if block[1] == "js" {
			code = "<script>" + code + "</script>"
		}
		page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				proxy.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<pre id="answer"></pre><pre id="verdict"></pre><script>
const show = (text) => { document.querySelector("#answer").textContent += text + " " }
const finish = (verdict) => { document.querySelector("#verdict").textContent = verdict.kind }
const fail = (error) => { document.querySelector("#verdict").textContent = "failed: " + JSON.stringify(error) }
</script>`+code)
		}))
		tab := tab(t, chromium, page.URL)
		verdict := until(t, tab, "#verdict", func(text string) bool { return text != "" })
		require.Equal(t, "done", verdict, block[2])
		require.Equal(t, "one two", strings.TrimSpace(text(t, tab, "#answer")), block[2])
		page.CloseClientConnections()
		page.Close()
	}
}

//go:build browser

package browser

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const jwtSecret = "a secret that is long enough for HS256"

// bearer makes a token for everything, for an hour.
func bearer() string {
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		encode(fmt.Appendf(nil, `{"sub":"page","exp":%d,"scopes":["streamkit::*"]}`, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(jwtSecret))
	mac.Write([]byte(unsigned))
	return unsigned + "." + encode(mac.Sum(nil))
}

// withFlags starts a Chromium with further flags.
func withFlags(t *testing.T, flags map[string]any) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)
	for name, value := range flags {
		options = append(options, chromedp.Flag(name, value))
	}
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Run(ctx))
	return ctx
}

// A cutter passes bytes between a browser and a gateway until it is told to cut.
type cutter struct {
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
}

func newCutter(t *testing.T, address string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{listener: listener}
	t.Cleanup(func() { _ = listener.Close(); c.cut() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", address)
			if err != nil {
				_ = from.Close()
				continue
			}
			c.mu.Lock()
			c.open = append(c.open, from, to)
			c.mu.Unlock()
			go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
			go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
		}
	}()
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

// TestTicket runs the code of docs/live.md on a page of another origin, over HTTP/2: an EventSource whose
// connection is cut after its ticket has ended goes on with another one, and 20 of them leave room for a
// fetch.
func TestTicket(t *testing.T) {
	document, err := os.ReadFile("../../docs/live.md")
	require.NoError(t, err)
	code := regexp.MustCompile("(?s)```js examples/browser/tickets_test.go\n(.*?)```").FindSubmatch(document)
	require.NotNil(t, code, "docs/live.md has no code for tickets")
	const request = `JSON.stringify({ read: ["live/" + id] })`
	require.Contains(t, string(code[1]), request)
	script := strings.Replace(string(code[1]), request, `JSON.stringify({ read: ["live/" + id], ttl: "1s" })`, 1)

	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(jwtSecret), 0o600))
	gateway := program(t, "./cmd/streamhub", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--auth", "jwt",
		"--jwt-hmac-secret-file", secret, "--tls-self-signed")
	proxy := newCutter(t, strings.TrimPrefix(gateway, "https://"))
	hub := "https://" + proxy.listener.Addr().String()

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // its certificate is its own
	produce := func(id string) (out *io.PipeWriter, verdict <-chan string) {
		body, out := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gateway+"/v1/live/"+id, body)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+bearer())
		answered := make(chan string, 1)
		go func() {
			answer, err := client.Do(r)
			if err != nil {
				answered <- err.Error()
				return
			}
			text, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			answered <- string(text)
		}()
		return out, answered
	}
	out, verdict := produce("answer-17")
	_, err = io.WriteString(out, "one\n")
	require.NoError(t, err)

	var tokens atomic.Int64
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			tokens.Add(1)
			_, _ = io.WriteString(w, bearer())
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><p id=shown>-</p><p id=end>-</p><p id=many>-</p><script type=module>
const hub = %q, id = "answer-17"
const token = async () => (await fetch("/token")).text()
const set = (where, text) => { document.getElementById(where).textContent = text }
let all = "-"
const show = (text) => set("shown", all += " " + text), finish = (verdict) => set("end", verdict.kind), fail = (e) => set("end", "failed " + JSON.stringify(e))
window.many = async () => {
  const { ticket } = await (await fetch(hub + "/v1/tickets", { method: "POST", headers: { Authorization: "Bearer " + await token() }, body: JSON.stringify({ read: ["live/*"] }) })).json()
  let heard = 0
  for (let n = 0; n < 20; n++) new EventSource(hub + "/v1/live/answer-17?ticket=" + ticket + "&n=" + n).onmessage = async () => {
    if (++heard == 20) set("many", "20 and " + (await fetch(hub + "/v1/live/answer-17/status?ticket=" + ticket)).status)
  }
}
%s
</script>`, hub, script)
	}))
	t.Cleanup(page.Close)
	at := tab(t, withFlags(t, map[string]any{"ignore-certificate-errors": true}), page.URL)
	until(t, at, "#shown", func(text string) bool { return text == "- one" })
	first := time.Now()
	require.EqualValues(t, 1, tokens.Load())

	require.NoError(t, chromedp.Run(at, chromedp.Evaluate("many()", nil)))
	require.Equal(t, "20 and 200", until(t, at, "#many", func(text string) bool { return text != "-" }))

	require.Eventually(t, func() bool { return time.Since(first) > 1500*time.Millisecond }, time.Minute, 50*time.Millisecond)
	before := tokens.Load()
	proxy.cut()
	_, err = io.WriteString(out, "two\n")
	require.NoError(t, err)
	until(t, at, "#shown", func(text string) bool { return text == "- one two" })
	require.Greater(t, tokens.Load(), before, "a new ticket was needed")
	require.NoError(t, out.Close())
	require.Contains(t, <-verdict, "done")
	require.Equal(t, "done", until(t, at, "#end", func(text string) bool { return text != "-" }))
	require.Equal(t, "- one two", text(t, at, "#shown"), "nothing came twice")
}

// TestRebinding: a page of another name that stands for the loopback gets nothing from either port.
func TestRebinding(t *testing.T) {
	cmd := build(t, "./cmd/streamhub")
	listen, admin := freePort(t), freePort(t)
	start(t, cmd, "serve", "--listen", listen, "--admin-listen", admin)
	at := withFlags(t, map[string]any{"host-resolver-rules": "MAP evil.example 127.0.0.1"})
	for _, address := range []string{listen, admin} {
		_, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		for host, good := range map[string]bool{"127.0.0.1": true, "localhost": true, "evil.example": false} {
			for _, path := range []string{"/streamhub.js", "/metrics", "/v1/stream/a/b", "/v1/live/a/status"} {
				ctx, cancel := chromedp.NewContext(at)
				answer, err := chromedp.RunResponse(ctx, chromedp.Navigate("http://"+host+":"+port+path))
				cancel()
				require.NoError(t, err)
				require.Equal(t, good, answer.Status != http.StatusMisdirectedRequest, "%s:%s%s: %d", host, port, path, answer.Status)
			}
		}
	}
}

// freePort returns an address that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

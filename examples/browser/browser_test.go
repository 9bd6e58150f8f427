//go:build browser

package browser

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// program builds and starts one of the programs of the repository, and returns the URL that its first
// line names.
func program(t *testing.T, pkg string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	build.Dir = "../.."
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(path, args...)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	return strings.Fields(line)[1]
}

// browser starts a Chromium; each tab is a context of it.
func browser(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Run(ctx))
	return ctx
}

func tab(t *testing.T, browser context.Context, url string) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Log(e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			for _, arg := range e.Args {
				t.Logf("console: %s %s", arg.Value, arg.Description)
			}
		}
	})
	require.NoError(t, chromedp.Run(ctx, chromedp.Navigate(url)))
	return ctx
}

func text(t *testing.T, tab context.Context, selector string) (text string) {
	t.Helper()
	require.NoError(t, chromedp.Run(tab, chromedp.Text(selector, &text, chromedp.ByQuery)))
	return text
}

// until waits for what a page shows.
func until(t *testing.T, tab context.Context, selector string, good func(text string) bool) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); ; {
		shown := text(t, tab, selector)
		if good(shown) {
			return shown
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s shows %q", selector, shown)
		}
	}
}

// words requires that an answer has the words 1, 2, 3, …, each once, and returns how many.
func words(t *testing.T, answer string) int {
	t.Helper()
	all := strings.Fields(answer)
	for n, word := range all {
		require.True(t, strings.HasSuffix(word, fmt.Sprintf("·%d", n+1)), "word %d is %q", n+1, word)
	}
	return len(all)
}

func has(n int) func(string) bool {
	return func(answer string) bool { return len(strings.Fields(answer)) >= n }
}

func click(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	require.NoError(t, chromedp.Run(tab, chromedp.Click(selector, chromedp.ByQuery)))
}

// TestChat refreshes a page in the middle of an answer and sees it resume, and stops it in another
// tab, at another instance.
func TestChat(t *testing.T) {
	redis := redisOf(t)
	one := program(t, "./examples/chat", "-listen", "127.0.0.1:0", "-redis", redis, "-pause", "20ms", "-words", "100000")
	two := program(t, "./examples/chat", "-listen", "127.0.0.1:0", "-redis", redis)
	chromium := browser(t)
	first := tab(t, chromium, one)
	click(t, first, "#ask")
	until(t, first, "#answer", has(20))
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	before := words(t, until(t, first, "#answer", has(40)))
	var address string
	require.NoError(t, chromedp.Run(first, chromedp.Location(&address)))
	_, id, _ := strings.Cut(address, "#")
	require.NotEmpty(t, id)

	second := tab(t, chromium, two+"/#"+id)
	words(t, until(t, second, "#answer", has(before)))
	click(t, second, "#stop")
	for _, page := range []context.Context{first, second} {
		until(t, page, "#state", func(state string) bool { return strings.HasPrefix(state, "cancelled") })
	}
	require.Equal(t, text(t, first, "#answer"), text(t, second, "#answer"))
	words(t, text(t, first, "#answer"))
}

// A front stands before a server, as a proxy of somebody else's does.
type front struct {
	*httptest.Server
	server string
	away   atomic.Bool // answers 503 in a page of its own
}

func frontOf(t *testing.T, server string) *front {
	t.Helper()
	to, err := url.Parse(server)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	f := &front{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.away.Load() {
			http.Error(w, "<h1>503 Service Temporarily Unavailable</h1>", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// leave cuts every connection; what comes gets 503 until the front is back.
func (f *front) leave() {
	f.away.Store(true)
	f.CloseClientConnections()
}

// TestChatOutage has a proxy answer 503 in the middle of an answer: the page goes on after the last
// word that it has, and says in between what it is doing.
func TestChatOutage(t *testing.T) {
	front := frontOf(t, program(t, "./examples/chat", "-listen", "127.0.0.1:0", "-pause", "20ms", "-words", "100000"))
	page := tab(t, browser(t), front.URL)
	click(t, page, "#ask")
	until(t, page, "#answer", has(20))
	for range 2 {
		front.leave()
		until(t, page, "#state", func(state string) bool { return state == "connecting again …" })
		var closed bool
		for !closed { // the browser has given up
			require.NoError(t, chromedp.Run(page, chromedp.Evaluate("source.readyState === EventSource.CLOSED", &closed)))
		}
		before := words(t, text(t, page, "#answer"))
		front.away.Store(false)
		words(t, until(t, page, "#answer", has(before+20)))
		until(t, page, "#state", func(state string) bool { return state == "live" })
	}
	// An answer that does not exist is told from one that cannot be reached.
	front.leave()
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`location.hash = "none"`, nil)))
	until(t, page, "#state", func(state string) bool { return state == "connecting again …" })
	front.away.Store(false)
	until(t, page, "#state", func(state string) bool { return state == "there is no such answer" })
}

// TestEventSource opens a plain EventSource, which nothing looks after, before the stream has begun,
// and stops its gateway later.
func TestEventSource(t *testing.T) {
	redis := redisOf(t)
	front := frontOf(t, program(t, "./examples/chat", "-listen", "127.0.0.1:0", "-redis", redis, "-pause", "20ms", "-words", "100000"))
	page := tab(t, browser(t), front.URL)
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`
		window.plain = new EventSource("/v1/live/early")
		plain.onmessage = (e) => $("answer").append(e.data)`, nil)))
	var open bool
	for !open {
		require.NoError(t, chromedp.Run(page, chromedp.Evaluate("plain.readyState === EventSource.OPEN", &open)))
	}
	ask, err := http.Post(front.URL+"/ask/early", "", nil)
	require.NoError(t, err)
	require.NoError(t, ask.Body.Close())
	require.Equal(t, http.StatusAccepted, ask.StatusCode)
	before := words(t, until(t, page, "#answer", has(20)))
	front.CloseClientConnections()
	words(t, until(t, page, "#answer", has(before+20)))
}

// redisOf starts a Redis of its own.
func redisOf(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "redis")
	cmd := exec.Command(cmp.Or(os.Getenv("STREAMHUB_REDIS_SERVER"), "redis-server"), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir())
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return "unix://" + socket
}

// TestDurable writes in one page and reads in another, with the official client.
func TestDurable(t *testing.T) {
	gateway := program(t, "./cmd/streamhub", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	to, err := url.Parse(gateway)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/v1/", &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}})
	mux.Handle("/", http.FileServer(http.Dir("../durable")))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	// The client does not follow in a tab that is hidden.
	first, second := tab(t, browser(t), server.URL), tab(t, browser(t), server.URL)
	for n, page := range []context.Context{first, second, first} {
		require.NoError(t, chromedp.Run(page,
			chromedp.SendKeys("input", fmt.Sprint("note ", n), chromedp.ByQuery), chromedp.Click("button", chromedp.ByQuery)))
		for _, reader := range []context.Context{first, second} {
			want := strings.TrimSpace(strings.Join([]string{"note 0", "note 1", "note 2"}[:n+1], "\n"))
			until(t, reader, "ul", func(shown string) bool { return shown == want })
		}
	}
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	until(t, first, "ul", func(shown string) bool { return shown == "note 0\nnote 1\nnote 2" })
}

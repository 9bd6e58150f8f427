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
	url, _ := start(t, build(t, pkg), args...)
	return url
}

// build builds a program and returns its path.
func build(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	build.Dir = "../.."
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// start starts a program and returns the URL that its first line names; kill ends it as kill -9 does.
func start(t *testing.T, path string, args ...string) (url string, kill func()) {
	t.Helper()
	words, kill := launch(t, path, args...)
	return words[1], kill
}

// gateway starts one and returns its two addresses.
func gateway(t *testing.T, path string, args ...string) (front, admin string) {
	t.Helper()
	words, _ := launch(t, path, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	return words[1], words[3]
}

// launch starts a program and returns the words of its first line.
func launch(t *testing.T, path string, args ...string) (words []string, kill func()) {
	t.Helper()
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
	return strings.Fields(line), func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
}

// browser starts a Chromium; each tab is a context of it.
func browser(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
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
	until(t, first, ".state", is("nothing is asked yet"))
	accessible(t, first)
	click(t, first, "#ask")
	until(t, first, ".answer", has(20))
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	before := words(t, until(t, first, ".answer", has(40)))
	var address string
	require.NoError(t, chromedp.Run(first, chromedp.Location(&address)))
	_, id, _ := strings.Cut(address, "#")
	require.NotEmpty(t, id)

	second := tab(t, chromium, two+"/#"+id)
	words(t, until(t, second, ".answer", has(before)))
	click(t, second, "#cut")
	until(t, second, ".resumes", func(count string) bool { return count == "1" })
	click(t, second, "#second")
	until(t, second, "article:last-child .answer", has(before))
	words(t, text(t, second, "article:last-child .answer"))
	accessible(t, second)
	atEnd(t, second, ".answer")
	click(t, second, "#stop")
	for _, page := range []context.Context{first, second} {
		until(t, page, ".state", func(state string) bool { return strings.HasPrefix(state, "cancelled") })
	}
	accessible(t, second)
	require.Equal(t, text(t, first, ".answer"), text(t, second, ".answer"))
	n := words(t, text(t, first, ".answer"))
	for _, page := range []context.Context{first, second} {
		require.Equal(t, fmt.Sprint(n), text(t, page, ".words"))
		require.Equal(t, "0", text(t, page, ".gaps"))
		require.Equal(t, "0", text(t, page, ".duplicates"))
	}
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
	until(t, page, ".answer", has(20))
	for range 2 {
		front.leave()
		until(t, page, ".state", func(state string) bool { return state == "connecting again …" })
		before := words(t, text(t, page, ".answer"))
		front.away.Store(false)
		words(t, until(t, page, ".answer", has(before+20)))
		until(t, page, ".state", func(state string) bool { return state == "live" })
	}
	// An answer that does not exist is told from one that cannot be reached.
	front.leave()
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`location.hash = "none"`, nil)))
	until(t, page, ".state", func(state string) bool { return state == "connecting …" })
	front.away.Store(false)
	until(t, page, ".state", func(state string) bool { return state == "there is no such answer" })
}

// TestEventSource opens a plain EventSource, which nothing looks after, before the stream has begun,
// and stops its gateway later.
func TestEventSource(t *testing.T) {
	redis := redisOf(t)
	front := frontOf(t, program(t, "./examples/chat", "-listen", "127.0.0.1:0", "-redis", redis, "-pause", "20ms", "-words", "100000"))
	page := tab(t, browser(t), front.URL)
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`
		window.plain = new EventSource("/v1/live/early")
		plain.onmessage = (e) => document.querySelector(".answer").append(e.data)`, nil)))
	var open bool
	for !open {
		require.NoError(t, chromedp.Run(page, chromedp.Evaluate("plain.readyState === EventSource.OPEN", &open)))
	}
	ask, err := http.Post(front.URL+"/ask/early", "", nil)
	require.NoError(t, err)
	require.NoError(t, ask.Body.Close())
	require.Equal(t, http.StatusAccepted, ask.StatusCode)
	before := words(t, until(t, page, ".answer", has(20)))
	front.CloseClientConnections()
	words(t, until(t, page, ".answer", has(before+20)))
}

// redisOf starts a Redis of its own.
func redisOf(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "redis")
	cmd := redisCommand("--unixsocket", socket, "--dir", t.TempDir())
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return "unix://" + socket
}

func redisCommand(args ...string) *exec.Cmd {
	return exec.Command(cmp.Or(os.Getenv("STREAMHUB_REDIS_SERVER"), "redis-server"), append([]string{"--port", "0", "--save", ""}, args...)...)
}

// notes serves the page of examples/durable, and the handlers that it calls.
func notes(t *testing.T, gateway http.Handler) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/v1/", gateway)
	mux.Handle("/", http.FileServer(http.Dir("../durable")))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

func note(t *testing.T, page context.Context, text string) {
	t.Helper()
	require.NoError(t, chromedp.Run(page,
		chromedp.SendKeys("input", text, chromedp.ByQuery), chromedp.Click("button", chromedp.ByQuery)))
}

func is(want ...string) func(string) bool {
	return func(shown string) bool { return shown == strings.Join(want, "\n") }
}

// TestDurable writes in one page and reads in another, with the official client.
func TestDurable(t *testing.T) {
	server := notes(t, frontOf(t, program(t, "./cmd/streamhub", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")).Config.Handler)
	// The client does not follow in a tab that is hidden.
	first, second := tab(t, browser(t), server.URL), tab(t, browser(t), server.URL)
	all := []string{"note 0", "note 1", "note 2"}
	for n, page := range []context.Context{first, second, first} {
		note(t, page, all[n])
		for _, reader := range []context.Context{first, second} {
			until(t, reader, "ul", is(all[:n+1]...))
		}
	}
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	until(t, first, "ul", is(all...))
}

// TestDurableAway kills the gateway while notes are typed. They are stored when it is back, in their
// order, and both pages go on; one of them is loaded again with its notes still waiting.
func TestDurableAway(t *testing.T) {
	path, redis := build(t, "./cmd/streamhub"), redisOf(t)
	gateway, kill := start(t, path, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", redis)
	server := notes(t, frontOf(t, gateway).Config.Handler)
	again := func() {
		_, kill = start(t, path, "serve", "--listen", strings.TrimPrefix(gateway, "http://"), "--admin-listen", "127.0.0.1:0", "--redis", redis)
	}
	first, second := tab(t, browser(t), server.URL), tab(t, browser(t), server.URL)
	var all []string
	write := func(text string) {
		all = append(all, text)
		note(t, first, text)
	}
	stored := func() {
		for _, page := range []context.Context{first, second} {
			until(t, page, "ul", is(all...))
			until(t, page, "#state", is("live"))
		}
	}
	write("before")
	stored()
	for round := range 2 {
		kill()
		write(fmt.Sprint("away ", round))
		write(fmt.Sprint("and later ", round))
		until(t, first, "#state", is("the gateway is away, connecting again …, 2 notes wait"))
		until(t, second, "#state", is("the gateway is away, connecting again …"))
		if round == 1 {
			require.NoError(t, chromedp.Run(first, chromedp.Reload()))
			until(t, first, "#state", func(state string) bool { return strings.HasSuffix(state, "2 notes wait") })
			accessible(t, first)
		}
		again()
		stored()
		write(fmt.Sprint("after ", round))
		stored()
	}
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	stored()
	accessible(t, first)
}

// TestDurableKilled types notes while the gateway dies again and again, reloads the page with half a note in
// its field, and closes a tab whose notes wait: another tab of the browser sends them.
func TestDurableKilled(t *testing.T) {
	path, redis := build(t, "./cmd/streamhub"), redisOf(t)
	gateway, kill := start(t, path, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", redis)
	server := notes(t, frontOf(t, gateway).Config.Handler)
	again := func() {
		_, kill = start(t, path, "serve", "--listen", strings.TrimPrefix(gateway, "http://"), "--admin-listen", "127.0.0.1:0", "--redis", redis)
	}
	chromium := browser(t)
	first, second := tab(t, chromium, server.URL), tab(t, browser(t), server.URL)
	var all []string
	for round := range 4 {
		for n := range 6 {
			if n == 1 {
				kill()
			}
			if n == 4 {
				again()
			}
			text := fmt.Sprintf("note %d of %d", n, round)
			all = append(all, text)
			note(t, first, text)
		}
	}
	until(t, second, "ul", is(all...))
	kill()
	all = append(all, "when the tab is closed")
	note(t, first, all[len(all)-1])
	require.NoError(t, chromedp.Run(first, chromedp.SendKeys("input", "half", chromedp.ByQuery), chromedp.Reload()))
	var half string
	require.NoError(t, chromedp.Run(first, chromedp.Value("input", &half, chromedp.ByQuery)))
	require.Equal(t, "half", half)
	until(t, first, "ol", is("when the tab is closed"))
	other := tab(t, chromium, server.URL)
	until(t, other, "ol", is("when the tab is closed"))
	require.NoError(t, chromedp.Cancel(first))
	again()
	until(t, other, "ul", is(all...))
	until(t, second, "ul", is(all...))
	until(t, other, "ol", is(""))
}

// TestDurableForgotten kills a gateway that keeps nothing: the pages show what there is now, and what
// was typed meanwhile is there.
func TestDurableForgotten(t *testing.T) {
	path := build(t, "./cmd/streamhub")
	gateway, kill := start(t, path, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	server := notes(t, frontOf(t, gateway).Config.Handler)
	first, second := tab(t, browser(t), server.URL), tab(t, browser(t), server.URL)
	note(t, first, "old")
	until(t, second, "ul", is("old"))
	kill()
	note(t, first, "new")
	until(t, first, "#state", is("the gateway is away, connecting again …, 1 note waits"))
	_, _ = start(t, path, "serve", "--listen", strings.TrimPrefix(gateway, "http://"), "--admin-listen", "127.0.0.1:0")
	for _, page := range []context.Context{first, second} {
		until(t, page, "ul", is("new"))
	}
	note(t, second, "newer")
	until(t, first, "ul", is("new", "newer"))
}

//go:build browser

package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// pair is two gateways on one Redis. It sends requests to them in turn, and answers 503 in the place of one that
// is away.
type pair struct {
	path, redis string
	turn        atomic.Uint32
	gateways    [2]atomic.Pointer[httputil.ReverseProxy] // nil while it is away
	kill        [2]func()
}

func pairOf(t *testing.T, redis string) *pair {
	t.Helper()
	f := &pair{path: build(t, "./cmd/streamhub"), redis: redis}
	for n := range f.gateways {
		f.start(t, n)
	}
	return f
}

func (f *pair) start(t *testing.T, n int) {
	t.Helper()
	address, kill := start(t, f.path, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", f.redis)
	to, err := url.Parse(address)
	require.NoError(t, err)
	f.kill[n] = kill
	f.gateways[n].Store(&httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}})
}

// restart kills a gateway and starts another one in its place.
func (f *pair) restart(t *testing.T, n int) {
	t.Helper()
	f.gateways[n].Store(nil)
	f.kill[n]()
	f.start(t, n)
}

func (f *pair) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	proxy := f.gateways[int(f.turn.Add(1))%len(f.gateways)].Load()
	if proxy == nil {
		http.Error(w, "<h1>503 Service Temporarily Unavailable</h1>", http.StatusServiceUnavailable)
		return
	}
	proxy.ServeHTTP(w, r)
}

// stored returns the text of each note of the stream, in order.
func stored(t *testing.T, gateway string) (texts []string) {
	t.Helper()
	for offset := "-1"; ; {
		response, err := http.Get(gateway + "/v1/stream/notes/today?offset=" + url.QueryEscape(offset))
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
		var notes []struct{ Text string }
		require.NoError(t, json.Unmarshal(body, &notes))
		for _, note := range notes {
			texts = append(texts, note.Text)
		}
		if response.Header.Get("Stream-Up-To-Date") == "true" {
			return texts
		}
		offset = response.Header.Get("Stream-Next-Offset")
	}
}

// number reads an environment variable.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// TestDurableFaults types notes while each gateway is killed STREAMHUB_KILLS times, Redis STREAMHUB_RESTARTS times, and
// the page is loaded again in the middle of notes. Faults come after each key of a note in turn. Each note is
// in the stream once, and in the order in which it was typed.
func TestDurableFaults(t *testing.T) {
	kills, restarts := number(t, "STREAMHUB_KILLS", 2), number(t, "STREAMHUB_RESTARTS", 1)
	redis := restartable(t)
	gateways := pairOf(t, redis.url)
	server := notes(t, gateways)
	writer, reader := tab(t, browser(t), server.URL), tab(t, browser(t), server.URL)

	var faults []func()
	for n := range max(kills, restarts) {
		if n < kills {
			faults = append(faults, func() { gateways.restart(t, 0) }, func() { gateways.restart(t, 1) })
		}
		if n < restarts {
			faults = append(faults, redis.restart)
		}
	}
	// The stride has no divisor in common with the length of a note. Typing waits for the faults, so that these
	// are spread over all of it.
	const length, stride = len("note 0000\r"), 37
	all := make([]string, (len(faults)+2)*stride/length)
	for n := range all {
		all[n] = fmt.Sprintf("note %04d", n)
	}
	keys, rest, typed := make(chan struct{}, 2*stride), make(chan struct{}), make(chan error, 1)
	go func() { typed <- typing(writer, all, keys, rest) }()
	func() {
		defer close(rest)
		for _, fault := range faults {
			for range stride {
				select {
				case <-keys:
				case err := <-typed:
					require.NoError(t, err)
					t.Fatal("all notes were typed before the last fault")
				}
			}
			fault()
		}
	}()
	require.NoError(t, <-typed)
	until(t, writer, "ol", is(""))
	for _, page := range []context.Context{writer, reader} {
		until(t, page, "ul", is(all...))
	}
	require.Equal(t, all, stored(t, server.URL))
	t.Logf("%d notes, %d kills of gateways, %d of Redis", len(all), 2*kills, restarts)
}

// typing types notes, a key after the other, and loads the page again within every tenth note. After each key it
// sends to keys, until there is a rest.
func typing(page context.Context, notes []string, keys chan<- struct{}, rest <-chan struct{}) error {
	for n, text := range notes {
		for at, key := range text + "\r" {
			actions := []chromedp.Action{chromedp.KeyEvent(string(key))}
			if n%10 == 5 && at == n/10%len(text) {
				actions = append(actions, chromedp.Reload())
			}
			if err := chromedp.Run(page, actions...); err != nil {
				return err
			}
			select {
			case keys <- struct{}{}:
			case <-rest:
			}
		}
	}
	return nil
}

// TestDurableAnswerLost has the answer to a note never arrive, and closes the tab. The tab that sends it again
// does not store it twice.
func TestDurableAnswerLost(t *testing.T) {
	gateways := pairOf(t, redisOf(t))
	lost := make(chan struct{}, 1)
	var hold atomic.Bool
	server := notes(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !hold.CompareAndSwap(true, false) {
			gateways.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		gateways.ServeHTTP(answer, r)
		lost <- struct{}{}
		<-r.Context().Done()
	}))
	chromium := browser(t)
	other := tab(t, chromium, server.URL)
	note(t, other, "before")
	until(t, other, "ul", is("before"))
	page := tab(t, chromium, server.URL)
	hold.Store(true)
	note(t, page, "held")
	<-lost
	require.NoError(t, chromedp.Cancel(page))
	until(t, other, "ol", is(""))
	note(t, other, "after")
	until(t, other, "ul", is("before", "held", "after"))
	require.Equal(t, []string{"before", "held", "after"}, stored(t, server.URL))
}

// TestDurableLoading types before the script has come: what the page cannot keep, it does not take.
func TestDurableLoading(t *testing.T) {
	gateways := pairOf(t, redisOf(t))
	ready := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/", notes(t, gateways).Config.Handler)
	mux.HandleFunc("/main.js", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ready:
		case <-r.Context().Done():
		}
		http.ServeFile(w, r, "../durable/main.js")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	chromium := browser(t)
	page, cancel := chromedp.NewContext(chromium)
	t.Cleanup(cancel)
	var typed string
	require.NoError(t, chromedp.Run(page,
		chromedp.Evaluate(`location.href = "`+server.URL+`"`, nil),
		chromedp.WaitReady("form", chromedp.ByQuery),
		chromedp.KeyEvent("early\r"),
		chromedp.Value("input", &typed, chromedp.ByQuery)))
	require.Empty(t, typed)
	require.Equal(t, "loading …", text(t, page, "#state"))
	close(ready)
	require.NoError(t, chromedp.Run(page, chromedp.WaitEnabled("input", chromedp.ByQuery), chromedp.KeyEvent("late\r")))
	until(t, page, "ul", is("late"))
}

// TestDurableForeign has others write to the stream what is no note, and close it: the page shows the notes, and says
// why another one waits.
func TestDurableForeign(t *testing.T) {
	gateways := pairOf(t, redisOf(t))
	server := notes(t, gateways)
	post := func(body string, header ...string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/stream/notes/today", strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusNoContent, response.StatusCode)
	}
	page := tab(t, browser(t), server.URL)
	note(t, page, "one")
	until(t, page, "ul", is("one"))
	post(`[null, 3, "text", [], {"text": 4}, {"text": "without an id"}]`)
	note(t, page, "two")
	until(t, page, "ul", is("one", "without an id", "two"))
	post("", "Stream-Closed", "true")
	note(t, page, "three")
	until(t, page, "#state", func(state string) bool { return strings.Contains(state, "1 note waits: ") })
	until(t, page, "ol", is("three"))
}

// A redisServer keeps its data in an append-only file.
type redisServer struct {
	url     string
	restart func() // kills it, and starts it again
}

func restartable(t *testing.T) redisServer {
	t.Helper()
	dir := t.TempDir()
	run := func() (kill func()) {
		cmd := redisCommand("--unixsocket", dir+"/redis", "--dir", dir, "--appendonly", "yes", "--appendfsync", "always")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		for lines := bufio.NewScanner(stdout); ; {
			require.True(t, lines.Scan(), "redis-server did not start")
			if strings.Contains(lines.Text(), "eady to accept connections") {
				break
			}
		}
		return func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	kill := run()
	t.Cleanup(func() { kill() })
	return redisServer{url: "unix://" + dir + "/redis", restart: func() {
		kill()
		kill = run()
	}}
}

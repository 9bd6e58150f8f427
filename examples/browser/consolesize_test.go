//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const (
	consoleSegments = 100_000
	consoleLive     = 50
	// consoleRequests and consoleCommands bound what an open page costs, a second.
	consoleRequests = 5
	consoleCommands = 300
)

// A fleet is three gateways on one Redis, one of them with an archive. Requests go to another one.
type fleet struct {
	*testing.T
	redis, front, admin string
	archiving           string // the admin listener of the one with the archive
	endArchiving        func()
	client              *http.Client
	pace                atomic.Int64 // nanoseconds between two chunks of a live stream
}

// socket starts a Redis that listens on a socket alone, and returns its path.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "console")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "redis")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "yes", "--dir", dir)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	require.Eventually(t, func() bool {
		return exec.Command("redis-cli", "-s", path, "ping").Run() == nil
	}, 20*time.Second, 20*time.Millisecond)
	return path
}

func newFleet(t *testing.T) *fleet {
	path := build(t, "./cmd/streamhub")
	f := &fleet{T: t, redis: socket(t), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	f.pace.Store(int64(time.Second))
	flags := []string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", "unix://" + f.redis, "--admin-write", "--loopback-webhooks"}
	words, end := launch(t, path, append(flags, "--archive", "pebble://"+filepath.Join(t.TempDir(), "cold"), "--archive-age", "1s", "--archive-keep", "1")...)
	f.archiving, f.endArchiving = words[3], end
	for range 2 {
		words, _ := launch(t, path, flags...)
		f.front, f.admin = words[1], words[3]
	}
	return f
}

// do makes a request that has to succeed.
func (f *fleet) do(method, path, contentType, body string, header ...string) string {
	r, err := http.NewRequest(method, f.front+path, strings.NewReader(body))
	if err == nil {
		r.Header.Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		var answer *http.Response
		if answer, err = f.client.Do(r); err == nil {
			defer answer.Body.Close()
			var text []byte
			if text, err = io.ReadAll(answer.Body); err == nil && answer.StatusCode > 299 {
				err = fmt.Errorf("%s %s: %s %s", method, path, answer.Status, text)
			}
			if err == nil {
				return string(text)
			}
		}
	}
	f.Error(err)
	return ""
}

// fill makes segments, live streams whose producer lives as long as the test, and a subscription that fails.
func (f *fleet) fill(segments int) {
	f.Helper()
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for n := made.Add(1); n <= int64(segments) && !f.Failed(); n = made.Add(1) {
				f.do("PUT", fmt.Sprintf("/v1/stream/orders/order-%06d", n), "application/json", fmt.Sprintf(`[{"order":%d,"total":"%d.50","items":["tea","milk"]}]`, n, n%100))
			}
		})
	}
	wg.Wait()
	for i := range 30 { // one with history, for the archive
		f.do("POST", "/v1/stream/orders/order-000001", "application/json", fmt.Sprintf(`[{"step":%d}]`, i))
	}
	f.do("PUT", "/v1/stream/__ds/subscriptions/billing", "application/json", `{"type":"webhook","streams":["orders/order-000001"],"webhook":{"url":"http://127.0.0.1:1/hook"}}`)
	f.do("POST", "/v1/stream/orders/order-000001", "application/json", `[{"step":"paid"}]`)
	ctx, cancel := context.WithCancel(context.Background())
	beats := make(chan struct{})
	f.Cleanup(func() {
		cancel()
		<-beats
	})
	producers := make([]string, consoleLive)
	for i := range producers {
		var p struct{ Producer string }
		require.NoError(f, json.Unmarshal([]byte(f.do("PUT", fmt.Sprintf("/v1/live/answer-%02d", i+1), "application/json", `{"metadata":{"model":"small"}}`)), &p))
		producers[i] = p.Producer
	}
	go func() {
		defer close(beats)
		for n := 1; ; n++ {
			for i, producer := range producers {
				if ctx.Err() != nil {
					return
				}
				f.do("POST", fmt.Sprintf("/v1/live/answer-%02d/chunks?first=%d", i+1, n), "text/plain", fmt.Sprintf("word %d\n", n), "Streamhub-Producer", producer)
				select { // not all at once: what is measured meanwhile should be even
				case <-time.After(time.Duration(f.pace.Load()) / consoleLive):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
}

// commands is how many commands Redis has carried out.
func (f *fleet) commands() int {
	f.Helper()
	out, err := exec.Command("redis-cli", "-s", f.redis, "info", "stats").Output()
	require.NoError(f, err)
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "total_commands_processed:"); ok {
			n, err := strconv.Atoi(text)
			require.NoError(f, err)
			return n
		}
	}
	f.Fatal("Redis says nothing of its commands")
	return 0
}

// during is how many commands a second Redis carries out while so much time passes. Each look is one itself.
func (f *fleet) during(span time.Duration) float64 {
	f.Helper()
	before, begin := f.commands(), time.Now()
	<-time.After(span)
	return float64(f.commands()-before-1) / time.Since(begin).Seconds()
}

// appends measures appends at a fixed rate for a span: the median and the 95th percentile.
func (f *fleet) appends(span time.Duration) (p50, p95 time.Duration) {
	f.Helper()
	var times []time.Duration
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end); <-tick.C {
		begin := time.Now()
		f.do("POST", "/v1/stream/orders/order-000002", "application/json", `[{"a":1}]`)
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*95/100]
}

// picture writes what a page shows into the directory of pictures, if there is one.
func picture(t *testing.T, tab context.Context, name, scheme string, width int64) {
	t.Helper()
	dir := os.Getenv("STREAMHUB_PICTURES")
	if dir == "" {
		return
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	var data []byte
	require.NoError(t, chromedp.Run(tab,
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.EmulateViewport(width, 900), chromedp.Reload(),
		chromedp.WaitVisible("main[data-shown]", chromedp.ByQuery),
		chromedp.ActionFunc(func(ctx context.Context) (err error) {
			data, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatPng).WithCaptureBeyondViewport(false).Do(ctx)
			return err
		})))
	require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), data, 0o644))
}

// TestConsoleSize opens each view on a hub with many segments, live streams, several gateways, an archive and a webhook
// that fails. It measures how long a view takes and what an open page costs, and wants a page that is not looked at to
// cost nothing. make console-size runs it: figures of a busy machine fail no other run.
func TestConsoleSize(t *testing.T) {
	if os.Getenv("STREAMHUB_CONSOLE_SIZE") == "" {
		t.Skip("make console-size measures")
	}
	f := newFleet(t)
	f.fill(consoleSegments)
	chromium := browser(t)
	tab := tab(t, chromium, f.archiving)
	await := func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
	views := []struct{ name, hash, shows string }{
		{"overview", "#/", "Appends/s"}, {"spaces", "#/spaces", "orders"}, {"segments", "#/spaces/orders", "order-000050"},
		{"entries", "#/entries/orders/order-000001", "order-000001"}, {"space", "#/entries/orders", "order-"},
		{"live", "#/live", "answer-50"}, {"leases", "#/leases", "streamhub/archive/orders"}, {"subscriptions", "#/subscriptions", "refused"}, {"archive", "#/archive", "orders"},
	}
	until(t, tab, "main", func(shown string) bool { return strings.Contains(shown, "Appends/s") })
	for _, v := range views {
		require.Eventually(t, func() bool { // what comes by itself after a while: a failure, an archived space
			require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`location.hash = "#/none"; location.hash = "`+v.hash+`"; 0`, nil), chromedp.WaitVisible("main[data-shown]", chromedp.ByQuery)))
			return strings.Contains(text(t, tab, "main"), v.shows)
		}, time.Minute, 500*time.Millisecond, v.name)
		var times []float64
		require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`(async () => {
			const main = document.getElementById("main"), times = [];
			for (let i = 0; i < 20; i++) {
				location.hash = `+strconv.Quote(map[bool]string{true: "#/leases", false: "#/spaces"}[v.name == "spaces"])+`;
				await new Promise((r) => setTimeout(r, 60));
				while (main.dataset.shown !== location.hash) await new Promise((r) => setTimeout(r, 5));
				const begin = performance.now();
				location.hash = `+strconv.Quote(v.hash)+`;
				do { await new Promise((r) => setTimeout(r, 1)); } while (main.dataset.shown !== location.hash);
				times.push(performance.now() - begin);
			}
			return times;
		})()`, &times, await)))
		slices.Sort(times)
		t.Logf("view %-13s p50 %3.0f ms, p95 %3.0f ms", v.name, times[len(times)/2], times[len(times)*95/100])
		accessible(t, tab)
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 400} {
				picture(t, tab, v.name, scheme, width)
			}
		}
	}
	require.NoError(t, chromedp.Run(tab, chromedp.EmulateReset()))

	// What an open page of 50 segments costs, less what the fleet costs by itself. An archiver that goes through the
	// segments takes thousands of commands a second, which would hide the page.
	f.endArchiving()
	f.pace.Store(int64(8 * time.Second)) // within the heartbeat of a producer
	open := func(hash string) {
		require.NoError(t, chromedp.Run(tab, chromedp.Navigate("about:blank")))
		if hash != "" {
			require.NoError(t, chromedp.Run(tab, chromedp.Navigate(f.admin+"/"+hash), chromedp.WaitVisible("main[data-shown]", chromedp.ByQuery)))
		}
	}
	const span = 24 * time.Second
	open("")
	idle := f.during(span)
	for _, v := range []string{"#/", "#/spaces/orders", "#/live"} {
		open(v)
		begin := time.Now()
		cost := f.during(span) - idle
		var requests int
		require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`performance.getEntriesByType("resource").filter((e) => e.name.includes("/v1/operate/")).length`, &requests)))
		rate := float64(requests) / time.Since(begin).Seconds()
		t.Logf("open %-16s %.2f requests and %.0f commands a second; %.0f commands a second without a page", v, rate, cost, idle)
		require.LessOrEqual(t, rate, float64(consoleRequests))
		require.LessOrEqual(t, cost, float64(consoleCommands))
		if v == "#/spaces/orders" { // which costs enough to be seen
			require.Greater(t, cost, 0.0, "the page is hidden by what else happens")
		}
	}
	// A page that is hidden asks nothing.
	require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`Object.defineProperty(document, "hidden", { value: true }); performance.clearResourceTimings(); 0`, nil)))
	var requests int
	<-time.After(2 * time.Second)
	require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`performance.clearResourceTimings(); 0`, nil)))
	<-time.After(12 * time.Second)
	require.NoError(t, chromedp.Run(tab, chromedp.Evaluate(`performance.getEntriesByType("resource").length`, &requests)))
	require.Zero(t, requests)

	// Appends in one run, in turns without a page and with one.
	var off, on []time.Duration
	for range 3 {
		open("")
		_, p95 := f.appends(8 * time.Second)
		off = append(off, p95)
		open("#/spaces/orders")
		_, p95 = f.appends(8 * time.Second)
		on = append(on, p95)
	}
	slices.Sort(off)
	slices.Sort(on)
	t.Logf("append p95 %v without a page, %v with one (medians of three turns)", off[1], on[1])
}

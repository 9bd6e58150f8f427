//go:build browser

package browser

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// accessible has axe-core look at a page, light and dark, wide and narrow: it must find nothing, and
// nothing may be wider than the window. It leaves screenshots in the directory that STREAMHUB_SCREENSHOTS names.
func accessible(t *testing.T, page context.Context) {
	t.Helper()
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	require.NoError(t, err, "npm ci in examples/browser brings it")
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(string(axe)+";0", nil)))
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			var found []string
			require.NoError(t, chromedp.Run(page,
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.EmulateViewport(width, 900),
				chromedp.Evaluate(`axe.run().then(({violations}) => [
					...violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html)),
					...(document.documentElement.scrollWidth > innerWidth ? ["wider than the window: " + document.documentElement.scrollWidth] : []),
				])`, &found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) })))
			require.Empty(t, found, "%s, %d wide", scheme, width)
			if dir := os.Getenv("STREAMHUB_SCREENSHOTS"); dir != "" {
				var png []byte
				require.NoError(t, chromedp.Run(page, chromedp.FullScreenshot(&png, 100)))
				name := fmt.Sprintf("%s-%d-%s-%d.png", t.Name(), time.Now().UnixMilli(), scheme, width)
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), png, 0o600))
			}
		}
	}
	require.NoError(t, chromedp.Run(page, chromedp.EmulateReset()))
}

// atEnd requires that elements whose text grows show the end of it.
func atEnd(t *testing.T, page context.Context, selector string) {
	t.Helper()
	const script = `[...document.querySelectorAll(%q)].every((e) => e.scrollHeight > e.clientHeight && e.scrollHeight - e.scrollTop - e.clientHeight < 60)`
	require.NoError(t, chromedp.Run(page, chromedp.Poll(fmt.Sprintf(script, selector), nil)), "%s", selector)
}

// TestDemo presses the buttons of the demonstration: both panes show every word once, in order.
func TestDemo(t *testing.T) {
	path := build(t, "./cmd/streamhub")
	url, _ := start(t, path, "demo", "--listen", "127.0.0.1:0", "--words", "100000", "--pause", "10ms")
	page := tab(t, browser(t), url)
	count := func(pane, what string) int {
		n, err := strconv.Atoi(text(t, page, "#pane-"+pane+" ."+what))
		require.NoError(t, err)
		return n
	}
	more := func(n int) {
		for _, pane := range []string{"1", "2"} {
			want := count(pane, "words") + n
			until(t, page, "#pane-"+pane+" .words", func(text string) bool {
				n, err := strconv.Atoi(text)
				return err == nil && n >= want
			})
		}
	}
	press := func(name string) { click(t, page, `[data-do="`+name+`"]:enabled`) }
	state := func(selector, want string) {
		until(t, page, selector+" .state", func(text string) bool { return strings.Contains(text, want) })
	}
	clean := func() {
		for _, pane := range []string{"1", "2"} {
			require.Positive(t, count(pane, "words"))
			require.Zero(t, count(pane, "gaps"))
			require.Zero(t, count(pane, "duplicates"))
		}
	}
	more(20)
	for _, round := range []struct{ kill, pane, from, to string }{{"A", "1", "A", "B"}, {"B", "2", "B", "A"}} {
		state("#pane-"+round.pane, "reading at gateway "+round.from)
		press("kill-" + round.kill)
		state("#pane-"+round.pane, "reading at gateway "+round.to)
		more(20)
		press("start-" + round.kill)
		state("#gateway-"+round.kill, "prefers")
		click(t, page, "#pane-"+round.pane+" button")
		state("#pane-"+round.pane, "reading at gateway "+round.from)
	}
	press("pause-redis")
	state("#redis", "paused")
	press("resume-redis")
	state("#redis", "redis-server")
	more(20)
	press("restart-redis")
	until(t, page, "#log", func(log string) bool { return strings.Contains(log, "started again") })
	more(20)
	press("takeover")
	state("#producer", "number 2")
	more(20)
	press("kill-A")
	state("#pane-1", "gateway B")
	// Both panes are away while the answer is taken over twice.
	offline := func(off bool) {
		require.NoError(t, chromedp.Run(page, network.EmulateNetworkConditions(off, 0, -1, -1)))
	}
	offline(true)
	ask := func(method, path string) (body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Less(t, response.StatusCode, 300, "%s: %s", path, answer)
		return string(answer)
	}
	ask("POST", "/do/cut-1")
	ask("POST", "/do/cut-2")
	state("#pane-1", "connecting again")
	state("#pane-2", "connecting again")
	for _, number := range []string{"3", "4"} {
		ask("POST", "/do/takeover")
		require.Eventually(t, func() bool {
			return strings.Contains(ask("GET", "/state"), `"producer":`+number+`,`)
		}, 30*time.Second, 20*time.Millisecond)
	}
	offline(false)
	more(20)
	clean()
	press("kill-B")
	state("#pane-1", "connecting again")
	state("#pane-2", "connecting again")
	press("start-B")
	more(20)
	clean()
	require.Positive(t, count("1", "resumes"))
	accessible(t, page)
	atEnd(t, page, ".text")
	require.NoError(t, chromedp.Run(page, chromedp.Reload()))
	more(20) // a page that comes late
	press("stop")
	for _, pane := range []string{"1", "2"} {
		state("#pane-"+pane, "ended: cancelled, the stop button")
	}
	clean()
	require.Equal(t, count("1", "words"), count("2", "words"))
}

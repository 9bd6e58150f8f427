//go:build browser

package browser

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// TestConsole logs in to the console and looks at each of its views, which axe-core has nothing to say
// about, and follows a segment.
func TestConsole(t *testing.T) {
	const token = "open sesame, please"
	path, file := build(t, "./cmd/streamhub"), filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	front, admin := gateway(t, path, "--admin-token-file", file)
	run := func(input string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, append(args, "--server", front)...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run(`{"order":17,"html":"<b>bold</b>"}`+"\n", "append", "orders/order-1")
	run("one\ntwo\n", "live", "publish", "answer")

	page := tab(t, browser(t), admin)
	has := func(words string) func(string) bool {
		return func(shown string) bool { return strings.Contains(shown, words) }
	}
	until(t, page, "main", has("Admin token"))
	accessible(t, page)
	require.NoError(t, chromedp.Run(page, chromedp.SendKeys("#token", "guess, and a long one"+kb.Enter, chromedp.ByQuery)))
	until(t, page, "main", has("not the admin token"))
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`document.getElementById("token").value = ""; 0`, nil), chromedp.SendKeys("#token", token+kb.Enter, chromedp.ByQuery)))
	for _, view := range []struct{ key, shows string }{
		{"2", "orders"}, {"3", "Live streams"}, {"4", "No lease"}, {"5", "no subscriptions"}, {"6", "Nothing is archived"}, {"1", "Commands/s"},
	} {
		until(t, page, "nav", func(string) bool { return true })
		until(t, page, "main h1", func(shown string) bool { return shown != "streamhub" })
		require.NoError(t, chromedp.Run(page, chromedp.KeyEvent(view.key)))
		until(t, page, "main", has(view.shows))
		accessible(t, page)
	}
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`location.hash = "#/spaces/orders"; 0`, nil)))
	until(t, page, "main", has("order-1"))
	accessible(t, page)
	require.NoError(t, chromedp.Run(page, chromedp.Evaluate(`location.hash = "#/entries/orders/order-1"; 0`, nil)))
	until(t, page, "main", has("<b>bold</b>")) // what comes from a stream is text
	accessible(t, page)
	until(t, page, "#cost", has("Redis commands"))

	require.NoError(t, chromedp.Run(page, chromedp.Click(`button[aria-pressed="false"]`, chromedp.ByQuery)))
	until(t, page, "main", has("Nothing came yet"))
	for i := 0; !has("fresh")(text(t, page, "main")); i++ {
		require.Less(t, i, 100, "the tail shows nothing")
		run("fresh\n", "append", "orders/order-1")
	}
	require.NoError(t, chromedp.Run(page, chromedp.Click("#logout", chromedp.ByQuery)))
	until(t, page, "main", has("Admin token"))
}

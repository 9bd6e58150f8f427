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

// TestMetricsPage: the first scrape has every metric that docs/operations.md lists, and with an archive those of
// docs/archive.md, with a help and with no other label, and no other metric. What happens later changes none of that.
func TestMetricsPage(t *testing.T) {
	documented := map[string][]string{}
	read := func(page string) {
		text, err := os.ReadFile("../../docs/" + page)
		require.NoError(t, err)
		for _, row := range regexp.MustCompile("(?m)^\\| `(streamhub_[a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
			documented[row[1]] = append([]string{}, regexp.MustCompile("[a-z_]+").FindAllString(row[2], -1)...)
		}
	}
	read("operations.md")
	require.Greater(t, len(documented), 20)
	for _, args := range [][]string{nil, {"--archive", "pebble://" + t.TempDir()}} {
		if args != nil {
			read("archive.md")
		}
		s := serve(t, args...)
		first := scrapeHelp(t, s.admin, documented)
		require.ElementsMatch(t, slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(first)))
		good(t, strings.NewReader("one\n"), "append", "a/b", "--server", s.ws())
		good(t, nil, "read", "a/b", "--follow", "--limit", "1", "--server", s.ws())
		require.Equal(t, first, scrapeHelp(t, s.admin, documented))
	}
}

// scrapeHelp returns the help of each metric of ours that a server has. Every label has to be documented.
func scrapeHelp(t *testing.T, admin string, documented map[string][]string) map[string]string {
	t.Helper()
	answer, err := http.Get(admin + "/metrics")
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NotContains(t, string(text), "otel_scope")
	require.Contains(t, string(text), `service_name="streamhub"`)
	found := map[string]string{}
	for _, family := range regexp.MustCompile(`(?m)^# HELP (streamhub_[a-z_]+) (.*)$`).FindAllStringSubmatch(string(text), -1) {
		found[family[1]] = family[2]
		require.NotEmpty(t, family[2], family[1])
	}
	for _, series := range regexp.MustCompile(`(?m)^(streamhub_[a-z_]+)(?:\{(.*)\})? `).FindAllStringSubmatch(string(text), -1) {
		name := series[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if _, ok := found[strings.TrimSuffix(name, suffix)]; ok {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		require.Contains(t, found, name, "it has no help")
		for _, label := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(series[2], -1) {
			if label[1] != "le" {
				require.Contains(t, documented[name], label[1], "a label of %s", name)
			}
		}
	}
	return found
}

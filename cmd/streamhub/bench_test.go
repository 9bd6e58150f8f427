package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestBench(t *testing.T) {
	url, store := embedded(t)
	for _, server := range []bool{false, true} {
		place := []string{"--redis", url}
		if server {
			place = []string{"--server", serve(t, "--redis", url).ws()}
		}
		r := good(t, nil, append([]string{"bench", "--callers", "4", "--segments", "6", "--batch", "2", "--followers", "2", "--duration", "200ms"}, place...)...)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		if len(lines) != 2 || !regexp.MustCompile(`^appends +[1-9][0-9]* .* p99 `).MatchString(lines[0]) || !regexp.MustCompile(`^deliveries +[1-9]`).MatchString(lines[1]) {
			t.Errorf("%q", r.out)
		}
	}
	for space, err := range store.Spaces(within(t)) {
		for segment, segmentErr := range store.Segments(within(t), space) {
			t.Errorf("%s/%s is left: %v, %v", space, segment, err, segmentErr)
		}
	}
	for _, bad := range [][]string{{"--callers", "0"}, {"--size", "7"}, {"--batch", "0"}, {"--duration", "0s"}, {"--followers", "-1"}} {
		if r := call(t, nil, append([]string{"bench", "--redis", url}, bad...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", bad, r)
		}
	}
}

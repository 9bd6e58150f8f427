package main

import (
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
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
		if len(lines) != 5 || !strings.Contains(lines[0], "P99.9") || !regexp.MustCompile(`^appends +[1-9][0-9]* .*s$`).MatchString(lines[1]) ||
			!regexp.MustCompile(`^deliveries +[1-9]`).MatchString(lines[2]) || !strings.Contains(lines[3], "MB/s") || !strings.HasPrefix(lines[4], "intact") {
			t.Errorf("%q", r.out)
		}
		if !strings.Contains(r.err, "200ms of appends through "+hidden("", place[1])) {
			t.Errorf("%q", r.err)
		}
	}
	r := good(t, nil, "bench", "--redis", url, "--callers", "4", "--segments", "2", "--batch", "3", "--duration", "500ms", "--rate", "50", "--json")
	var report benchReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatal(err)
	}
	if n := report.Appends.Count; n < 1 || n > 30 || report.Records != uint64(3*n) || report.Deliveries.Count != 3*n || !report.Intact || report.Appends.Max < report.Appends.P50 {
		t.Errorf("%s", r.out)
	}
	for space, err := range store.Spaces(within(t)) {
		for segment, segmentErr := range store.Segments(within(t), space) {
			t.Errorf("%s/%s is left: %v, %v", space, segment, err, segmentErr)
		}
	}
	for _, bad := range [][]string{{"--callers", "0"}, {"--size", "7"}, {"--batch", "0"}, {"--duration", "0s"}, {"--followers", "-1"}, {"--rate", "-1"}} {
		if r := call(t, nil, append([]string{"bench", "--redis", url}, bad...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", bad, r)
		}
	}
}

// TestBenchIntegrity has a follower see other bytes than were appended.
func TestBenchIntegrity(t *testing.T) {
	url, _ := embedded(t)
	c := &benchCmd{Callers: 1, Segments: 1, Batch: 1, Size: 16, Followers: 1, Duration: 20 * time.Millisecond, target: target{Redis: url}}
	s := &session{ctx: within(t), stdout: output{io.Discard}, stderr: io.Discard}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, wrong := range []uint64{0, 1} {
		l := &load{benchCmd: c, store: store, space: fresh("bench"), sums: map[string]uint64{"0": wrong}}
		if _, err := l.run(s.ctx); (err != nil) != (wrong != 0) {
			t.Errorf("%d: %v", wrong, err)
		}
	}
}

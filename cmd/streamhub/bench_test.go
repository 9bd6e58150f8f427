package main

import (
	"context"
	"encoding/json"
	"io"
	"regexp"
	"slices"
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
		r := good(t, nil, append([]string{"bench", "--callers", "4", "--segments", "3", "--batch", "2", "--followers", "2", "--duration", "100ms"}, place...)...)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		want := []string{`PHASE .* P99\.9 +MAX`, `produce +appends +[1-9].*s`, `consume +entries +[1-9].*s`, `fan-out +appends +[1-9].*s`, `fan-out +deliveries +[1-9].*s`,
			`catch-up +entries +[1-9].*s`, `live +chunks +[1-9].*s`, `live +deliveries +[1-9].*s`, `times: .*`, `intact: .*`}
		for i, want := range want {
			if len(lines) != 10 || !regexp.MustCompile("^"+want+"$").MatchString(lines[i]) {
				t.Errorf("line %d is not %s:\n%s", i, want, r.out)
			}
		}
		if !strings.Contains(r.err, "through "+hidden("", place[1])+", 100ms each") {
			t.Errorf("%q", r.err)
		}
	}
	r := good(t, nil, "bench", "--redis", url, "--callers", "4", "--segments", "2", "--batch", "3", "--duration", "500ms", "--rate", "50", "--json")
	var report benchReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Phases) != 5 || !report.Intact {
		t.Fatalf("%s", r.out)
	}
	produce, consume, fanOut, catchUp, streams := report.Phases[0], report.Phases[1], report.Phases[2], report.Phases[3], report.Phases[4]
	for _, p := range []phaseReport{produce, fanOut} {
		if n := p.Appends.Count; n < 1 || n > 30 || p.Records != uint64(3*n) || p.Appends.Max < p.Appends.P50 {
			t.Errorf("%+v", p)
		}
	}
	if produce.Deliveries != nil || consume.Records != produce.Records || catchUp.Records != fanOut.Records || consume.Reads.Count != 2 {
		t.Errorf("%s", r.out)
	}
	if n := streams.Appends.Count; n < 1 || n > 30 || streams.Deliveries.Count != n || fanOut.Deliveries.Count != int(fanOut.Records) {
		t.Errorf("%s", r.out)
	}
	for space, err := range store.Spaces(within(t)) {
		for segment, segmentErr := range store.Segments(within(t), space) {
			t.Errorf("%s/%s is left: %v, %v", space, segment, err, segmentErr)
		}
		if !slices.Contains([]string{"bench-a", "bench-b", "bench-c"}, space) {
			t.Errorf("%q: each run leaves a name", space)
		}
	}
	for _, bad := range [][]string{{"--callers", "0"}, {"--size", "7"}, {"--batch", "0"}, {"--duration", "0s"}, {"--followers", "-1"}, {"--rate", "-1"}, {"--phases", "x"}, {"--phases", "consume"}, {"--phases", "produce,catch-up"}} {
		if r := call(t, nil, append([]string{"bench", "--redis", url}, bad...)...); r.code != exitUsage {
			t.Errorf("%v: %+v", bad, r)
		}
	}
}

// TestBenchIntegrity has a follower see other bytes than were appended.
func TestBenchIntegrity(t *testing.T) {
	url, _ := embedded(t)
	c := &benchCmd{Callers: 1, Segments: 1, Batch: 1, Size: 16, Followers: 1, Duration: 20 * time.Millisecond, target: target{place: place{Redis: redisURL(url)}}}
	s := &session{ctx: within(t), stdout: output{io.Discard}, stderr: io.Discard}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, wrong := range []uint64{0, 1} {
		l := &load{benchCmd: c, store: store, space: fresh("bench"), followers: 1, sums: map[string]uint64{"0": wrong}}
		if _, err := l.append(s.ctx); (err != nil) != (wrong != 0) {
			t.Errorf("%d: %v", wrong, err)
		}
		for _, read := range []func(context.Context) (phaseReport, error){l.consume, l.catchUp} {
			if _, err := read(s.ctx); (err != nil) != (wrong != 0) {
				t.Errorf("%d: %v", wrong, err)
			}
		}
	}
}

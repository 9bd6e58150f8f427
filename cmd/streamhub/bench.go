package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/time/rate"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

// benchCmd puts load on an existing hub, in its own segments.
type benchCmd struct {
	target
	Phases    []string      `default:"produce,consume,fan-out,catch-up,live" enum:"produce,consume,fan-out,catch-up,live" placeholder:"P,..." help:"What to do, in this order. produce: append. consume: read what produce has appended. fan-out: append to segments that are followed. catch-up: follow these segments from their first entry. live: live streams."`
	Callers   int           `default:"64" help:"Appends under way at the same time."`
	Segments  int           `default:"64" help:"Segments that they go to, and live streams."`
	Batch     int           `default:"1" help:"Records of an append."`
	Size      int           `default:"100" help:"Bytes of a record; 8 or more, which say when it was sent."`
	Followers int           `default:"1" help:"Followers of each segment and readers of each live stream, in this process."`
	Duration  time.Duration `default:"5s" help:"How long produce, fan-out and live each last."`
	Rate      float64       `placeholder:"N" help:"Most appends a second, of all callers together, and most chunks of live streams; no limit if not given."`
	JSON      bool          `name:"json" help:"Write the result as one JSON object; times in microseconds."`
}

// A benchReport is the result of a run, in the form of --json. Times are in microseconds.
type benchReport struct {
	Callers   int           `json:"callers"`
	Segments  int           `json:"segments"`
	Batch     int           `json:"batch"`
	Size      int           `json:"size"`
	Followers int           `json:"followers"`
	Rate      float64       `json:"rate,omitempty"`
	Phases    []phaseReport `json:"phases"`
	// Intact says that each reader and follower received exactly the appended entries, in order.
	Intact bool `json:"intact"`
}

// A phaseReport is the result of one phase.
type phaseReport struct {
	Phase     string  `json:"phase"`
	Seconds   float64 `json:"seconds"`
	Records   uint64  `json:"records"` // written, or read by all readers together
	Megabytes float64 `json:"megabytes_per_second"`
	// Appends are calls, of live chunks. Deliveries are entries, each from the call that brought it to the reader that got it.
	// Reads are readers, each from its first call until it had everything.
	Appends    *benchFigures `json:"appends,omitempty"`
	Deliveries *benchFigures `json:"deliveries,omitempty"`
	Reads      *benchFigures `json:"reads,omitempty"`
}

// benchFigures are the latencies of many calls of one kind.
type benchFigures struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       int64   `json:"p50_us"`
	P90       int64   `json:"p90_us"`
	P99       int64   `json:"p99_us"`
	P999      int64   `json:"p999_us"`
	Max       int64   `json:"max_us"`
}

// Run runs the phases and reports how long the calls took. It fails if a reader missed an entry or received another one
// than was appended.
func (c *benchCmd) Run(s *session) error {
	does := func(phase string) bool { return slices.Contains(c.Phases, phase) }
	switch {
	case c.Callers < 1 || c.Segments < 1 || c.Followers < 0 || c.Duration <= 0:
		return usagef("--callers, --segments and --duration must be more than nothing, --followers not less")
	case c.Batch < 1 || c.Batch > streamhub.MaxFrameRecords:
		return usagef("--batch %d: want 1 to %d", c.Batch, streamhub.MaxFrameRecords)
	case c.Size < 8 || c.Size > streamhub.MaxRecordBytes:
		return usagef("--size %d: want 8 to %d", c.Size, streamhub.MaxRecordBytes)
	case c.Rate < 0:
		return usagef("--rate %v: want appends a second, or 0 for no limit", c.Rate)
	case does("consume") && !does("produce"), does("catch-up") && !does("fan-out"):
		return usagef("--phases %s: consume reads what produce has appended, and catch-up what fan-out has", strings.Join(c.Phases, ","))
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	// The spaces have the same names in every run: the name and the timeline of a space stay when its segments are deleted.
	prefix := rand.Text() + "-"
	var limit *rate.Limiter
	pace := "as fast as it goes"
	if c.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(c.Rate), 1+int(c.Rate/100))
		pace = fmt.Sprintf("%v a second", c.Rate)
	}
	s.note("%s through %s, %v each: %d callers, %d segments, %d followers each, %d records of %d bytes an append, %s",
		strings.Join(c.Phases, ", "), hidden("", firstOf(string(c.Redis), string(c.Server), defaultServer)), c.Duration, c.Callers, c.Segments, c.Followers, c.Batch, c.Size, pace)
	report := benchReport{Callers: c.Callers, Segments: c.Segments, Batch: c.Batch, Size: c.Size, Followers: c.Followers, Rate: c.Rate, Intact: true}
	produced := &load{benchCmd: c, store: store, space: "bench-a", prefix: prefix, pace: limit}
	followed := &load{benchCmd: c, store: store, space: "bench-b", prefix: prefix, pace: limit, followers: c.Followers}
	streams := &load{benchCmd: c, store: store, space: "bench-c", prefix: prefix, pace: limit, followers: c.Followers, streams: true}
	used := map[*load]bool{}
	for _, phase := range []struct {
		name, unit string
		load       *load
		run        func(context.Context) (phaseReport, error)
	}{
		{"produce", "appends", produced, produced.append},
		{"consume", "entries", produced, produced.consume},
		{"fan-out", "appends", followed, followed.append},
		{"catch-up", "entries", followed, followed.catchUp},
		{"live", "chunks", streams, streams.live},
	} {
		if !does(phase.name) {
			continue
		}
		used[phase.load] = true
		phase.load.bar = s.progress(true, phase.unit, -1)
		phase.load.bar.describe(phase.name + ": " + phase.unit)
		var r phaseReport
		r, err = phase.run(s.ctx)
		phase.load.bar.finish()
		if err != nil {
			break
		}
		r.Phase = phase.name
		report.Phases = append(report.Phases, r)
	}
	for l := range used {
		if left := l.remove(s.ctx); left != nil {
			s.note("segments of the space %s are left: streamhub delete %[1]s --yes removes all of them", l.space)
			err = firstError(err, left)
		}
	}
	if err := interrupted(s.ctx, err); err != nil {
		return err
	}
	return c.report(s, &report)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// report writes the report.
func (c *benchCmd) report(s *session, r *benchReport) error {
	if c.JSON {
		return json.NewEncoder(s.stdout).Encode(r)
	}
	t := newTable("phase", "", "count", "per second", "MB/s", "p50", "p90", "p99", "p99.9", "max")
	for i := range r.Phases {
		p := &r.Phases[i]
		for _, row := range []struct {
			name string
			*benchFigures
		}{{"appends", p.Appends}, {"deliveries", p.Deliveries}, {"readers", p.Reads}} {
			if row.benchFigures == nil {
				continue
			}
			count, perSecond := row.Count, row.PerSecond
			if p.Reads != nil { // how many there are is known; what they read is what counts
				row.name, count, perSecond = "entries", int(p.Records), float64(p.Records)/p.Seconds
			}
			if p.Phase == "live" && row.name == "appends" {
				row.name = "chunks"
			}
			megabytes := fmt.Sprintf("%.2f", p.Megabytes)
			if row.name == "deliveries" {
				megabytes = fmt.Sprintf("%.2f", p.Megabytes*float64(c.Followers))
			}
			cells := table.Row{p.Phase, row.name, count, int64(perSecond), megabytes}
			for _, us := range []int64{row.P50, row.P90, row.P99, row.P999, row.Max} {
				cells = append(cells, (time.Duration(us) * time.Microsecond).String())
			}
			t.AppendRow(cells)
		}
	}
	if err := writeTable(s.stdout, t); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.stdout, "times: of an append its call, of a chunk until it is buffered, of a delivery from there to the follower, of entries until a reader has all of a segment")
	if err == nil {
		_, err = fmt.Fprintln(s.stdout, "intact: each reader and follower got every record, in order, as it was appended")
	}
	return err
}

func figures(times []time.Duration, took time.Duration) *benchFigures {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	at := func(p float64) int64 { return times[int(p*float64(len(times)-1))].Microseconds() }
	return &benchFigures{len(times), float64(len(times)) / took.Seconds(), at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
}

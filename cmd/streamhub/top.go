package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/seed-147127fe/streamhub/internal/operate"
)

// leastEvery is the shortest interval of top; an overview is cached for longer.
const leastEvery = time.Second

type topCmd struct {
	place
	Every time.Duration `default:"2s" placeholder:"D" help:"How often to look, once a second at most."`
	Count int           `placeholder:"N" help:"End after N looks; 0 goes on until it is stopped."`
	JSON  bool          `name:"json" help:"One JSON object for each look."`
}

func (topCmd) Help() string {
	return examples("top", "top --count 1 --json --server http://127.0.0.1:9090 --token ADMIN-TOKEN")
}

// The sequences that show top on a screen of its own, clear that, and bring back what was there.
const (
	ownScreen   = "\x1b[?1049h\x1b[?25l"
	clearScreen = "\x1b[H\x1b[2J"
	oldScreen   = "\x1b[?25h\x1b[?1049l"
)

// Run shows Redis and the instances until it is stopped. On a terminal each look replaces the one before.
func (c *topCmd) Run(s *session) error {
	if c.Every < leastEvery || c.Count < 0 {
		return usagef("--every is %v or more, and --count not negative", leastEvery)
	}
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	screen := isTerminal(s.stdout.w) && !c.JSON && c.Count == 0
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for looks := 1; ; looks++ {
		o, err := ops.Overview(s.ctx)
		if err != nil {
			return interrupted(s.ctx, err)
		}
		if screen && looks == 1 {
			fmt.Fprint(s.stdout, ownScreen)
			defer fmt.Fprint(s.stdout, oldScreen)
		}
		if err := c.write(s, &o, screen); err != nil {
			return err
		}
		if looks == c.Count {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return interrupted(s.ctx, nil)
		}
	}
}

func (c *topCmd) write(s *session, o *operate.Overview, screen bool) error {
	if c.JSON {
		return json.NewEncoder(s.stdout).Encode(o)
	}
	var text strings.Builder
	if screen {
		text.WriteString(clearScreen)
	}
	number := func(name string) float64 { n, _ := strconv.ParseFloat(o.Redis[name], 64); return n }
	memory := mebibytes(number("used_memory"))
	if limit := number("maxmemory"); limit > 0 {
		memory += " of " + mebibytes(limit)
	}
	fmt.Fprintf(&text, "%s  Redis %s %s  up %s  %s  %.0f commands/s  %.0f clients  %d stores\n",
		time.UnixMilli(o.At).UTC().Format(time.TimeOnly), firstOf(o.Redis["valkey_version"], o.Redis["redis_version"], "embedded"), o.Redis["role"],
		shortDuration(time.Duration(number("uptime_in_seconds"))*time.Second), memory, number("instantaneous_ops_per_sec"), number("connected_clients"), o.Stores)
	for _, finding := range o.Findings {
		fmt.Fprintf(&text, "! %s\n", finding)
	}
	text.WriteString("\n")
	t := newTable(instanceColumns...)
	for _, i := range o.Instances {
		t.AppendRow(instanceRow(i))
	}
	if len(o.Instances) > 1 {
		sum := table.Row{"all", "", "", ""}
		var connections, followers int64
		var appends, deliveries, errors float64
		for _, i := range o.Instances {
			connections, followers = connections+i.Connections, followers+i.Followers
			appends, deliveries, errors = appends+i.AppendRate, deliveries+i.DeliveryRate, errors+i.ErrorRate
		}
		t.AppendRow(append(sum, connections, followers, appends, deliveries, errors, ""))
	}
	if t.Length() == 0 {
		text.WriteString("no instance has reported itself within 50 s\n")
	} else {
		text.WriteString(t.Render() + "\n")
	}
	_, err := s.stdout.Write([]byte(text.String()))
	return err
}

func mebibytes(n float64) string { return fmt.Sprintf("%.1f MiB", n/(1<<20)) }

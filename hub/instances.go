package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/instance"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

const (
	// reportEvery is how often an instance reports itself, with one command.
	reportEvery = 15 * time.Second
	// reportTTL is how long a report counts. It outlives two reports in a row that are lost.
	reportTTL = 50 * time.Second
	// farewellTime bounds the last command of an instance that ends.
	farewellTime = 500 * time.Millisecond
)

const (
	instancesDeadlines = "sh:{instances}:d"
	instancesReports   = "sh:{instances}:m"
)

var (
	//go:embed lua/report.lua
	reportLua string
	//go:embed lua/instances.lua
	instancesLua string

	reportScript    = redisx.NewScript(reportLua)
	instancesScript = redisx.NewScript(instancesLua).NoWrites()
)

// InstanceOptions say how a process reports itself to all others; see [Hub.Instances].
type InstanceOptions struct {
	// Name is shown to operators; the default is "<host>/<process id>".
	Name string
	// Version is the version of the program; the default is read from the build information.
	Version string
	// Address is where clients reach it; the default is none.
	Address string
	// Silent lets the instance report nothing.
	Silent bool
}

// An Instance is one process with a hub on this Redis, as it reported itself last.
type Instance struct {
	// ID is a new random id for each hub that is opened.
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Address string `json:"address,omitempty"`
	// Started and Reported are Unix milliseconds by the clock of the instance.
	Started  int64 `json:"started_at"`
	Reported int64 `json:"reported_at"`
	// Connections are the open connections of clients. Followers are the followers of the hub,
	// including those of clients.
	Connections int64 `json:"connections"`
	Followers   int64 `json:"followers"`
	// The rates, each per second and since the previous report: records stored, entries delivered
	// to readers and followers, and calls that failed.
	AppendRate   float64 `json:"appends_per_second"`
	DeliveryRate float64 `json:"deliveries_per_second"`
	ErrorRate    float64 `json:"errors_per_second"`
}

// Instances returns the processes that have a hub on this Redis, sorted by name. Each reports every 15
// s, with one command, unless it is [InstanceOptions].Silent or never sweeps. A process that was killed
// stays in the list for 50 s.
func (h *Hub) Instances(ctx context.Context) ([]Instance, error) {
	if err := h.checkOpen(streamhub.Error{Op: "instances"}); err != nil {
		return nil, err
	}
	v, err := h.conn.Run(ctx, instancesScript, 2, instancesDeadlines, instancesReports)
	if err != nil {
		return nil, fault.At(streamhub.Error{Op: "instances"}, redisx.ReadOutcome(redisx.Outcome(err)))
	}
	reports, _ := v.([]any)
	all := make([]Instance, len(reports))
	for i, report := range reports {
		text, _ := report.(string)
		if err := json.Unmarshal([]byte(text), &all[i]); err != nil {
			return nil, fault.At(streamhub.Error{Op: "instances"}, fmt.Errorf("%w: an instance is %.100q", streamhub.ErrCorrupt, text))
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// CountConnections sets the function that returns how many client connections this process has open; the instance
// reports that number. count must be safe for concurrent use.
func (h *Hub) CountConnections(count func() int) {
	if h.reporter != nil {
		h.reporter.connections.Store(&count)
	}
}

// A reporter sends the reports of one instance to Redis.
type reporter struct {
	hub         *Hub
	self        Instance
	connections atomic.Pointer[func() int]

	at                          time.Time
	appended, delivered, failed int64 // totals at the previous report

	mu      sync.Mutex // guards history
	history []Sample
}

// A Sample is the sum of the reports of all instances at one time.
type Sample struct {
	At           int64   `json:"at"` // Unix milliseconds, by the clock of this process
	AppendRate   float64 `json:"appends_per_second"`
	DeliveryRate float64 `json:"deliveries_per_second"`
	ErrorRate    float64 `json:"errors_per_second"`
	Connections  int64   `json:"connections"`
	Followers    int64   `json:"followers"`
}

// samples is how many samples are remembered: those of a quarter of an hour.
const samples = int(15 * time.Minute / reportEvery)

// remember stores the sum over all instances, which Redis returned to a report, in the history.
func (r *reporter) remember(at time.Time, answer any) {
	s := Sample{At: at.UnixMilli()}
	text, _ := answer.(string)
	if _, err := fmt.Sscan(text, &s.AppendRate, &s.DeliveryRate, &s.ErrorRate, &s.Connections, &s.Followers); err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, s)
	if len(r.history) > samples {
		r.history = slices.Delete(r.history, 0, len(r.history)-samples)
	}
}

// History returns the load of all instances in the last 15 minutes: a sample every 15 s, oldest first. It
// sends nothing to Redis. An instance collects samples as it reports, so a silent one has none.
func (h *Hub) History() []Sample {
	if h.reporter == nil {
		return nil
	}
	h.reporter.mu.Lock()
	defer h.reporter.mu.Unlock()
	return slices.Clone(h.reporter.history)
}

// report starts the reports, except for a hub that never sweeps: that one belongs to a short-lived command.
func (h *Hub) report(ctx context.Context) {
	o := InstanceOptions{}
	if h.opt.Instance != nil {
		o = *h.opt.Instance
	}
	if o.Silent || h.opt.SweepEvery < 0 {
		return
	}
	if info, ok := debug.ReadBuildInfo(); ok && o.Version == "" {
		o.Version = info.Main.Version
	}
	now := time.Now()
	h.reporter = &reporter{hub: h, at: now, self: Instance{
		ID: rand.Text(), Name: cmp.Or(o.Name, instance.Name()), Version: o.Version, Address: o.Address, Started: now.UnixMilli(),
	}}
	h.tasks.Go(func() { h.reporter.run(ctx) })
}

func (r *reporter) run(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		r.send(ctx, reportTTL)
		select {
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTime)
			defer cancel()
			r.send(bye, 0)
			return
		case <-tick.C:
		}
	}
}

// send reports the instance. A failed report is not retried: the next one replaces it.
func (r *reporter) send(ctx context.Context, ttl time.Duration) {
	o, now := r.hub.observer, time.Now()
	appended, delivered, failed := o.appended.n.Load(), o.delivered.n.Load(), o.failures.n.Load()
	if passed := now.Sub(r.at).Seconds(); passed >= 1 {
		rate := func(n, before int64) float64 { return float64(int64(float64(n-before)/passed*10)) / 10 }
		r.self.AppendRate, r.self.DeliveryRate, r.self.ErrorRate = rate(appended, r.appended), rate(delivered, r.delivered), rate(failed, r.failed)
		r.at, r.appended, r.delivered, r.failed = now, appended, delivered, failed
	}
	r.self.Reported, r.self.Followers = now.UnixMilli(), o.followers.n.Load()
	if count := r.connections.Load(); count != nil {
		r.self.Connections = int64((*count)())
	}
	text, err := json.Marshal(&r.self)
	if err == nil {
		var sums any
		sums, err = r.hub.conn.Run(ctx, reportScript, 2, instancesDeadlines, instancesReports, r.self.ID, ttl.Milliseconds(), string(text))
		r.remember(now, sums)
	}
	if err != nil && ctx.Err() == nil {
		r.hub.opt.Logger.DebugContext(ctx, "the instance was not reported", "err", err)
	}
}

// Stores returns the ids of the stores that were ever appended to, in no order.
func (h *Hub) Stores(ctx context.Context) ([]uuid.UUID, error) {
	if err := h.checkOpen(streamhub.Error{Op: "stores"}); err != nil {
		return nil, err
	}
	ids, err := h.log.Stores(ctx)
	if err != nil {
		return nil, &streamhub.Error{Op: "stores", Err: err}
	}
	return ids, nil
}

// RedisInfo returns the answer of one server to INFO, by field. On a cluster any of the primaries answers.
func (h *Hub) RedisInfo(ctx context.Context) (map[string]string, error) {
	if err := h.checkOpen(streamhub.Error{Op: "info"}); err != nil {
		return nil, err
	}
	text, err := h.conn.Info(ctx).Result()
	if err != nil {
		return nil, &streamhub.Error{Op: "info", Err: redisx.ReadOutcome(err)}
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

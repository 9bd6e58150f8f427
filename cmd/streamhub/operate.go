package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/operate"
	"github.com/seed-147127fe/streamhub/live"
)

// operations returns the operations for operators, through the gateway or on Redis itself, and a function that closes
// them.
func (p *place) operations(s *session) (operate.Operations, func(), error) {
	return p.operationsWith(s, nil)
}

// operationsWith is like operations, for a command that may need the archive too.
func (p *place) operationsWith(s *session, cold *archiveFlag) (operate.Operations, func(), error) {
	if p.Redis == "" {
		transport, err := p.transport(s)
		if err != nil {
			return nil, nil, err
		}
		var bases []string
		for _, address := range p.gateways() {
			bases = append(bases, "http"+strings.TrimPrefix(address, "ws"))
		}
		return operate.NewRemote(bases, p.Token, &http.Client{Transport: transport}), transport.CloseIdleConnections, nil
	}
	h, done, err := p.openHub(s, hub.Options{Archiving: tier.Options{Every: -1}}, cold)
	if err != nil {
		return nil, nil, err
	}
	return operate.New(h), done, nil
}

// collect reads a list to its end.
func collect[T any](s *session, list iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range list {
		if err != nil {
			return nil, interrupted(s.ctx, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// writeList writes a list as JSON or as a table, and says so if it is empty.
func writeList[T any](s *session, asJSON bool, all []T, empty string, columns []string, row func(T) table.Row) error {
	if len(all) == 0 {
		s.note("%s", empty)
	}
	if asJSON {
		out := json.NewEncoder(s.stdout)
		for _, v := range all {
			if err := out.Encode(v); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(columns...)
	for _, v := range all {
		t.AppendRow(row(v))
	}
	return writeTable(s.stdout, t)
}

// ago writes how long ago a time in Unix milliseconds is.
func ago(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return since(time.UnixMilli(ms))
}

// since writes how long ago a time is.
func since(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return shortDuration(time.Since(at))
}

type leaseLsCmd struct {
	place
	storeFlag
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run writes the leases that are held, by key.
func (c *leaseLsCmd) Run(s *session) error {
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	all, err := collect(s, ops.Leases(s.ctx, c.Store))
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b operate.Lease) int { return strings.Compare(a.Key, b.Key) })
	return writeList(s, c.JSON, all, "nobody holds a lease in this store", []string{"key", "host", "process", "since", "left", "token"}, func(l operate.Lease) table.Row {
		host, process := l.Host, l.Process
		if host == "" {
			host, process = l.Holder, "-" // the holder has chosen its own name
		}
		return table.Row{oneLine(l.Key), oneLine(host), process, time.UnixMilli(l.Since).UTC().Format(time.DateTime), shortDuration(time.Duration(l.LeftMS) * time.Millisecond), l.Token}
	})
}

type liveLsCmd struct {
	place
	storeFlag
	Space string `default:"live" help:"Space of the live streams."`
	All   bool   `short:"a" help:"Also those that have ended and are kept."`
	JSON  bool   `name:"json" help:"One JSON object a line."`
}

// Run writes the live streams of a space, by id.
func (c *liveLsCmd) Run(s *session) error {
	if err := streamhub.CheckName("space", c.Space); err != nil {
		return err
	}
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	all, err := collect(s, ops.Live(s.ctx, c.Store, c.Space, c.All))
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b live.Listed) int { return strings.Compare(a.ID, b.ID) })
	empty := fmt.Sprintf("nothing is produced in the space %q; --all shows what has ended, --space names another space", c.Space)
	if c.All {
		empty = fmt.Sprintf("the space %q keeps no live streams; --space names another space", c.Space)
	}
	return writeList(s, c.JSON, all, empty, []string{"id", "verdict", "chunks", "viewers", "producer", "started", "last chunk"}, func(l live.Listed) table.Row {
		verdict := "producing"
		if l.Verdict != nil {
			verdict = string(l.Verdict.Kind)
		}
		return table.Row{oneLine(l.ID), verdict, l.Chunks, l.Viewers, firstOf(oneLine(l.By), "-"), since(l.StartedAt), since(l.LastTimestamp)}
	})
}

// subscriptionsCmd groups the commands for subscriptions of Durable Streams.
type subscriptionsCmd struct {
	Ls   subscriptionsLsCmd   `cmd:"" help:"List the subscriptions of a store, with what fails."`
	Show subscriptionsShowCmd `cmd:"" help:"Write one subscription with its streams, as JSON."`
	Rm   subscriptionsRmCmd   `cmd:"" help:"End a subscription; a wake that is under way is over."`
}

type subscriptionsLsCmd struct {
	place
	storeFlag
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run writes the subscriptions by id.
func (c *subscriptionsLsCmd) Run(s *session) error {
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	all, err := collect(s, ops.Subscriptions(s.ctx, c.Store))
	if err != nil {
		return err
	}
	return writeList(s, c.JSON, all, "the store has no subscriptions", []string{"id", "type", "status", "wakes", "failures", "for", "to", "last failure"}, func(d durable.Subscription) table.Row {
		failure := "-"
		if d.Failure != "" {
			failure = ago(d.FailedAt) + " ago: " + oneLine(d.Failure)
		}
		return table.Row{oneLine(d.ID), d.Type, d.Status, d.Wakes, d.Failures, firstOf(oneLine(d.Pattern), "streams"), oneLine(firstOf(d.Webhook, d.WakeStream)), failure}
	})
}

// subscriptionPlace is a subscription, and where it is.
type subscriptionPlace struct {
	place
	storeFlag
	alwaysJSON
	ID string `arg:"" help:"Subscription."`
}

type subscriptionsShowCmd struct{ subscriptionPlace }

// Run writes it as one line of JSON.
func (c *subscriptionsShowCmd) Run(s *session) error {
	if err := streamhub.CheckName("subscription", c.ID); err != nil {
		return err
	}
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	found, err := ops.Subscription(s.ctx, c.Store, c.ID)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	return json.NewEncoder(s.stdout).Encode(found)
}

type subscriptionsRmCmd struct {
	subscriptionPlace
	yesFlag
}

// Run writes which one has ended.
func (c *subscriptionsRmCmd) Run(s *session) error {
	if err := streamhub.CheckName("subscription", c.ID); err != nil {
		return err
	}
	if err := c.confirm(s, "end the subscription %q", c.ID); err != nil {
		return err
	}
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	if err := ops.RemoveSubscription(s.ctx, c.Store, c.ID); err != nil {
		return interrupted(s.ctx, err)
	}
	return json.NewEncoder(s.stdout).Encode(map[string]string{"removed": c.ID})
}

type instancesCmd struct {
	place
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run writes the instances by name.
func (c *instancesCmd) Run(s *session) error {
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	all, err := ops.Instances(s.ctx)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	return writeList(s, c.JSON, all, "no instance has reported itself within 50 s", instanceColumns, instanceRow)
}

var instanceColumns = []string{"name", "version", "address", "up", "connections", "followers", "appends/s", "deliveries/s", "errors/s", "reported"}

func instanceRow(i hub.Instance) table.Row {
	return table.Row{
		oneLine(i.Name), firstOf(oneLine(i.Version), "-"), firstOf(oneLine(i.Address), "-"), ago(i.Started), i.Connections, i.Followers,
		i.AppendRate, i.DeliveryRate, i.ErrorRate, ago(i.Reported) + " ago",
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

type workersCmd struct {
	target
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run writes the workers that are there now, sorted by id.
func (c *workersCmd) Run(s *session) error {
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	for workers, err := range store.Workers(s.ctx) {
		if err != nil {
			return interrupted(s.ctx, err)
		}
		if len(workers) == 0 {
			s.note("the store has no workers")
		}
		return c.write(s, workers)
	}
	return interrupted(s.ctx, nil)
}

func (c *workersCmd) write(s *session, workers []streamhub.Worker) error {
	if c.JSON {
		out := json.NewEncoder(s.stdout)
		for _, w := range workers {
			if err := out.Encode(w); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable("worker", "last seen", "metadata")
	for _, w := range workers {
		var metadata []string
		for _, key := range slices.Sorted(maps.Keys(w.Metadata)) {
			metadata = append(metadata, oneLine(fmt.Sprintf("%s=%s", key, w.Metadata[key])))
		}
		t.AppendRow(table.Row{w.ID, w.LastSeen.UTC().Format(time.DateTime), strings.Join(metadata, " ")})
	}
	return writeTable(s.stdout, t)
}

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/seed-147127fe/streamhub"
)

type workersCmd struct {
	place
	storeFlag
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run writes the workers that are there now, sorted by id.
func (c *workersCmd) Run(s *session) error {
	ops, done, err := c.operations(s)
	if err != nil {
		return err
	}
	defer done()
	all, err := collect(s, ops.Workers(s.ctx, c.Store))
	if err != nil {
		return err
	}
	return writeList(s, c.JSON, all, "the store has no workers", []string{"worker", "last seen", "metadata"}, func(w streamhub.Worker) table.Row {
		var metadata []string
		for _, key := range slices.Sorted(maps.Keys(w.Metadata)) {
			metadata = append(metadata, oneLine(fmt.Sprintf("%s=%s", key, w.Metadata[key])))
		}
		return table.Row{w.ID, w.LastSeen.UTC().Format(time.DateTime), strings.Join(metadata, " ")}
	})
}

package main

import (
	"encoding/json"

	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

type statusCmd struct {
	target
	alwaysJSON
	Segment segmentName `arg:"" name:"space/segment" help:"Segment to describe."`
}

// Run writes the status as one line of JSON.
func (c *statusCmd) Run(s *session) error {
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	status, err := store.Status(s.ctx, c.Segment.space, c.Segment.segment)
	if err != nil {
		return missing(s, c.Segment, err)
	}
	return json.NewEncoder(s.stdout).Encode(status)
}

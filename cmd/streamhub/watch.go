package main

import (
	"context"
	"encoding/json"

	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

type watchCmd struct {
	target
	alwaysJSON
	Place placeName `arg:"" name:"space[/segment]" help:"Segment or space to watch."`
}

// Run writes one status a line until it is interrupted.
func (c *watchCmd) Run(s *session) error {
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	noteMissing(s, store, c.Place)
	updates := store.SubscribeSpace(s.ctx, c.Place.space)
	if c.Place.segment != "" {
		updates = store.SubscribeSegment(s.ctx, c.Place.space, c.Place.segment)
	}
	out := json.NewEncoder(s.stdout)
	for status, err := range updates {
		if err != nil {
			return interrupted(s.ctx, err)
		}
		if status.Heartbeat {
			continue // nothing changed
		}
		if err := out.Encode(status); err != nil {
			return err
		}
	}
	return context.Cause(s.ctx)
}

// interrupted returns the cause of the end of ctx, or err if ctx has not ended.
func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

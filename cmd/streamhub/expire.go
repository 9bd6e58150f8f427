package main

import (
	"encoding/json"
	"time"

	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

type expireCmd struct {
	target
	alwaysJSON
	Segment segmentName   `arg:"" name:"space/segment" help:"Segment that is to expire."`
	After   time.Duration `arg:"" name:"after" help:"When: 90s, 36h; 0 for never."`
}

// Run writes when the segment expires, in Unix milliseconds; 0 is never.
func (c *expireCmd) Run(s *session) error {
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	deadline, err := store.Expire(s.ctx, c.Segment.space, c.Segment.segment, c.After)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	return json.NewEncoder(s.stdout).Encode(struct {
		Space     string `json:"space"`
		Segment   string `json:"segment"`
		ExpiresAt int64  `json:"expires_at"`
	}{c.Segment.space, c.Segment.segment, millis.Of(deadline)})
}

package main

import (
	"encoding/json"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

// condition says whether a segment is open, or how it ended.
func condition(status *streamhub.Status) string {
	switch v := status.Verdict; {
	case v == nil:
		return "it is open"
	case v.Reason == "":
		return "it is closed as " + string(v.Kind)
	default:
		return "it is closed as " + string(v.Kind) + ": " + v.Reason
	}
}

type statusCmd struct {
	target
	alwaysJSON
	Segment segmentName `arg:"" name:"space/segment" help:"Segment to describe."`
}

// Run writes the status as one line of JSON. A segment that keeps no entry has none there, as with peek: what is to be
// said of it goes to standard error.
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
	if status.Empty() {
		return failedf("the segment %q of the space %q keeps no entry; %s", c.Segment.segment, c.Segment.space, condition(&status))
	}
	return json.NewEncoder(s.stdout).Encode(status)
}

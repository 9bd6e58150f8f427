package main

import (
	"errors"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

type peekCmd struct {
	target
	alwaysJSON
	Segment segmentName `arg:"" name:"space/segment" help:"Segment to look at."`
}

// Run writes the last entry as read --output jsonl does.
func (c *peekCmd) Run(s *session) error {
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	entry, err := store.Peek(s.ctx, c.Segment.space, c.Segment.segment)
	switch {
	case errors.Is(err, streamhub.ErrNotFound):
		return emptySegment(c.Segment)
	case err != nil:
		return interrupted(s.ctx, err)
	}
	line, err := appendJSONL(nil, &entry)
	if err != nil {
		return err
	}
	_, err = s.stdout.Write(line)
	return err
}

func emptySegment(n segmentName) error {
	return failedf("the segment %q of the space %q keeps no entry", n.segment, n.space)
}

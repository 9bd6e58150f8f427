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
	if errors.Is(err, streamhub.ErrNotFound) {
		if _, err = store.Status(s.ctx, c.Segment.space, c.Segment.segment); err == nil {
			return failedf("the segment %q of the space %q keeps no entry", c.Segment.segment, c.Segment.space)
		}
	}
	if err != nil {
		return missing(s, c.Segment, err)
	}
	line, err := appendJSONL(nil, &entry)
	if err != nil {
		return err
	}
	_, err = s.stdout.Write(line)
	return err
}

// missing returns the error of a command for one segment, which says whether the segment ever existed.
func missing(s *session, n segmentName, err error) error {
	var deleted *streamhub.DeletedError
	switch {
	case errors.As(err, &deleted):
		return failedf("the segment %q of the space %q was removed (%s)", n.segment, n.space, deleted.Verdict.Kind)
	case errors.Is(err, streamhub.ErrNotFound):
		return failedf("there is no segment %q in the space %q; streamhub ls %s lists what there is", n.segment, n.space, shellQuote(n.space))
	}
	return interrupted(s.ctx, err)
}

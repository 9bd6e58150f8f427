package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

type createCmd struct {
	target
	alwaysJSON
	Segment     segmentName   `arg:"" name:"space/segment" help:"Segment to create."`
	ContentType string        `placeholder:"T" help:"Content type of its entries, which every append that names one must name alike."`
	TTL         time.Duration `name:"ttl" placeholder:"D" help:"Time to live, renewed by appends; without it the segment stays until it is deleted."`
}

// Run writes the status of the new segment. One that is there with the same options is no error.
func (c *createCmd) Run(s *session) error {
	if c.TTL < 0 {
		return usagef("--ttl %v: want more than nothing", c.TTL)
	}
	return c.create(s, c.Segment, &streamhub.CreateOptions{ContentType: c.ContentType, TTL: c.TTL})
}

// create makes a segment and writes its status as one line of JSON.
func (t *target) create(s *session, at segmentName, options *streamhub.CreateOptions) error {
	store, done, err := t.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	status, created, err := store.Create(s.ctx, at.space, at.segment, options)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	if !created {
		s.note("the segment was there already, with these options")
	}
	return json.NewEncoder(s.stdout).Encode(status)
}

type forkCmd struct {
	target
	alwaysJSON
	From segmentName `arg:"" name:"space/segment" help:"Segment to fork."`
	To   segmentName `arg:"" name:"space/fork" help:"Segment to create, in the same space."`
	At   *uint64     `placeholder:"SEQ" help:"Last sequence that both have in common; the last one that there is if not given."`
}

// Run writes the status of the fork.
func (c *forkCmd) Run(s *session) error {
	if c.From.space != c.To.space {
		return usagef("a fork shares entries with the segment that it is made of, so it is in the same space: write %s/%s", c.From.space, c.To.segment)
	}
	if c.At != nil && *c.At > streamhub.MaxInteger {
		return usagef("--at %d is larger than any sequence", *c.At)
	}
	return c.create(s, c.To, &streamhub.CreateOptions{ForkOf: c.From.segment, ForkAt: c.At})
}

type trimCmd struct {
	target
	alwaysJSON
	yesFlag
	Segment segmentName `arg:"" name:"space/segment" help:"Segment to trim."`
	To      uint64      `required:"" placeholder:"SEQ" help:"Last sequence to remove."`
}

// Run writes the first sequence that is kept.
func (c *trimCmd) Run(s *session) error {
	if c.To == 0 || c.To > streamhub.MaxInteger {
		return usagef("--to %d: sequences begin with 1 and stay below 2^53", c.To)
	}
	if err := c.confirm(s, "remove the entries up to sequence %d of %s", c.To, c.Segment); err != nil {
		return err
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	kept, err := store.Trim(s.ctx, c.Segment.space, c.Segment.segment, c.To)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	if kept <= c.To {
		// It may also be that there is none of them.
		status, err := store.Status(s.ctx, c.Segment.space, c.Segment.segment)
		if err == nil && status.LastSequence >= kept {
			s.note("entries %d to %d stay: they were appended together with later ones", kept, min(c.To, status.LastSequence))
		}
	}
	return json.NewEncoder(s.stdout).Encode(struct {
		Space     string `json:"space"`
		Segment   string `json:"segment"`
		FirstKept uint64 `json:"first_kept"`
	}{c.Segment.space, c.Segment.segment, kept})
}

type closeCmd struct {
	target
	alwaysJSON
	Segment segmentName `arg:"" name:"space/segment" help:"Segment to close."`
	Verdict string      `default:"done" enum:"done,failed,cancelled,lost,superseded" placeholder:"KIND" help:"How it ended: done, failed, cancelled, lost or superseded."`
	Reason  string      `help:"Reason, for people."`
}

// Run writes the verdict and where the segment ends.
func (c *closeCmd) Run(s *session) error {
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	verdict := streamhub.Verdict{Kind: streamhub.VerdictKind(c.Verdict), Reason: c.Reason}
	result, err := store.CloseSegment(s.ctx, c.Segment.space, c.Segment.segment, verdict, &streamhub.AppendOptions{MustExist: true})
	var closed *streamhub.ClosedError
	if errors.As(err, &closed) {
		return failedf("the segment %q of the space %q was closed before, as %s; streamhub status %s says more", c.Segment.segment, c.Segment.space, closed.Verdict.Kind, shellQuote(c.Segment.String()))
	}
	if err != nil {
		return missing(s, c.Segment, err)
	}
	return json.NewEncoder(s.stdout).Encode(struct {
		Space        string            `json:"space"`
		Segment      string            `json:"segment"`
		LastSequence uint64            `json:"last_sequence"`
		Verdict      streamhub.Verdict `json:"verdict"`
		Cursor       streamhub.Cursor  `json:"cursor"`
	}{c.Segment.space, c.Segment.segment, result.Last, verdict, result.Cursor()})
}

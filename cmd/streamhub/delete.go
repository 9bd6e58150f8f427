package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/operate"
)

// deletesAtOnce is how many segments are deleted at the same time.
const deletesAtOnce = 32

type deleteCmd struct {
	target
	alwaysJSON
	yesFlag
	Place  *placeName `arg:"" optional:"" name:"space[/segment]" help:"Segment to delete, or space to delete all segments of; without it, --store names a store to remove with all that it has, in the archive too."`
	Reason string     `help:"Reason, for people that read the segment."`
}

// A deletion is what a run of the command has removed, its last line on standard output.
type deletion struct {
	Store    string `json:"store,omitempty"`
	Space    string `json:"space,omitempty"`
	Segment  string `json:"segment,omitempty"`
	Segments int    `json:"segments"`

	*operate.Purged // of a store
}

// Run deletes and reports how much it has deleted, even if it fails before the end.
func (c *deleteCmd) Run(s *session) error {
	what := fmt.Sprintf("delete everything of the store %v: what Redis and the archive hold, leases and subscriptions", c.Store)
	switch {
	case c.Place == nil && !s.given("store"):
		return usagef("name a space, a segment, or a store with --store")
	case c.Place != nil && c.Place.segment == "":
		what = fmt.Sprintf("delete every segment of the space %q", c.Place.space)
	case c.Place != nil:
		what = fmt.Sprintf("delete the segment %q of the space %q", c.Place.segment, c.Place.space)
	}
	if err := c.confirm(s, "%s", what); err != nil {
		return err
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	done = sync.OnceFunc(done)
	defer done()
	gone := deletion{}
	switch {
	case c.Place == nil:
		gone.Store = c.Store.String()
		if err = c.deleteStore(s, store, &gone); err == nil {
			done() // closes the archive, which only one program at a time can open
			gone.Purged, err = c.purge(s)
		}
	case c.Place.segment == "":
		gone.Space = c.Place.space
		err = c.deleteSpace(s, store, c.Place.space, &gone)
		if err == nil && gone.Segments == 0 {
			return c.nothing(s.ctx, store)
		}
	default:
		gone.Space, gone.Segment = c.Place.space, c.Place.segment
		if err = store.Delete(s.ctx, gone.Space, gone.Segment, c.Reason); err == nil {
			gone.Segments = 1
		}
	}
	if gone.Segments > 0 || err == nil {
		err = errors.Join(err, json.NewEncoder(s.stdout).Encode(gone))
	}
	if err != nil && !unread(err) {
		return interrupted(s.ctx, err)
	}
	return err
}

// nothing returns an error if the space never existed, as opposed to one without segments.
func (c *deleteCmd) nothing(ctx context.Context, store *client.Store) error {
	end, err := store.SpaceEnd(ctx, c.Place.space)
	if err == nil && end == "" {
		err = failedf("delete %q: %w: there is no such space, and never was; streamhub ls lists what there is", c.Place.space, streamhub.ErrNotFound)
	}
	if err == nil {
		err = failedf("the space %q has no segments; streamhub ls lists what there is", c.Place.space)
	}
	return err
}

func (c *deleteCmd) deleteStore(s *session, store *client.Store, gone *deletion) error {
	for space, err := range store.Spaces(s.ctx) {
		if err != nil {
			return err
		}
		if err := c.deleteSpace(s, store, space, gone); err != nil {
			return err
		}
	}
	return nil
}

// purge removes the rest of a store after its segments.
func (c *deleteCmd) purge(s *session) (*operate.Purged, error) {
	ops, done, err := c.operationsWith(s, &c.archiveFlag)
	if err != nil {
		return nil, err
	}
	defer done()
	purged, err := ops.Purge(s.ctx, c.Store)
	return &purged, err
}

// deleteSpace deletes the segments that the space has when it comes to them.
func (c *deleteCmd) deleteSpace(s *session, store *client.Store, space string, gone *deletion) error {
	group, ctx := errgroup.WithContext(s.ctx)
	results := make(chan bool, deletesAtOnce)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		bar := s.progress(true, "segments", -1)
		for range results {
			gone.Segments++
			bar.add(1)
		}
		bar.finish()
	}()
	group.SetLimit(deletesAtOnce)
	group.Go(func() error {
		for segment, err := range store.Segments(ctx, space) {
			if err != nil {
				return err
			}
			group.Go(func() error {
				switch err := store.Delete(ctx, space, segment, c.Reason); {
				case errors.Is(err, streamhub.ErrNotFound): // it has expired meanwhile, or another program deleted it first
				case err != nil:
					return err
				default:
					results <- true
				}
				return nil
			})
		}
		return nil
	})
	err := group.Wait()
	close(results)
	<-counted
	return err
}

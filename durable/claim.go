package durable

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// claimPatience is how long a claim waits for the waker to begin a wake.
const claimPatience = 300 * time.Millisecond

// A wakeStream describes a stream of a wake to the worker.
type wakeStream struct {
	Path string `json:"path"`
	Type string `json:"link_type"`
	// Acked is the offset up to which the stream was handled; Tail is its current end.
	Acked   offset `json:"acked_offset"`
	Tail    offset `json:"tail_offset"`
	Pending bool   `json:"has_pending"`

	tip tip
}

// look returns the current state of the streams of a wake. Streams that no longer exist are left out.
func (o *root) look(ctx context.Context, s *subscription, paths []string) ([]wakeStream, error) {
	// Not nil, because JSON must have an empty array and not null.
	found := []wakeStream{}
	for _, path := range paths {
		stream, err := o.stream(path)
		if err != nil {
			return nil, err
		}
		status, err := o.store.Status(ctx, stream.space, stream.segment)
		if errors.Is(err, streamhub.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, tip := s.links[path], tipOf(&status)
		item := wakeStream{Path: path, Type: l.kind(), Tail: tip.offset, Pending: l.pending(tip), tip: tip}
		held, err := stream.holds(ctx, l, &status)
		if err != nil {
			return nil, err
		}
		if held { // otherwise the worker starts from the beginning
			item.Acked = l.Acked
		}
		found = append(found, item)
	}
	return found, nil
}

// holds reports whether the acknowledged offset is still a position in the stream. If it is not, after a failover or
// because a new stream has the name, the whole stream is to be handled. With an unchanged lineage nothing can have been
// lost, which saves a read.
func (s *stream) holds(ctx context.Context, l *link, status *streamhub.Status) (bool, error) {
	switch {
	case l == nil || l.Acked.start() || l.Acked.life != lifeOf(status):
		return false, nil
	case l.Lineage != 0 && l.Lineage == status.Position.Lineage && l.Acked.sequence <= status.LastSequence:
		return true, nil
	}
	return s.proven(ctx, l.Acked, status)
}

// claim gives the wake in flight to a worker, or begins one if a stream has grown. If two workers claim at once, the
// register refuses one of the two steps, and that worker then finds the wake held.
func (c *subscriptionCall) claim(r *http.Request) (any, int, error) {
	ctx := r.Context()
	var body struct {
		Worker string `json:"worker"`
	}
	if err := input(r, &body); err != nil {
		return nil, 0, err
	}
	if body.Worker == "" || len(body.Worker) > streamhub.MaxNameLength {
		return nil, 0, invalidRequest("worker is a name")
	}
	var claimed *subscription
	take := func(s *subscription) (map[string]*link, error) {
		claimed = s
		switch {
		case s.Config.Type != pullKind:
			return nil, invalidRequest("only a pull-wake subscription is claimed")
		case s.Held:
			return nil, &subscriptionError{status: http.StatusConflict, code: "ALREADY_CLAIMED", message: "a worker has the wake", holder: s.Holder}
		case s.Wake == "":
			pending, err := c.pending(ctx, s)
			if err != nil {
				return nil, err
			}
			if len(pending) == 0 {
				return nil, errNoWork
			}
			s.rise(pending)
		}
		s.hold(body.Worker)
		return nil, nil
	}
	err := c.edit(ctx, take)
	if errors.Is(err, errNoWork) && c.awaitWake(ctx, claimed) {
		err = c.edit(ctx, take)
	}
	if err != nil {
		return nil, 0, err
	}
	g, err := c.signer(ctx)
	if err != nil {
		return nil, 0, err
	}
	streams, err := c.root.look(ctx, claimed, claimed.Streams)
	if err != nil {
		return nil, 0, err
	}
	return map[string]any{
		"wake_id": claimed.Wake, "generation": claimed.Generation, "lease_ttl_ms": claimed.Config.LeaseMS, "streams": streams,
		"token": g.token(c.register, c.id, claimed.Generation, claimed.Wake),
	}, http.StatusOK, nil
}

// pending looks for streams with unhandled entries. It checks at most 256 links, because a claim must not read every
// stream of a large subscription. The order of a map is random, so a repeated claim checks other links.
func (c *subscriptionCall) pending(ctx context.Context, s *subscription) ([]string, error) {
	var paths []string
	for path := range s.links {
		if paths = append(paths, path); len(paths) == wakeStreams {
			break
		}
	}
	streams, err := c.root.look(ctx, s, paths)
	paths = nil
	for _, item := range streams {
		if item.Pending {
			paths = append(paths, item.Path)
		}
	}
	return paths, err
}

// awaitWake waits up to claimPatience for a step of the waker. Only the gateway that runs the waker checks every
// stream; this one has checked some of them.
func (c *subscriptionCall) awaitWake(ctx context.Context, s *subscription) bool {
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for _, err := range c.register.log.FollowSegment(ctx, c.register.space, c.id, &streamhub.FollowOptions{FromSequence: s.sequence + 1}) {
		return err == nil
	}
	return false
}

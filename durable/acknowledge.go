package durable

import (
	"context"
	"net/http"
	"slices"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// acknowledge handles a request of a worker, or of the receiver of a webhook, about its wake: acks, done, or release.
// The token is checked before the body is read. A request for a wake that has ended is refused as fenced.
func (c *subscriptionCall) acknowledge(r *http.Request, action string) (any, int, error) {
	ctx := r.Context()
	var body struct {
		Wake       string `json:"wake_id"`
		Generation uint64 `json:"generation"`
		Done       bool   `json:"done"`
		Acks       []struct {
			Stream string `json:"stream"`
			Path   string `json:"path"`
			Offset string `json:"offset"`
		} `json:"acks"`
	}
	g, err := c.knownSigner(ctx)
	if err != nil {
		return nil, 0, err
	}
	if g == nil {
		return nil, 0, errToken // without a signer no wake was ever made
	}
	generation, wake, ok := g.checks(auth.Bearer(r), c.register, c.id)
	if !ok {
		return nil, 0, errToken // before the body is read
	}
	if err := input(r, &body); err != nil {
		return nil, 0, err
	}
	// The body repeats the wake of the token. The token must not acknowledge another wake.
	if body.Generation != generation || body.Wake != wake {
		return nil, 0, errToken
	}
	next := false
	err = c.edit(ctx, func(s *subscription) (map[string]*link, error) {
		if !s.Held || s.Generation != body.Generation || s.Wake != body.Wake {
			return nil, errFenced
		}
		if action == "release" {
			s.idle()
			return nil, nil
		}
		acked := map[string]*link{}
		for _, a := range body.Acks {
			path, err := c.ack(ctx, s, a.Stream+a.Path, a.Offset, acked)
			if err != nil {
				return nil, err
			}
			// look, below, reads s.links, so they must include the acks of this request.
			s.links[path] = acked[path]
		}
		if !body.Done {
			return acked, nil // saves the acks and restarts the lease
		}
		left, err := c.root.look(ctx, s, s.Streams)
		if err != nil {
			return nil, err
		}
		next = slices.ContainsFunc(left, func(item wakeStream) bool { return item.Pending })
		s.idle()
		return acked, nil
	})
	if err != nil || action == "release" {
		return nil, http.StatusNoContent, err
	}
	return map[string]bool{"ok": true, "next_wake": next}, http.StatusOK, nil
}

// ack acknowledges a stream up to an offset. The offset must belong to this stream. It must not go back, unless the
// history up to the earlier acknowledged offset is lost.
func (c *subscriptionCall) ack(ctx context.Context, s *subscription, path, text string, acked map[string]*link) (string, error) {
	if !slices.Contains(s.Streams, path) { // the path of a stream may end with a slash, so it is compared as it is
		path = trimPath(path)
	}
	stream, err := c.root.stream(path)
	if err != nil {
		return "", invalidRequest("an ack names no stream")
	}
	path = pathOf(stream.space, stream.segment)
	if !s.linked(path) {
		return "", invalidRequest("an ack is for a stream that is not one of the subscription's")
	}
	at, err := parseOffset(text)
	if err != nil {
		return "", errInvalid
	}
	status, err := c.root.store.Status(ctx, stream.space, stream.segment)
	if err != nil {
		return "", err
	}
	had := s.links[path]
	if at.start() {
		at.life = lifeOf(&status)
	}
	proven, err := stream.proven(ctx, at, &status)
	if err != nil {
		return "", err
	}
	back := had != nil && had.Acked.life == at.life && at.sequence < had.Acked.sequence
	if back { // going back is allowed if that history was lost
		if back, err = stream.holds(ctx, had, &status); err != nil {
			return "", err
		}
	}
	if !proven || back {
		return "", errInvalid
	}
	acked[path] = &link{Acked: at, Lineage: status.Position.Lineage, Explicit: had != nil && had.Explicit}
	return path, nil
}

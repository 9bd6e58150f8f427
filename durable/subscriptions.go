package durable

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A subscriptionCall is one request about a subscription. Each method returns a body, which becomes JSON, and a status,
// or an error. It changes the subscription only by a step in the register; the waker, on any gateway, reads that step.
type subscriptionCall struct {
	*Handler
	root     *root
	register register
	id       string
}

// put creates a subscription, or confirms that one with the same configuration exists.
func (c *subscriptionCall) put(r *http.Request) (any, int, error) {
	var text json.RawMessage
	if err := input(r, &text); err != nil {
		return nil, 0, err
	}
	config, err := parseSubscription(text, c.opt.LoopbackWebhooks)
	if err != nil {
		return nil, 0, err
	}
	status := http.StatusOK
	var found *subscription
	err = c.register.change(r.Context(), c.id, func(s *subscription) (map[string]*link, error) {
		found = s
		if s.sequence > 0 && !s.Deleted {
			if !s.Config.equal(&config) {
				return nil, errExists
			}
			// It exists with the same configuration: this is a repeat, perhaps after a lost reply.
			return nil, errSame
		}
		status = http.StatusCreated
		s.begins = true
		s.core = core{Config: config, Root: c.root.base + c.root.path, Created: time.Now().UnixMilli(), Generation: s.Generation}
		return c.initial(r.Context(), &config)
	})
	if err != nil {
		return nil, 0, err
	}
	c.wakes.nudge()
	answer, err := c.describe(r.Context(), found)
	return answer, status, err
}

// initial returns a link for each existing stream that the subscription names or matches. The links count as handled up
// to the current end: a subscription only covers later appends.
func (c *subscriptionCall) initial(ctx context.Context, config *subscriptionConfig) (map[string]*link, error) {
	links := map[string]*link{}
	add := func(space, segment, path string, explicit bool) error {
		status, err := c.root.store.Status(ctx, space, segment)
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
		l := &link{Explicit: explicit}
		if err == nil {
			l.Acked, l.Lineage = tailOf(&status), status.Position.Lineage
		}
		links[path] = l
		return nil
	}
	spaces, all := config.spaces()
	if all {
		for space, err := range c.root.store.Spaces(ctx) {
			if err != nil {
				return nil, err
			}
			spaces = append(spaces, space)
		}
	}
	for _, space := range spaces {
		for segment, err := range c.root.store.Segments(ctx, space) {
			if err != nil {
				return nil, err
			}
			if path, ok := wakeable(space, segment); ok && config.matches(path) {
				if err := add(space, segment, path, false); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, path := range config.Streams {
		s, err := c.root.stream(path)
		if err != nil {
			return nil, err
		}
		if err := add(s.space, s.segment, pathOf(s.space, s.segment), true); err != nil {
			return nil, err
		}
	}
	return links, nil
}

// existing loads a subscription, and returns errNone if there is none.
func (c *subscriptionCall) existing(ctx context.Context) (*subscription, error) {
	s, err := c.register.load(ctx, c.id)
	if err == nil && (s.sequence == 0 || s.Deleted) {
		err = errNone
	}
	return s, err
}

// edit changes an existing subscription. change may run several times, because a concurrent step may be stored first.
func (c *subscriptionCall) edit(ctx context.Context, change func(s *subscription) (map[string]*link, error)) error {
	return c.register.change(ctx, c.id, func(s *subscription) (map[string]*link, error) {
		if s.sequence == 0 || s.Deleted {
			return nil, errNone
		}
		return change(s)
	})
}

func (c *subscriptionCall) get(ctx context.Context) (any, int, error) {
	s, err := c.existing(ctx)
	if err != nil {
		return nil, 0, err
	}
	answer, err := c.describe(ctx, s)
	return answer, http.StatusOK, err
}

// describe returns the description of a subscription for clients.
func (c *subscriptionCall) describe(ctx context.Context, s *subscription) (map[string]any, error) {
	type linked struct {
		Path  string `json:"path"`
		Type  string `json:"link_type"`
		Acked offset `json:"acked_offset"`
	}
	streams := make([]linked, 0, len(s.links))
	for path, l := range s.links {
		streams = append(streams, linked{path, l.kind(), l.Acked})
	}
	slices.SortFunc(streams, func(a, b linked) int { return strings.Compare(a.Path, b.Path) })
	answer := map[string]any{
		"id": c.id, "type": s.Config.Type, "streams": streams, "lease_ttl_ms": s.Config.LeaseMS,
		"status": s.status(), "created_at": millis.Time(s.Created).Format(time.RFC3339Nano),
	}
	for name, value := range map[string]string{"pattern": s.Config.Pattern, "wake_stream": s.Config.WakeStream, "description": s.Config.Description} {
		if value != "" {
			answer[name] = value
		}
	}
	if s.Config.Webhook != nil {
		g, err := c.signer(ctx)
		if err != nil {
			return nil, err
		}
		answer["webhook"] = map[string]any{
			"url":     s.Config.Webhook.URL,
			"signing": map[string]string{"alg": "ed25519", "kid": g.kid, "jwks_url": c.root.url(reserved + "/jwks.json")},
		}
	}
	return answer, nil
}

// delete stores a step that marks the subscription as deleted. It keeps the generation: a subscription that is created
// again under this id continues the count, so that tokens of the old one are fenced.
func (c *subscriptionCall) delete(ctx context.Context) (any, int, error) {
	err := c.edit(ctx, func(s *subscription) (map[string]*link, error) {
		s.core = core{Deleted: true, Generation: s.Generation}
		return nil, nil
	})
	if errors.Is(err, errNone) {
		err = nil
	}
	return nil, http.StatusNoContent, err
}

// addStreams adds streams to a subscription by name. A stream that was linked before keeps its acknowledged offset.
func (c *subscriptionCall) addStreams(r *http.Request) (any, int, error) {
	var body struct {
		Streams []string `json:"streams"`
	}
	if err := input(r, &body); err != nil {
		return nil, 0, err
	}
	if len(body.Streams) == 0 || len(body.Streams) > maxExplicit {
		return nil, 0, invalidRequest("streams is an array of 1 to 1000 paths")
	}
	for i, path := range body.Streams {
		body.Streams[i] = trimPath(path)
	}
	links, err := c.initial(r.Context(), &subscriptionConfig{Streams: body.Streams})
	if err != nil {
		return nil, 0, err
	}
	err = c.edit(r.Context(), func(s *subscription) (map[string]*link, error) {
		for path, l := range links {
			if had := s.links[path]; had != nil {
				l.Acked, l.Lineage = had.Acked, had.Lineage
			}
		}
		return links, nil
	})
	return nil, http.StatusNoContent, err
}

// unlink removes a stream that was added by name. A stream that the pattern also matches stays linked.
func (c *subscriptionCall) unlink(ctx context.Context, path string) (any, int, error) {
	stream, err := c.root.stream(path)
	if err != nil {
		return nil, 0, err
	}
	path = pathOf(stream.space, stream.segment)
	err = c.edit(ctx, func(s *subscription) (map[string]*link, error) {
		l := s.links[path]
		switch {
		case l == nil || !l.Explicit:
			return nil, errSame
		case s.Config.matches(path):
			return map[string]*link{path: {Acked: l.Acked, Lineage: l.Lineage}}, nil
		}
		return map[string]*link{path: nil}, nil
	})
	return nil, http.StatusNoContent, err
}

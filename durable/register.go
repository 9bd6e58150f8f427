package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// registerStore holds the subscriptions of every store, in a space each. It is a store of its own
// that no transport serves, so that no scope gives its keys away.
var registerStore = auth.Internal

// A register holds the subscriptions of one store. Each is a segment, and each entry of it one step;
// a step names the sequence that it wants to be, so of two that were made at once one is refused.
type register struct {
	log   *hub.Store
	space string
}

func (d *Handler) register(store uuid.UUID) register { return registerOf(d.hub, store) }

func registerOf(h *hub.Hub, store uuid.UUID) register {
	return register{h.Store(registerStore), store.String()}
}

// A step is what an entry holds.
type step struct {
	core
	// Whole says that what lies before does not count. A whole step may be of several entries:
	// the first says so.
	Whole bool             `json:"whole,omitempty"`
	Links map[string]*link `json:"links,omitempty"` // null removes one
}

var (
	// errMoved says that another step came first.
	errMoved = errors.New("the subscription has changed meanwhile")
	errNone  = &subscriptionError{code: "SUBSCRIPTION_NOT_FOUND", status: 404, message: "there is no such subscription"}
)

// load returns a subscription, which may be a deleted one. One that never was is empty.
func (r register) load(ctx context.Context, id string) (*subscription, error) {
	s := &subscription{links: map[string]*link{}}
	return s, r.update(ctx, id, s)
}

// update brings s up to date.
func (r register) update(ctx context.Context, id string, s *subscription) error {
	for {
		err := r.fold(ctx, id, s)
		switch {
		case errors.Is(err, streamhub.ErrTrimmed), errors.Is(err, streamhub.ErrNotFound) && s.sequence > 0:
			*s = subscription{links: map[string]*link{}} // begin where it begins now
		case errors.Is(err, streamhub.ErrNotFound):
			return nil
		default:
			return err
		}
	}
}

func (r register) fold(ctx context.Context, id string, s *subscription) error {
	var from uint64
	if s.sequence > 0 {
		from = s.sequence + 1
	}
	for e, err := range r.log.ConsumeSegment(ctx, r.space, id, &streamhub.ReadOptions{FromSequence: from}) {
		if err != nil {
			return err
		}
		var next step
		if err := json.Unmarshal(e.Payload, &next); err != nil {
			return fmt.Errorf("%w: subscription %q: %w", streamhub.ErrCorrupt, id, err)
		}
		if next.Whole {
			clear(s.links)
			s.since = e.Sequence
		}
		s.core, s.sequence = next.core, e.Sequence
		for path, l := range next.Links {
			if l == nil {
				delete(s.links, path)
			} else {
				s.links[path] = l
			}
		}
	}
	return nil
}

const (
	// wholeEvery is after how many steps one has everything, so that what lies before can go.
	wholeEvery = 128
	// stepLinks is how many links an entry holds at most.
	stepLinks = 2000
)

// save makes a step: the core of s as it is now and the links that changed. s is then what Redis
// holds; after an error it has to be loaded again.
func (r register) save(ctx context.Context, id string, s *subscription, changed map[string]*link) error {
	for path, l := range changed {
		if l == nil {
			delete(s.links, path)
		} else {
			s.links[path] = l
		}
	}
	whole := s.sequence == 0 || s.sequence-s.since >= wholeEvery || s.Deleted
	if s.Deleted {
		clear(s.links)
	}
	if whole {
		changed = s.links
	}
	records, err := steps(&s.core, whole, changed)
	if err != nil {
		return err
	}
	result, err := r.log.Append(ctx, r.space, id, records, &streamhub.AppendOptions{ExpectedSequence: s.sequence + 1})
	if errors.Is(err, streamhub.ErrSequenceMismatch) {
		return errMoved
	}
	if err != nil && !errors.Is(err, streamhub.ErrNotConfirmed) {
		return err
	}
	s.sequence = result.Last
	if whole {
		s.since = result.First
		// What stays is read over; it goes with the next one.
		_, _ = r.log.Trim(ctx, r.space, id, result.First-1)
	}
	return nil
}

func steps(c *core, whole bool, links map[string]*link) ([]streamhub.Record, error) {
	var records []streamhub.Record
	add := func(part map[string]*link) error {
		payload, err := json.Marshal(step{core: *c, Whole: whole && len(records) == 0, Links: part})
		records = append(records, streamhub.Record{Payload: payload})
		return err
	}
	part := make(map[string]*link, min(len(links), stepLinks))
	for path, l := range maps.All(links) {
		if part[path] = l; len(part) == stepLinks {
			if err := add(part); err != nil {
				return nil, err
			}
			part = map[string]*link{}
		}
	}
	if len(part) > 0 || len(records) == 0 {
		if err := add(part); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// change loads a subscription and saves what edit makes of it, again until no other step came
// between. edit returns the links that change; errSame leaves everything as it is.
func (r register) change(ctx context.Context, id string, edit func(s *subscription) (map[string]*link, error)) error {
	for {
		s, err := r.load(ctx, id)
		if err != nil {
			return err
		}
		changed, err := edit(s)
		if errors.Is(err, errSame) {
			return nil
		}
		if err == nil {
			err = r.save(ctx, id, s, changed)
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

var errSame = errors.New("nothing changes")

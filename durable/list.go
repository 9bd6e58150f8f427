package durable

import (
	"context"
	"errors"
	"iter"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/fault"
)

// A Subscription describes one subscription to operators. Unlike the description that clients get, it says why
// deliveries failed.
type Subscription struct {
	ID string `json:"id"`
	// Type is webhook or pull-wake.
	Type        string `json:"type"`
	Pattern     string `json:"pattern,omitempty"`
	Webhook     string `json:"webhook,omitempty"`
	WakeStream  string `json:"wake_stream,omitempty"`
	Description string `json:"description,omitempty"`
	// Status is the state in the terms of the protocol; Holder is the worker that has the wake in
	// flight.
	Status string `json:"status"`
	Holder string `json:"holder,omitempty"`
	// Created is in Unix milliseconds. Wakes counts all wakes so far.
	Created int64  `json:"created_at"`
	Wakes   uint64 `json:"wakes"`
	// Failures counts the failed deliveries of the wake in flight. Failure is the error of the last
	// one and FailedAt its time, in Unix milliseconds.
	Failures int    `json:"failures"`
	Failure  string `json:"failure,omitempty"`
	FailedAt int64  `json:"failed_at,omitempty"`
	// Streams holds the acknowledged offset of each stream, by path; only [FindSubscription] fills
	// it.
	Streams map[string]string `json:"streams,omitempty"`
}

// Subscriptions lists the subscriptions of a store in the byte order of their ids. It reads the
// whole state of each one.
func Subscriptions(ctx context.Context, h *hub.Hub, store uuid.UUID) iter.Seq2[Subscription, error] {
	return func(yield func(Subscription, error) bool) {
		r := registerOf(h, store)
		for id, err := range r.log.Segments(ctx, r.space) {
			var s *subscription
			if err == nil {
				s, err = r.load(ctx, id)
			}
			if err != nil {
				yield(Subscription{}, err)
				return
			}
			if s.sequence == 0 || s.Deleted {
				continue
			}
			if !yield(s.public(id), nil) {
				return
			}
		}
	}
}

// FindSubscription returns a subscription of a store with its streams, or [streamhub.ErrNotFound].
func FindSubscription(ctx context.Context, h *hub.Hub, store uuid.UUID, id string) (Subscription, error) {
	s, err := registerOf(h, store).load(ctx, id)
	if err == nil && (s.sequence == 0 || s.Deleted) {
		err = fault.At(streamhub.Error{Op: "subscription " + id, Store: store}, streamhub.ErrNotFound)
	}
	if err != nil {
		return Subscription{}, err
	}
	found := s.public(id)
	found.Streams = make(map[string]string, len(s.links))
	for path, l := range s.links {
		text, err := l.Acked.MarshalText()
		if err != nil {
			return Subscription{}, err
		}
		found.Streams[path] = string(text)
	}
	return found, nil
}

// RemoveSubscription deletes a subscription of a store, as a client can, or returns
// [streamhub.ErrNotFound]. It cancels a wake in flight.
func RemoveSubscription(ctx context.Context, h *hub.Hub, store uuid.UUID, id string) error {
	err := registerOf(h, store).change(ctx, id, func(s *subscription) (map[string]*link, error) {
		if s.sequence == 0 || s.Deleted {
			return nil, errNone
		}
		s.core = core{Deleted: true, Generation: s.Generation}
		return nil, nil
	})
	if errors.Is(err, errNone) {
		err = fault.At(streamhub.Error{Op: "remove subscription " + id, Store: store}, streamhub.ErrNotFound)
	}
	return err
}

// RemoveSubscriptions deletes the subscriptions of a store as [RemoveSubscription] does, and returns how
// many there were.
func RemoveSubscriptions(ctx context.Context, h *hub.Hub, store uuid.UUID) (removed int, err error) {
	for s, err := range Subscriptions(ctx, h, store) {
		if err != nil {
			return removed, err
		}
		switch err := RemoveSubscription(ctx, h, store, s.ID); {
		case errors.Is(err, streamhub.ErrNotFound): // another caller has removed it
		case err != nil:
			return removed, err
		default:
			removed++
		}
	}
	return removed, nil
}

func (s *subscription) public(id string) Subscription {
	p := Subscription{
		ID: id, Type: s.Config.Type, Pattern: s.Config.Pattern, WakeStream: s.Config.WakeStream, Description: s.Config.Description,
		Status: s.status(), Holder: s.Holder, Created: s.Created, Wakes: s.Generation,
		Failures: s.Failures, Failure: s.Failure, FailedAt: s.FailedAt,
	}
	if s.Config.Webhook != nil {
		p.Webhook = s.Config.Webhook.URL
	}
	return p
}

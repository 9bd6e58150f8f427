// Package eskit stores the events of aggregates through package client, as streamkit's package of this name does: the
// tenant of an entity is its store, the area its space, and the id its segment. A payload is an envelope {"$type": …,
// "content": …}, so each of the two can read the events that the other has stored.
//
// streamkit's eskit implements an interface of another library, whose types this module does not link. [Store] has the
// same methods over any types: [New] makes one that implements the interface of that library, and [NewStreamStore] one
// over the types of this package.
package eskit

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/eventsource/streamkit"
)

// An Entity names an aggregate.
type Entity struct {
	ID       uuid.UUID `json:"id"`
	Area     string    `json:"area"`
	TenantID uuid.UUID `json:"tenant_id"`
}

// A DomainEvent is one event of an aggregate. Events are encoded with encoding/json.
type DomainEvent interface {
	// GetDiscriminator is the $type of the envelope.
	GetDiscriminator() string
	// GetSequence is the sequence of the event in its aggregate, 1 for the first event.
	GetSequence() uint64
}

// A Sequenced is an event that knows its sequence, as [Store] needs.
type Sequenced interface{ GetSequence() uint64 }

// Types say how the entities and events of another library are stored; all three functions are required.
type Types[E any, D Sequenced] struct {
	// Place returns where the events of an entity are stored.
	Place func(entity E) (tenant uuid.UUID, area, id string)
	// Encode and Decode convert the whole payload, envelope included.
	Encode func(event D) ([]byte, error)
	Decode func(payload []byte) (D, error)
}

// A Store loads and saves events. It is safe for concurrent use.
type Store[E any, D Sequenced] struct {
	client client.Client
	types  Types[E, D]
}

// A StreamStore is a [Store] of the types of this package.
type StreamStore = Store[Entity, DomainEvent]

// New returns a store over the types of a library. It implements the interface of that library if its methods are
// SaveEvents and LoadEvents.
func New[E any, D Sequenced](c client.Client, types Types[E, D]) *Store[E, D] {
	return &Store[E, D]{c, types}
}

// NewStreamStore returns a store. Each function returns a pointer to a new event of one type, whose
// discriminator names the type.
func NewStreamStore(c client.Client, types ...func() DomainEvent) *StreamStore {
	makers := map[string]func() DomainEvent{}
	for _, function := range types {
		makers[function().GetDiscriminator()] = function
	}
	codec, wrong := streamkit.NewCodec(makers)
	return New(c, Types[Entity, DomainEvent]{
		Place: func(e Entity) (uuid.UUID, string, string) { return e.TenantID, e.Area, e.ID.String() },
		Encode: func(event DomainEvent) ([]byte, error) {
			if wrong != nil {
				return nil, wrong
			}
			payload, _, err := codec.Encode(event)
			return payload, err
		},
		Decode: func(payload []byte) (DomainEvent, error) {
			if wrong != nil {
				return nil, wrong
			}
			return codec.Decode(payload, nil)
		},
	})
}

// LoadEvents returns the events of an entity from minSequence on, all of them if that is 0. An entity that does not
// exist has no events. An event that cannot be decoded gives an error: skipping it would give a wrong state.
func (s *Store[E, D]) LoadEvents(ctx context.Context, entity E, minSequence uint64) (events []D, err error) {
	tenant, area, id := s.types.Place(entity)
	entries := s.client.ConsumeSegment(ctx, tenant, &client.ConsumeSegment{Space: area, Segment: id, MinSequence: minSequence})
	defer entries.Dispose()
	for entries.MoveNext() {
		entry, err := entries.Current()
		if err != nil {
			return nil, err
		}
		event, err := s.types.Decode(entry.Payload)
		if err != nil {
			return nil, fmt.Errorf("event %d of %q in %q: %w", entry.Sequence, id, area, err)
		}
		events = append(events, event)
	}
	return events, entries.Err()
}

// SaveEvents appends events to an entity whose last event has expectedSequence, 0 if it has none. The events name the
// sequences after that. If the entity has another last event, the error is [streamhub.ErrSequenceMismatch] and nothing
// is stored. If there are more than 10,000 events or 1 MiB, they are stored in several appends, so after any other
// error a part may be stored.
func (s *Store[E, D]) SaveEvents(ctx context.Context, entity E, events []D, expectedSequence uint64) error {
	if len(events) == 0 {
		return nil
	}
	tenant, area, id := s.types.Place(entity)
	records := make([]client.Record, len(events))
	for i, event := range events {
		want := expectedSequence + 1 + uint64(i)
		if have := event.GetSequence(); have != want {
			return fmt.Errorf("%w: event %d of a save to %q in %q has sequence %d, not %d", streamhub.ErrInvalidArgument, i, id, area, have, want)
		}
		payload, err := s.types.Encode(event)
		if err != nil {
			return fmt.Errorf("event %d of %q in %q: %w", want, id, area, err)
		}
		records[i] = client.Record{Sequence: want, Payload: payload}
	}
	statuses := s.client.Produce(ctx, tenant, area, id, client.NewEnumerator(func(yield func(*client.Record, error) bool) {
		for i := range records {
			if !yield(&records[i], nil) {
				return
			}
		}
	}))
	defer statuses.Dispose()
	last := uint64(0)
	for statuses.MoveNext() {
		status, err := statuses.Current()
		if err != nil {
			return err
		}
		last = status.LastSequence
	}
	if err := statuses.Err(); err != nil {
		return err
	}
	if last != expectedSequence+uint64(len(events)) {
		return errors.New("the client confirmed another number of events")
	}
	return nil
}

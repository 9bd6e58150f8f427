package eventsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Codec turns an event into a payload with metadata, and back. It must be safe for concurrent
// use.
type Codec[E any] interface {
	Encode(event E) (payload []byte, metadata map[string]string, err error)
	Decode(payload []byte, metadata map[string]string) (E, error)
}

// JSON is the codec for events of one type that package encoding/json knows.
type JSON[E any] struct{}

// Encode writes event as JSON.
func (JSON[E]) Encode(event E) ([]byte, map[string]string, error) {
	payload, err := json.Marshal(event)
	return payload, nil, err
}

// Decode is the inverse of Encode.
func (JSON[E]) Decode(payload []byte, _ map[string]string) (event E, err error) {
	return event, json.Unmarshal(payload, &event)
}

// An Event is a saved event with its version and time.
type Event[E any] struct {
	// Version is the version of the entity after the event: 1 for the first event.
	Version uint64
	// Timestamp is when the event was saved, by the clock of Redis, in UTC and whole milliseconds.
	Timestamp time.Time
	Data      E
}

// A ConflictError says that another program has saved the entity meanwhile. Nothing was stored.
type ConflictError struct {
	Entity string
	// Expected is the version that the save named, and Actual is the version of the entity.
	Expected, Actual uint64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%q is at version %d, not %d", e.Entity, e.Actual, e.Expected)
}

// Unwrap returns [streamhub.ErrSequenceMismatch].
func (e *ConflictError) Unwrap() error { return streamhub.ErrSequenceMismatch }

// A Store keeps the events of one area. It is safe for concurrent use.
type Store[E any] struct {
	store streamhub.Store
	area  string
	codec Codec[E]
}

// New returns a store for an area of a tenant. A nil codec is [JSON].
func New[E any](tenant streamhub.Store, area string, codec Codec[E]) *Store[E] {
	if codec == nil {
		codec = JSON[E]{}
	}
	return &Store[E]{tenant, area, codec}
}

// Load reads the events of an entity after version from, 0 for all. An entity that does not exist has no events.
func (s *Store[E]) Load(ctx context.Context, entity string, from uint64) iter.Seq2[Event[E], error] {
	return func(yield func(Event[E], error) bool) {
		next := min(from, streamhub.MaxInteger) + 1 // no version is higher
		for entry, err := range s.store.ConsumeSegment(ctx, s.area, entity, &streamhub.ReadOptions{FromSequence: next}) {
			if errors.Is(err, streamhub.ErrNotFound) {
				return
			}
			var event Event[E]
			if err == nil && entry.Sequence != next {
				err = fmt.Errorf("%w: version %d of %q comes after %d", streamhub.ErrCorrupt, entry.Sequence, entity, next-1)
			}
			if err == nil {
				event = Event[E]{Version: entry.Sequence, Timestamp: entry.Timestamp}
				event.Data, err = s.codec.Decode(entry.Payload, entry.Metadata)
			}
			if !yield(event, err) || err != nil {
				return
			}
			next++
		}
	}
}

// SaveOptions are the conditions of a save; nil stands for none.
type SaveOptions struct {
	// ID names the save, so that it can be repeated when its answer was lost: see
	// [streamhub.UnknownOutcomeError].TRX. The nil UUID is replaced by a random one.
	ID uuid.UUID
	// Generation is the fencing token of the writer; see [streamhub.AppendOptions].
	Generation uint64
}

// Save appends events to an entity that is at version expected, all or none, and returns its
// version after them. If the entity is at another version the error is a [ConflictError]. All
// events are encoded before anything is sent.
func (s *Store[E]) Save(ctx context.Context, entity string, events []E, expected uint64, o *SaveOptions) (version uint64, err error) {
	if len(events) == 0 {
		return expected, nil
	}
	if expected > streamhub.MaxInteger-uint64(len(events)) {
		return expected, fmt.Errorf("%w: version %d of %q is beyond what an entity can have", streamhub.ErrInvalidArgument, expected, entity)
	}
	records := make([]streamhub.Record, len(events))
	for i, event := range events {
		records[i].Sequence = expected + 1 + uint64(i)
		if records[i].Payload, records[i].Metadata, err = s.codec.Encode(event); err != nil {
			return expected, fmt.Errorf("event %d of %q: %w", records[i].Sequence, entity, err)
		}
	}
	options := &streamhub.AppendOptions{}
	if o != nil {
		options.TRX, options.Generation = o.ID, o.Generation
	}
	result, err := s.store.Append(ctx, s.area, entity, records, options)
	var sequence *streamhub.SequenceError
	if errors.As(err, &sequence) {
		return sequence.Expected - 1, &ConflictError{Entity: entity, Expected: expected, Actual: sequence.Expected - 1}
	}
	if err != nil {
		return expected, err
	}
	return result.Last, nil
}

// Version returns the version of an entity, 0 if it does not exist.
func (s *Store[E]) Version(ctx context.Context, entity string) (uint64, error) {
	status, err := s.store.Status(ctx, s.area, entity)
	if errors.Is(err, streamhub.ErrNotFound) {
		return 0, nil
	}
	return status.LastSequence, err
}

// Entities lists the entities of the area in byte order, without their snapshots.
func (s *Store[E]) Entities(ctx context.Context) iter.Seq2[string, error] {
	return s.store.Segments(ctx, s.area)
}

// Fold applies the events of an entity to state, in order, and returns the resulting state and the
// version of the entity.
func Fold[E, S any](ctx context.Context, s *Store[E], entity string, state S, apply func(S, E) (S, error)) (S, uint64, error) {
	return foldFrom(ctx, s, entity, state, 0, apply)
}

func foldFrom[E, S any](ctx context.Context, s *Store[E], entity string, state S, version uint64, apply func(S, E) (S, error)) (S, uint64, error) {
	for event, err := range s.Load(ctx, entity, version) {
		if err == nil {
			state, err = apply(state, event.Data)
		}
		if err != nil {
			return state, version, err
		}
		version = event.Version
	}
	return state, version, nil
}

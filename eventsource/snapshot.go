package eventsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-147127fe/streamhub"
)

const (
	// snapshotSpace is the suffix of the name of the space that holds the snapshots of an area.
	snapshotSpace = "~snapshots"
	// snapshotVersion is the metadata key under which a snapshot stores the version of its entity.
	snapshotVersion = "version"
)

// Snapshots keep states of entities as JSON, so that loading an entity does not have to read all of
// its events. A snapshot that is missing or unreadable is ignored: Load then reads from the first
// event.
type Snapshots[E, S any] struct {
	events *Store[E]
	apply  func(S, E) (S, error)
}

// NewSnapshots returns the snapshots of the entities of a store; apply applies one event to a state.
func NewSnapshots[E, S any](events *Store[E], apply func(S, E) (S, error)) *Snapshots[E, S] {
	return &Snapshots[E, S]{events, apply}
}

// Load returns the state of an entity and its version: the last snapshot plus the events after it.
// An entity that does not exist has the zero state and version 0.
func (s *Snapshots[E, S]) Load(ctx context.Context, entity string) (state S, version uint64, err error) {
	if state, version, err = s.last(ctx, entity); err != nil {
		return state, 0, err
	}
	return foldFrom(ctx, s.events, entity, state, version, s.apply)
}

// last returns the last snapshot, or the zero state.
func (s *Snapshots[E, S]) last(ctx context.Context, entity string) (state S, version uint64, err error) {
	entry, err := s.events.store.Peek(ctx, s.events.area+snapshotSpace, entity)
	switch {
	case errors.Is(err, streamhub.ErrNotFound):
		return state, 0, nil
	case err != nil:
		return state, 0, err
	}
	version, err = strconv.ParseUint(entry.Metadata[snapshotVersion], 10, 64)
	if err == nil {
		err = json.Unmarshal(entry.Payload, &state)
	}
	if err != nil {
		var none S
		return none, 0, nil // the snapshot is from another version of the program; the events give the same state
	}
	// A snapshot of events that were lost or deleted is not valid.
	if now, err := s.events.Version(ctx, entity); err != nil || now < version {
		var none S
		return none, 0, err
	}
	return state, version, nil
}

// Save stores a state that [Snapshots.Load] returned, with its version, and removes older
// snapshots.
func (s *Snapshots[E, S]) Save(ctx context.Context, entity string, state S, version uint64) error {
	payload, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("snapshot of %q: %w", entity, err)
	}
	space := s.events.area + snapshotSpace
	r, err := s.events.store.Append(ctx, space, entity, []streamhub.Record{{
		Payload: payload, Metadata: map[string]string{snapshotVersion: strconv.FormatUint(version, 10)},
	}}, nil)
	if err != nil {
		return err
	}
	if r.Last > 1 {
		_, err = s.events.store.Trim(ctx, space, entity, r.Last-1)
	}
	return err
}

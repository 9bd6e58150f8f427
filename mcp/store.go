// Package mcp keeps the event streams of MCP servers on a streamhub hub, so that a client whose
// connection, or whose server, is gone resumes on any instance.
//
//	events := hubmcp.NewEventStore(store, nil)
//	handler := mcp.NewStreamableHTTPHandler(getServer, &mcp.StreamableHTTPOptions{EventStore: events})
//	http.Handle("/mcp", hubmcp.NewResumer(handler, events, nil))
//
// A session lives in the process that made it, which runs its requests; what it sends is stored
// before it is sent. [NewResumer] lets every other process serve it to a client that comes back with
// a Last-Event-ID, what is still to come included.
//
// The contract is that of mcp.EventStore in github.com/modelcontextprotocol/go-sdk v1.8.0.
package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// Options configure an [EventStore]; nil stands for the defaults.
type Options struct {
	// Space holds the streams; the default is "mcp".
	Space string
	// TTL is how long a stream is kept behind its last event, if its session is not closed before;
	// the default is an hour.
	TTL time.Duration
}

// An EventStore is an [sdk.EventStore] in a space of a hub. It is safe for concurrent use, in any
// number of processes.
type EventStore struct {
	store *hub.Store
	space string
	ttl   time.Duration
}

var _ sdk.EventStore = (*EventStore)(nil)

// NewEventStore returns an event store on a hub, which stays the caller's.
func NewEventStore(store *hub.Store, o *Options) *EventStore {
	s := &EventStore{store: store, space: "mcp", ttl: time.Hour}
	if o != nil && o.Space != "" {
		s.space = o.Space
	}
	if o != nil && o.TTL > 0 {
		s.ttl = o.TTL
	}
	return s
}

// segmentOf names the segment of a stream. Event n of the stream is entry n+1 of the segment.
func segmentOf(session, stream string) string {
	return fit("s/" + escape(session) + "/" + escape(stream))
}

// registerOf names the segment that lists the streams of a session.
func registerOf(session string) string { return fit("r/" + escape(session)) }

func escape(name string) string { return url.PathEscape(name) }

// fit makes a name of any length one that a segment may have.
func fit(name string) string {
	if len(name) <= streamhub.MaxNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:2] + hex.EncodeToString(sum[:])
}

// Open is that of [sdk.EventStore]. It may be repeated.
func (s *EventStore) Open(ctx context.Context, session, stream string) error {
	for _, segment := range []string{registerOf(session), segmentOf(session, stream)} {
		if _, _, err := s.store.Create(ctx, s.space, segment, &streamhub.CreateOptions{TTL: s.ttl}); err != nil {
			return err
		}
	}
	// A producer of each stream's own makes the repeat one.
	name := sha256.Sum256([]byte(stream))
	_, err := s.store.Append(ctx, s.space, registerOf(session), []streamhub.Record{{Payload: []byte(stream)}},
		&streamhub.AppendOptions{Producer: &streamhub.Producer{ID: hex.EncodeToString(name[:])}})
	return stored(err)
}

// stored takes an append that is stored and not confirmed for what it is.
func stored(err error) error {
	if errors.Is(err, streamhub.ErrNotConfirmed) {
		return nil
	}
	return err
}

// Append is that of [sdk.EventStore]. The event is stored when it returns; it has at most
// [streamhub.MaxRecordBytes], or what the hub was opened with.
func (s *EventStore) Append(ctx context.Context, session, stream string, data []byte) error {
	_, err := s.store.Append(ctx, s.space, segmentOf(session, stream), []streamhub.Record{{Payload: data}}, &streamhub.AppendOptions{MustExist: true})
	return stored(err)
}

// After is that of [sdk.EventStore]. Events that are gone are [sdk.ErrEventsPurged].
func (s *EventStore) After(ctx context.Context, session, stream string, index int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		from := sequenceAfter(index)
		for e, err := range s.store.ConsumeSegment(ctx, s.space, segmentOf(session, stream), &streamhub.ReadOptions{FromSequence: from}) {
			if err != nil {
				yield(nil, purged(err, session, stream))
				return
			}
			if !yield(e.Payload, nil) {
				return
			}
		}
	}
}

// sequenceAfter is the entry behind event index.
func sequenceAfter(index int) uint64 { return uint64(max(index, -1)) + 2 }

// purged names what has become of events that are not there.
func purged(err error, session, stream string) error {
	if errors.Is(err, streamhub.ErrTrimmed) || errors.Is(err, streamhub.ErrHistoryLost) || errors.Is(err, streamhub.ErrNotFound) {
		return fmt.Errorf("stream %q of session %q: %w: %w", stream, session, sdk.ErrEventsPurged, err)
	}
	return err
}

// SessionClosed is that of [sdk.EventStore]: it removes the streams of the session.
func (s *EventStore) SessionClosed(ctx context.Context, session string) error {
	var streams []string
	for e, err := range s.store.ConsumeSegment(ctx, s.space, registerOf(session), nil) {
		if errors.Is(err, streamhub.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		streams = append(streams, segmentOf(session, string(e.Payload)))
	}
	// The register last: a repeat finds what is left.
	for _, segment := range append(streams, registerOf(session)) {
		if err := s.store.Delete(ctx, s.space, segment, "session closed"); err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
	}
	return nil
}

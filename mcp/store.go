// Package mcp keeps the event streams of MCP servers on a streamhub hub, so that a client that has lost its connection
// or its server resumes on any instance.
//
//	events := hubmcp.NewEventStore(store, nil)
//	handler := mcp.NewStreamableHTTPHandler(getServer, &mcp.StreamableHTTPOptions{EventStore: events})
//	http.Handle("/mcp", hubmcp.NewResumer(handler, events, nil))
//
// A session lives in the process that made it, which runs its requests; its events are stored before they are sent.
// [NewResumer] lets every other process serve those events, and later ones, to a client that reconnects with a
// Last-Event-ID.
//
// The contract is that of mcp.EventStore in github.com/modelcontextprotocol/go-sdk v1.8.0.
//
// # Protocol versions
//
// The SDK calls an event store for protocol versions before 2026-07-28 only. Since that version a POST is the whole
// exchange: the SDK opens and stores no stream, its events carry no id, and nothing can be resumed, here or with any
// other event store.
//
// # Events that are not stored
//
// The SDK numbers the events of a stream by counting them, and counts one whose Append failed too. The store counts in
// the same way: such an event leaves a gap and moves no other event. Resuming before the gap is [sdk.ErrEventsPurged],
// resuming after it gives the rest.
package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// Options configure an [EventStore]; nil stands for the defaults.
type Options struct {
	// Space holds the streams; the default is "mcp".
	Space string
	// TTL is how long a session is kept after it was last used on any instance. A stream is kept for the same time
	// after its last event or, while it has no response, after the last use of its session. The default is an hour.
	TTL time.Duration
	// Wait is how long a call waits for a Redis that does not answer before it fails; the default is 10 s. After a call
	// has waited in vain, later calls make only one attempt, until Redis answers again. With a negative Wait no call
	// waits.
	Wait time.Duration
}

// retryPause is the delay before an operation that Redis refused is retried.
const retryPause = 100 * time.Millisecond

// An EventStore is an [sdk.EventStore] in a space of a hub. It is safe for concurrent use, in any number of processes.
// It holds a few numbers for each stream that this process appends to, until the session is closed or was not used for
// [Options.TTL].
type EventStore struct {
	store *hub.Store
	space string
	ttl   time.Duration
	wait  time.Duration
	away  atomic.Bool // a call has waited for Redis in vain, and none has succeeded since

	mu       sync.Mutex
	sessions map[string]*session
	swept    time.Time
	unclosed map[string][]string // sessions that could not be removed, with the streams that this process knows
}

var _ sdk.EventStore = (*EventStore)(nil)

// NewEventStore returns an event store on a hub, which stays the caller's.
func NewEventStore(store *hub.Store, o *Options) *EventStore {
	s := &EventStore{
		store: store, space: "mcp", ttl: time.Hour, wait: 10 * time.Second,
		sessions: map[string]*session{}, unclosed: map[string][]string{},
	}
	if o != nil && o.Space != "" {
		s.space = o.Space
	}
	if o != nil && o.TTL > 0 {
		s.ttl = o.TTL
	}
	if o != nil && o.Wait != 0 {
		s.wait = max(o.Wait, 0)
	}
	return s
}

// segmentOf names the segment of a stream. Event n of the stream is entry n+1 of the segment.
func segmentOf(session, stream string) string {
	return fit("s/" + escape(session) + "/" + escape(stream))
}

// partsOf names the segment with the parts of those events of a stream that one record cannot hold.
func partsOf(session, stream string) string {
	return fit("p/" + escape(session) + "/" + escape(stream))
}

// registerOf names the segment that lists the streams of a session.
func registerOf(session string) string { return fit("r/" + escape(session)) }

func escape(name string) string { return url.PathEscape(name) }

// fit replaces a name that is too long for a segment: by its first two bytes, which say its kind, and a hash.
func fit(name string) string {
	if len(name) <= streamhub.MaxNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:2] + hex.EncodeToString(sum[:])
}

// outlive returns the time to live of the register and of the parts of a session. They are renewed less often than the
// streams, and must not expire before them.
func (s *EventStore) outlive() time.Duration { return 2 * s.ttl }

// Open implements [sdk.EventStore]. It may be repeated.
func (s *EventStore) Open(ctx context.Context, session, stream string) error {
	var last uint64
	err := s.patiently(ctx, func() (err error) {
		last, err = s.open(ctx, session, stream)
		return err
	})
	if err != nil {
		return err
	}
	s.remember(session, stream, last)
	s.renew(ctx, session)
	s.closeLeftovers(ctx)
	return nil
}

// open makes the segment of a stream, lists it in the register and returns how many events it has.
func (s *EventStore) open(ctx context.Context, session, stream string) (last uint64, err error) {
	if err := s.list(ctx, session, stream); err != nil {
		return 0, err
	}
	status, _, err := s.store.Create(ctx, s.space, segmentOf(session, stream), &streamhub.CreateOptions{TTL: s.ttl})
	return status.LastSequence, err
}

// list adds a stream to the register of its session, unless it is listed already.
func (s *EventStore) list(ctx context.Context, session, stream string) error {
	if _, _, err := s.store.Create(ctx, s.space, registerOf(session), &streamhub.CreateOptions{TTL: s.outlive()}); err != nil {
		return err
	}
	// Each stream has its own producer with a fixed sequence, so that a repeat is recognised and not stored twice.
	name := sha256.Sum256([]byte(stream))
	_, err := s.store.Append(ctx, s.space, registerOf(session), []streamhub.Record{{Payload: []byte(stream)}},
		&streamhub.AppendOptions{MustExist: true, Producer: &streamhub.Producer{ID: hex.EncodeToString(name[:])}})
	return stored(err)
}

// stored drops ErrNotConfirmed from err: such an append is stored.
func stored(err error) error {
	if errors.Is(err, streamhub.ErrNotConfirmed) {
		return nil
	}
	return err
}

// again reports whether the failed operation may succeed later.
func again(err error) bool {
	return errors.Is(err, streamhub.ErrUnavailable) || errors.Is(err, streamhub.ErrUnknownOutcome)
}

// gone reports whether err means that the data is missing, or is no longer the data that was stored.
func gone(err error) bool {
	return errors.Is(err, streamhub.ErrTrimmed) || errors.Is(err, streamhub.ErrHistoryLost) || errors.Is(err, streamhub.ErrNotFound)
}

// patiently repeats f while Redis does not answer, for up to [Options.Wait].
func (s *EventStore) patiently(ctx context.Context, f func() error) error {
	until := time.Now().Add(s.wait)
	err := f()
	for again(err) && !s.away.Load() && time.Now().Before(until) && pause.For(ctx, retryPause) {
		err = f()
	}
	s.away.Store(again(err))
	return err
}

// After implements [sdk.EventStore]. Events that are gone, or were never stored, are
// [sdk.ErrEventsPurged]. Events are read one at a time.
func (s *EventStore) After(ctx context.Context, session, stream string, index int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := s.whole(ctx, session, stream, index); err != nil {
			yield(nil, purged(err, session, stream))
			return
		}
		if s.known(session, stream) != nil {
			s.renew(ctx, session)
		} else {
			s.keep(ctx, session, stream)
		}
		from := sequenceAfter(index)
		for e, err := range s.store.ConsumeSegment(ctx, s.space, segmentOf(session, stream), &streamhub.ReadOptions{FromSequence: from}) {
			var data []byte
			if err == nil {
				data, err = s.event(ctx, session, stream, &e)
			}
			if err != nil {
				yield(nil, purged(err, session, stream))
				return
			}
			if !yield(data, nil) {
				return
			}
		}
	}
}

// whole returns an error unless every event after index can be read. The entries before a gap are trimmed, so only the
// end of the stream must be checked for a gap.
func (s *EventStore) whole(ctx context.Context, session, stream string, index int) error {
	next := s.counted(session, stream)
	if next > 0 && index+1 < int(next) {
		status, err := s.store.Status(ctx, s.space, segmentOf(session, stream))
		if err != nil {
			return err
		}
		if status.LastSequence < next {
			return errGap
		}
	}
	last, err := s.store.Peek(ctx, s.space, segmentOf(session, stream))
	switch {
	case errors.Is(err, streamhub.ErrNotFound):
		return nil
	case err == nil && isGap(&last) && sequenceAfter(index) <= last.Sequence:
		return errGap
	}
	return err
}

// sequenceAfter returns the sequence of the entry after event index.
func sequenceAfter(index int) uint64 { return uint64(max(index, -1)) + 2 }

// errGap is the cause for an event that was never stored.
var errGap = errors.New("an event was not stored")

// purged converts an error that means that events are missing to ErrEventsPurged.
func purged(err error, session, stream string) error {
	if gone(err) || errors.Is(err, errGap) {
		return fmt.Errorf("stream %q of session %q: %w: %w", stream, session, sdk.ErrEventsPurged, err)
	}
	return err
}

// isResponse reports whether a message answers the request that its stream belongs to.
func isResponse(data []byte) bool {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method *string         `json:"method"`
	}
	return json.Unmarshal(data, &m) == nil && m.Method == nil && len(m.ID) > 0
}

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
//
// # Protocol versions
//
// The SDK calls an event store for protocol versions before 2026-07-28 only. From that version on a
// POST is the whole exchange: the SDK opens and stores no stream, its events carry no id, and nothing
// can be resumed, here or with any other event store.
//
// # Events that are not stored
//
// The SDK numbers the events of a stream by counting them, and counts one whose Append failed too.
// The store counts in the same way: such an event leaves a gap and moves no other event. Resuming
// before the gap is [sdk.ErrEventsPurged], resuming after it gives the rest.
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
	// TTL is how long a session is kept after it was last used on any instance. A stream is kept as
	// long after its last event or, until it has its response, after the last use of its session.
	// The default is an hour.
	TTL time.Duration
	// Wait is how long a call waits for a Redis that does not answer before it fails; the default is
	// 10 s. After a call that waited in vain the next ones try once, until Redis answers again. A
	// negative Wait never waits.
	Wait time.Duration
}

// retryPause is the delay before an operation that Redis did not take is retried.
const retryPause = 100 * time.Millisecond

// An EventStore is an [sdk.EventStore] in a space of a hub. It is safe for concurrent use, in any
// number of processes. It holds a few numbers for each stream that is appended to here, until its
// session is closed or was not used for [Options.TTL].
type EventStore struct {
	store *hub.Store
	space string
	ttl   time.Duration
	wait  time.Duration
	away  atomic.Bool // a call has waited for Redis in vain, and none has succeeded since

	mu       sync.Mutex
	sessions map[string]*session
	swept    time.Time
	unclosed map[string][]string // sessions that could not be removed, with the streams known here
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

// fit makes a name of any length one that a segment may have.
func fit(name string) string {
	if len(name) <= streamhub.MaxNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:2] + hex.EncodeToString(sum[:])
}

// outlive is the time to live of the register and of the parts of a session: they are renewed less
// often than the streams and must be there for as long as any of them.
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

// list enters a stream into the register of its session, unless it is there.
func (s *EventStore) list(ctx context.Context, session, stream string) error {
	if _, _, err := s.store.Create(ctx, s.space, registerOf(session), &streamhub.CreateOptions{TTL: s.outlive()}); err != nil {
		return err
	}
	// A producer of each stream's own makes the repeat one.
	name := sha256.Sum256([]byte(stream))
	_, err := s.store.Append(ctx, s.space, registerOf(session), []streamhub.Record{{Payload: []byte(stream)}},
		&streamhub.AppendOptions{MustExist: true, Producer: &streamhub.Producer{ID: hex.EncodeToString(name[:])}})
	return stored(err)
}

// stored takes an append that is stored and not confirmed for what it is.
func stored(err error) error {
	if errors.Is(err, streamhub.ErrNotConfirmed) {
		return nil
	}
	return err
}

// again reports whether what failed may succeed later.
func again(err error) bool {
	return errors.Is(err, streamhub.ErrUnavailable) || errors.Is(err, streamhub.ErrUnknownOutcome)
}

// gone reports whether err says that something is not there, or is not what it was.
func gone(err error) bool {
	return errors.Is(err, streamhub.ErrTrimmed) || errors.Is(err, streamhub.ErrHistoryLost) || errors.Is(err, streamhub.ErrNotFound)
}

// patiently repeats f while Redis does not answer, for as long as the store may wait.
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

// whole returns an error unless every event after index can be read. What comes before a gap is
// trimmed, so only a gap at the end of the stream has to be looked for.
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

// sequenceAfter is the entry after event index.
func sequenceAfter(index int) uint64 { return uint64(max(index, -1)) + 2 }

// errGap is for events that were never stored.
var errGap = errors.New("an event was not stored")

// purged names what has become of events that are not there.
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

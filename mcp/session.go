package mcp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// maxUnclosed bounds the number of sessions that are remembered for a later removal. Any others expire.
const maxUnclosed = 1000

// A session is the state of a session whose streams this process appends to. The lock of the store guards it.
type session struct {
	used, renewed time.Time
	streams       map[string]*streamState
}

// remember returns the state of a stream, and makes it if need be. A new state starts with the given number of events.
func (s *EventStore) remember(name, stream string, events uint64) *streamState {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	x := s.sessions[name]
	if x == nil {
		x = &session{streams: map[string]*streamState{}}
		s.sessions[name] = x
	}
	x.used = now
	st := x.streams[stream]
	if st == nil {
		st = &streamState{next: events, stored: events}
		x.streams[stream] = st
	}
	st.last = now
	return st
}

// sweep forgets sessions that have expired. The lock is held.
func (s *EventStore) sweep(now time.Time) {
	if now.Sub(s.swept) < s.ttl/4 {
		return
	}
	s.swept = now
	maps.DeleteFunc(s.sessions, func(_ string, x *session) bool { return now.Sub(x.used) > s.outlive() })
}

// stream returns the state of a stream. It reads the number of its events if this process does not know the stream yet.
func (s *EventStore) stream(ctx context.Context, session, stream string) (*streamState, error) {
	if st := s.known(session, stream); st != nil {
		return st, nil
	}
	var status streamhub.Status
	err := s.patiently(ctx, func() (err error) {
		status, err = s.store.Status(ctx, s.space, segmentOf(session, stream))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.remember(session, stream, status.LastSequence), nil
}

func (s *EventStore) known(session, stream string) *streamState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sessions[session]; x != nil {
		return x.streams[stream]
	}
	return nil
}

// counted returns how many events of a stream were appended in this process, 0 for an unknown stream.
func (s *EventStore) counted(session, stream string) uint64 {
	st := s.known(session, stream)
	if st == nil {
		return 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.next
}

// used records an append to a stream: when it happened, and whether it was the response.
func (s *EventStore) used(session string, st *streamState, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.last = time.Now()
	st.answered = st.answered || answered
	if x := s.sessions[session]; x != nil {
		x.used = st.last
	}
}

// renew renews the time to live of a session of this process, of its parts, and of its streams without a response,
// unless that was done recently. If it fails, the next use of the session retries.
func (s *EventStore) renew(ctx context.Context, session string) {
	now := time.Now()
	s.mu.Lock()
	x := s.sessions[session]
	if x == nil || now.Sub(x.renewed) < s.ttl/4 {
		s.mu.Unlock()
		return
	}
	maps.DeleteFunc(x.streams, func(_ string, st *streamState) bool { return st.answered && now.Sub(st.last) > s.ttl })
	streams := maps.Clone(x.streams)
	answered := map[string]bool{}
	for name, st := range streams {
		answered[name] = st.answered
	}
	x.used, x.renewed = now, now
	s.mu.Unlock()
	if _, err := s.store.Touch(ctx, s.space, registerOf(session)); errors.Is(err, streamhub.ErrNotFound) {
		for name := range streams {
			_ = s.list(ctx, session, name)
		}
	}
	for name, st := range streams {
		if !answered[name] {
			_, _ = s.store.Touch(ctx, s.space, segmentOf(session, name))
		}
		if st.parts.Load() {
			_, _ = s.store.Touch(ctx, s.space, partsOf(session, name))
		}
	}
}

// keep renews the time to live of a session of any process, and of one of its streams, which has a follower in this
// process.
func (s *EventStore) keep(ctx context.Context, session, stream string) {
	for _, segment := range []string{registerOf(session), segmentOf(session, stream), partsOf(session, stream)} {
		_, _ = s.store.Touch(ctx, s.space, segment) // after an error the next call renews it
	}
}

// SessionClosed implements [sdk.EventStore]: it removes the session and its streams. If Redis does not answer, a later
// Open of this process retries.
func (s *EventStore) SessionClosed(ctx context.Context, name string) error {
	s.mu.Lock()
	streams := s.unclosed[name]
	if x := s.sessions[name]; x != nil {
		streams = slices.Concat(streams, slices.Collect(maps.Keys(x.streams)))
	}
	delete(s.sessions, name)
	delete(s.unclosed, name)
	s.mu.Unlock()
	err := s.patiently(ctx, func() error { return s.remove(ctx, name, streams) })
	if err != nil {
		s.mu.Lock()
		if len(s.unclosed) < maxUnclosed {
			s.unclosed[name] = streams
		}
		s.mu.Unlock()
	}
	return err
}

// closeLeftovers removes the sessions that could not be removed before.
func (s *EventStore) closeLeftovers(ctx context.Context) {
	s.mu.Lock()
	names := slices.Collect(maps.Keys(s.unclosed))
	s.mu.Unlock()
	for _, name := range names {
		if s.SessionClosed(ctx, name) != nil {
			return
		}
	}
}

// remove removes the streams that are known in this process or listed in the register. The register is missing only if
// Redis has lost data; remove then searches for the streams by name.
func (s *EventStore) remove(ctx context.Context, name string, streams []string) error {
	var segments []string
	for _, stream := range streams {
		segments = append(segments, segmentOf(name, stream), partsOf(name, stream))
	}
	for e, err := range s.store.ConsumeSegment(ctx, s.space, registerOf(name), nil) {
		var deleted *streamhub.DeletedError
		switch {
		case err == nil:
			segments = append(segments, segmentOf(name, string(e.Payload)), partsOf(name, string(e.Payload)))
			continue
		case !gone(err):
			return err
		case errors.As(err, &deleted) && deleted.Verdict.Kind == streamhub.VerdictDeleted:
		default:
			found, err := s.find(ctx, name)
			if err != nil {
				return err
			}
			segments = append(segments, found...)
		}
		break
	}
	slices.Sort(segments)
	// The register is removed last, so that a repeat still finds the remaining streams.
	for _, segment := range append(slices.Compact(segments), registerOf(name)) {
		if err := s.store.Delete(ctx, s.space, segment, "session closed"); err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
	}
	return nil
}

// find lists the segments of a session by the prefix of their names.
func (s *EventStore) find(ctx context.Context, name string) (segments []string, err error) {
	of := escape(name) + "/"
	for segment, err := range s.store.Segments(ctx, s.space) {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(segment, "s/"+of) || strings.HasPrefix(segment, "p/"+of) {
			segments = append(segments, segment)
		}
	}
	return segments, nil
}

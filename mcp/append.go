package mcp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// kindKey is the metadata key that marks an entry that is not a plain event. It is a gap, or a reference to an event in
// parts: "parts <first sequence> <last sequence> <bytes>".
const (
	kindKey    = "streamhub.mcp"
	gapKind    = "gap"
	partsPlace = "parts %d %d %d"
)

// Parts are appended a few at a time. They are made smaller if the hub accepts only smaller records.
const (
	partBytes     = 512 << 10
	minPartBytes  = 1 << 10
	partsAtOnce   = 8
	gapsAtOnce    = streamhub.MaxFrameRecords
	appendAttempt = 10 // each attempt continues from what the previous one found
)

// isGap reports whether e stands for an event that was not stored.
func isGap(e *streamhub.Entry) bool { return e.Metadata[kindKey] == gapKind }

// Append implements [sdk.EventStore]. The event, of any size, is stored when it returns. After an error the event still
// takes a number, because the SDK counts it too.
func (s *EventStore) Append(ctx context.Context, session, stream string, data []byte) error {
	st, err := s.stream(ctx, session, stream)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	a := appending{s: s, st: st, session: session, stream: stream, index: st.next, record: streamhub.Record{Payload: data}}
	st.next++
	if err := s.patiently(ctx, func() error { return a.try(ctx) }); err != nil {
		return err
	}
	s.used(session, st, stream != "" && isResponse(data))
	s.renew(ctx, session)
	return nil
}

// An appending is one event that is being appended.
type appending struct {
	s               *EventStore
	st              *streamState
	session, stream string
	index           uint64
	record          streamhub.Record // the event, or the reference to its parts
	repeat          uuid.UUID        // TRX id of record if it is unknown whether it was stored
}

// try stores the event as entry index+1. Before it, it stores gaps for earlier events that were not stored. With the
// expected sequence a delayed copy of an earlier attempt cannot come in between.
func (a *appending) try(ctx context.Context) error {
	var err error
	for range appendAttempt {
		if err = a.once(ctx); err == nil {
			return nil
		}
		var elsewhere *streamhub.SequenceError
		switch {
		case errors.As(err, &elsewhere):
			// There are three possible reasons: an attempt with an unknown outcome was stored, another instance appends
			// too, or Redis has lost the last events.
			a.st.stored = max(elsewhere.Expected, 1) - 1
			if a.st.stored > a.index {
				a.index, a.st.next = a.st.stored, a.st.stored+1
			}
		case errors.Is(err, streamhub.ErrNotFound), errors.Is(err, streamhub.ErrHistoryLost):
			if failed := a.revive(ctx); failed != nil {
				return failed
			}
		case errors.Is(err, streamhub.ErrTooLarge) && a.record.Metadata == nil:
			if failed := a.divide(ctx); failed != nil {
				return failed
			}
		default:
			return err
		}
		a.repeat = uuid.Nil
	}
	return err
}

func (a *appending) once(ctx context.Context) error {
	segment := segmentOf(a.session, a.stream)
	for a.st.stored < a.index {
		gaps := make([]streamhub.Record, min(a.index-a.st.stored, gapsAtOnce))
		for i := range gaps {
			gaps[i].Metadata = map[string]string{kindKey: gapKind}
		}
		if err := a.append(ctx, segment, gaps, uuid.Nil); err != nil {
			return err
		}
		a.st.gap = a.st.stored
	}
	if a.st.gap > 0 {
		// No reader may cross the gap. The entries before it are trimmed before the next append, so that every reader
		// gets ErrTrimmed at once.
		if _, err := a.s.store.Trim(ctx, a.s.space, segment, a.st.gap); err != nil {
			return err
		}
		a.st.gap = 0
	}
	err := a.append(ctx, segment, []streamhub.Record{a.record}, a.repeat)
	var unknown *streamhub.UnknownOutcomeError
	if errors.As(err, &unknown) {
		a.repeat = unknown.TRX
	}
	return err
}

// append stores records after the last entry that is known to be stored.
func (a *appending) append(ctx context.Context, segment string, records []streamhub.Record, repeat uuid.UUID) error {
	_, err := a.s.store.Append(ctx, a.s.space, segment, records,
		&streamhub.AppendOptions{MustExist: true, ExpectedSequence: a.st.stored + 1, TRX: repeat})
	if err = stored(err); err == nil {
		a.st.stored += uint64(len(records))
	}
	return err
}

// revive creates a stream again that has expired or was lost. A stream that was deleted on purpose stays deleted: its
// session was closed.
func (a *appending) revive(ctx context.Context) error {
	status, err := a.s.store.Status(ctx, a.s.space, segmentOf(a.session, a.stream))
	if err == nil {
		a.st.stored = status.LastSequence
		return nil
	}
	var deleted *streamhub.DeletedError
	if !errors.Is(err, streamhub.ErrNotFound) || errors.As(err, &deleted) && deleted.Verdict.Kind == streamhub.VerdictDeleted {
		return err
	}
	a.st.stored, err = a.s.open(ctx, a.session, a.stream)
	return err
}

// divide stores the event in parts, and makes record a reference to them.
func (a *appending) divide(ctx context.Context) error {
	segment, data := partsOf(a.session, a.stream), a.record.Payload
	options := &streamhub.CreateOptions{TTL: a.s.outlive()}
	if _, _, err := a.s.store.Create(ctx, a.s.space, segment, options); err != nil {
		return err
	}
	a.st.parts.Store(true)
	first, last := uint64(0), uint64(0)
	for size, rest := partBytes, data; len(rest) > 0; {
		left := rest
		records := make([]streamhub.Record, 0, partsAtOnce)
		for len(left) > 0 && len(records) < partsAtOnce {
			n := min(len(left), size)
			records, left = append(records, streamhub.Record{Payload: left[:n]}), left[n:]
		}
		expected := uint64(0)
		if last > 0 {
			expected = last + 1
		}
		r, err := a.s.store.Append(ctx, a.s.space, segment, records, &streamhub.AppendOptions{MustExist: true, ExpectedSequence: expected})
		if errors.Is(err, streamhub.ErrTooLarge) && size > minPartBytes {
			size /= 2
			continue
		}
		if errors.Is(err, streamhub.ErrSequenceMismatch) { // a delayed copy of an earlier attempt came in between
			first, last, rest = 0, 0, data
			continue
		}
		if err = stored(err); err != nil {
			return err
		}
		if first == 0 {
			first = r.First
		}
		last, rest = r.Last, left
	}
	a.record = streamhub.Record{Metadata: map[string]string{kindKey: fmt.Sprintf(partsPlace, first, last, len(data))}}
	return nil
}

// event returns the event of an entry, joined from its parts if need be.
func (s *EventStore) event(ctx context.Context, session, stream string, e *streamhub.Entry) ([]byte, error) {
	kind, ok := e.Metadata[kindKey]
	if !ok {
		return e.Payload, nil
	}
	var first, last uint64
	var size int
	if _, err := fmt.Sscanf(kind, partsPlace, &first, &last, &size); err != nil || first == 0 || last < first || size < 0 {
		return nil, errGap
	}
	var data []byte
	for part, err := range s.store.ConsumeSegment(ctx, s.space, partsOf(session, stream), &streamhub.ReadOptions{FromSequence: first, ToSequence: last}) {
		if err != nil {
			return nil, err
		}
		if data == nil {
			data = make([]byte, 0, size)
		}
		data = append(data, part.Payload...)
	}
	if len(data) != size {
		return nil, errGap
	}
	return data, nil
}

// A streamState is what the appending process knows about a stream.
type streamState struct {
	mu     sync.Mutex  // held during an append
	next   uint64      // events that were appended, whether stored or not: the index of the next event
	stored uint64      // entries that are known to be stored
	gap    uint64      // the last entry of a gap that is not trimmed yet, or 0
	parts  atomic.Bool // there is a segment with parts

	// Guarded by the lock of the store.
	last     time.Time // when the stream was last used
	answered bool      // the response is stored, so no further event is expected
}

// Package api has the messages and interfaces of streamkit's API. Messages that mean the same here are
// aliases of the types of package streamhub.
package api

import (
	"context"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// The types that are the same in package streamhub.
type (
	// Record is one record of an append.
	Record = streamhub.Record
	// TRX identifies the append that stored an entry.
	TRX = streamhub.TRX
	// LexKey is an offset: the key of an entry, which [Entry.GetSpaceOffset] returns.
	LexKey = streamhub.LexKey
)

// An Entry is one stored record with its position. Payload and Metadata may share memory with other entries and must
// not be changed.
type Entry struct {
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"` // Unix milliseconds
	TRX       TRX               `json:"trx"`
	Payload   []byte            `json:"payload"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
}

// EntryOf converts e to streamkit's type.
func EntryOf(e *streamhub.Entry) *Entry {
	return &Entry{e.Sequence, millis.Of(e.Timestamp), e.TRX, e.Payload, e.Metadata, e.Space, e.Segment}
}

// GetSpaceOffset returns the offset of e in its space.
func (e *Entry) GetSpaceOffset() LexKey {
	return streamhub.Encode("DAT", "SPACES", e.Space, e.Timestamp, e.Segment, e.Sequence)
}

// GetSegmentOffset returns the offset of e in its segment.
func (e *Entry) GetSegmentOffset() LexKey {
	return streamhub.Encode("DAT", "SEGMENTS", e.Space, e.Segment, e.Sequence)
}

// A SegmentStatus says where a segment begins and ends. Timestamps are Unix milliseconds.
type SegmentStatus struct {
	Space          string `json:"space"`
	Segment        string `json:"segment"`
	FirstSequence  uint64 `json:"first_sequence"`
	FirstTimestamp int64  `json:"first_timestamp"`
	LastSequence   uint64 `json:"last_sequence"`
	LastTimestamp  int64  `json:"last_timestamp"`
	Heartbeat      bool   `json:"heartbeat"`
}

// StatusOf converts s to streamkit's type.
func StatusOf(s *streamhub.Status) *SegmentStatus {
	return &SegmentStatus{
		s.Space, s.Segment, s.FirstSequence, millis.Of(s.FirstTimestamp), s.LastSequence, millis.Of(s.LastTimestamp), s.Heartbeat,
	}
}

// A Routeable is a request that a [BidiStreamProvider] can send.
type Routeable interface{ GetDiscriminator() string }

// A Consumable is a request for entries.
type Consumable interface {
	Routeable
	consumable()
}

const prefix = "streamkit://api/v1/"

// Consume asks for the entries of several spaces, the keys of Offsets, each after its offset and all in the order of
// their timestamps. MinTimestamp is exclusive, MaxTimestamp inclusive, in Unix milliseconds; 0 is no bound. A Limit of
// 0 or of the largest uint64 means no limit.
type Consume struct {
	MinTimestamp int64             `json:"min_timestamp,omitempty"`
	MaxTimestamp int64             `json:"max_timestamp,omitempty"`
	Offsets      map[string]LexKey `json:"offsets,omitempty"`
	Limit        uint64            `json:"limit,omitempty"`
}

// ConsumeSpace asks for the entries of a space after an offset; its bounds are those of [Consume].
type ConsumeSpace struct {
	Space        string `json:"space"`
	MinTimestamp int64  `json:"min_timestamp,omitempty"`
	MaxTimestamp int64  `json:"max_timestamp,omitempty"`
	Offset       LexKey `json:"offset,omitempty"`
	Limit        uint64 `json:"limit,omitempty"`
}

// ConsumeSegment asks for the entries of a segment. Both sequences are inclusive, 0 is no bound; the
// other bounds are those of [Consume].
type ConsumeSegment struct {
	Space        string `json:"space"`
	Segment      string `json:"segment"`
	MinSequence  uint64 `json:"min_sequence,omitempty"`
	MinTimestamp int64  `json:"min_timestamp,omitempty"`
	MaxSequence  uint64 `json:"max_sequence,omitempty"`
	MaxTimestamp int64  `json:"max_timestamp,omitempty"`
	Limit        uint64 `json:"limit,omitempty"`
}

// Requests that the client makes itself: programs name the types, but seldom use them.
type (
	Peek struct {
		Space   string `json:"space"`
		Segment string `json:"segment"`
	}
	Produce struct {
		Space   string `json:"space"`
		Segment string `json:"segment"`
	}
	GetSpaces   struct{}
	GetSegments struct {
		Space string `json:"space"`
	}
	GetStatus struct{}
)

// A Presence is a heartbeat of a worker. Timestamp is in Unix milliseconds.
type Presence struct {
	WorkerID  uuid.UUID `json:"worker_id"`
	Heartbeat bool      `json:"heartbeat"`
	Timestamp int64     `json:"timestamp"`
}

// A WorkerInfo is a worker of a store. LastSeenAt is in Unix milliseconds.
type WorkerInfo struct {
	WorkerID   uuid.UUID         `json:"worker_id"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	LastSeenAt int64             `json:"last_seen_at"`
}

// A WorkerInventory is the list of workers, sorted by id, as it was at Timestamp in Unix milliseconds.
type WorkerInventory struct {
	Workers   []WorkerInfo `json:"workers"`
	Timestamp int64        `json:"timestamp"`
}

func (*Consume) GetDiscriminator() string         { return prefix + "consume" }
func (*ConsumeSpace) GetDiscriminator() string    { return prefix + "consume_space" }
func (*ConsumeSegment) GetDiscriminator() string  { return prefix + "consume_segment" }
func (*Peek) GetDiscriminator() string            { return prefix + "peek" }
func (*Produce) GetDiscriminator() string         { return prefix + "produce" }
func (*GetSpaces) GetDiscriminator() string       { return prefix + "get_spaces" }
func (*GetSegments) GetDiscriminator() string     { return prefix + "get_segments" }
func (*GetStatus) GetDiscriminator() string       { return prefix + "get_status" }
func (*Presence) GetDiscriminator() string        { return prefix + "presence" }
func (*WorkerInventory) GetDiscriminator() string { return prefix + "worker_inventory" }
func (*Consume) consumable()                      {}
func (*ConsumeSpace) consumable()                 {}
func (*ConsumeSegment) consumable()               {}

// A Subscription calls a handler until Unsubscribe. It continues after lost connections.
type Subscription interface {
	ID() string
	Unsubscribe()
}

// A ReconnectListener is called after a reconnect. The store is the nil UUID, because one connection serves all stores.
type ReconnectListener interface {
	OnReconnected(ctx context.Context, storeID uuid.UUID) error
}

// A BidiStreamProvider reaches a hub. Packages wskit and inprockit implement it. Their CallStream returns
// [errors.ErrUnsupported], because they do not use the streams of streamkit.
type BidiStreamProvider interface {
	CallStream(ctx context.Context, storeID uuid.UUID, routeable Routeable) (BidiStream, error)
	RegisterReconnectListener(l ReconnectListener)
	UnregisterReconnectListener(l ReconnectListener)
}

// A BidiStream is one operation of a [BidiStreamProvider].
type BidiStream interface {
	Encode(v any) error
	Decode(v any) error
	CloseSend(err error) error
	Close(err error) error
	EndOfStreamError() error
	Closed() <-chan struct{}
}

// A StreamsError is an error with a code: 1 for a temporary error, 2 for a permanent one.
type StreamsError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *StreamsError) Error() string { return e.Message }

// NewTransientError returns a temporary error, which may be retried.
func NewTransientError(message string) *StreamsError { return &StreamsError{1, message} }

// NewPermanentError returns a permanent error, which is not retried.
func NewPermanentError(message string) *StreamsError { return &StreamsError{2, message} }

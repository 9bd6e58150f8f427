package streamhub

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

// The limits of an append. A store can be opened with lower ones.
const (
	// MaxOriginLength is the maximum length of [CreateOptions.Origin], in bytes.
	MaxOriginLength = 1024
	// MaxContentTypeLength is the maximum length of a content type, and MaxStreamSeqLength that of
	// [AppendOptions.StreamSeq], in bytes.
	MaxContentTypeLength = 256
	MaxStreamSeqLength   = 1024
	// MaxNameLength is the maximum length of the name of a space, segment, producer or lease, in bytes.
	MaxNameLength = 1024
	// MaxRecordBytes is the default limit, in bytes, of one record with payload and metadata.
	MaxRecordBytes = 1 << 20
	// MaxFrameBytes and MaxFrameRecords are the largest size, in bytes, and number of records of one append.
	MaxFrameBytes   = 16 << 20
	MaxFrameRecords = 10_000
	// MaxInteger is the largest generation, epoch, sequence or producer sequence: scripts in Redis store numbers as
	// doubles.
	MaxInteger = 1<<53 - 1
)

// A Producer makes appends idempotent over restarts of the caller: the append (id, epoch, seq) is stored once however
// often it is sent.
//
// Seq starts at 0 and rises by one with each append. A restarted producer continues with the next Seq if it knows it,
// or raises Epoch and starts at 0 again; a lower epoch is then refused.
//
// Redis remembers a producer as long as the segment exists. A producer whose ID begins with '~' is ephemeral: it may be
// forgotten a day after its last append, and must then start again with another ID.
type Producer struct {
	ID    string
	Epoch uint64
	Seq   uint64
}

// A Durability is the level at which an append is acknowledged. The zero value waits for the
// primary alone.
type Durability struct {
	// Replicas is how many replicas must have received the append.
	Replicas int
	// Fsync requires that the primary has the append on disk. It needs an append-only file and WAITAOF, and with
	// appendfsync everysec a server whose WAITAOF waits for the disk; see docs/contracts.md.
	Fsync bool
	// Timeout bounds the wait; 0 is one second, and five for Fsync under appendfsync everysec. An append whose level was not reached in time is
	// written, and the call returns its result with [ErrNotConfirmed].
	Timeout time.Duration
}

// AppendOptions are the conditions of one append; nil stands for none.
type AppendOptions struct {
	// ExpectedSequence is the sequence that the first record must get; 0 means the next one.
	ExpectedSequence uint64
	// Generation is the fencing token of the writer. Once a segment has stored a generation, an append with a lower
	// one, or without one, is refused with [ErrFenced]. 0 means none.
	Generation uint64
	// Producer makes the append idempotent across processes. Without it, a repeat is recognised by
	// its TRX id, and only by the hub or client that made the first attempt.
	Producer *Producer
	// TRX identifies the append; the nil UUID is replaced by a random one. Repeating an append that ended with
	// [ErrUnknownOutcome] needs the id that its error carries. Only the hub or client that made the append knows the
	// id, while it is among the last 64 of the segment, for ten minutes. Anywhere else, or later, the records are
	// stored again.
	TRX uuid.UUID
	// Close ends the segment with this verdict in the same step, after the records; Records may
	// then be empty.
	Close *Verdict
	// ContentType is kept when the append creates the segment; otherwise, unless empty, it must equal the kept one,
	// except for letter case and parameters.
	ContentType string
	// StreamSeq is an opaque text that must be greater, byte by byte, than that of every earlier
	// append that had one; otherwise the error is [ErrConflict].
	StreamSeq string
	// MustExist refuses to create the segment.
	MustExist bool
	// Incarnation, unless 0, is the incarnation that the segment must have; see [Position]. The
	// append is refused with [ErrHistoryLost] if the segment has another one, and with
	// [ErrNotFound] if there is no segment.
	Incarnation uint64
	// CheckOnly makes every check and writes nothing. The result is that of the append if it were made.
	CheckOnly bool
	// Durability replaces the level that the hub was opened with.
	Durability *Durability
}

// An AppendResult says where the records were stored.
type AppendResult struct {
	// First and Last are the sequences of the first and last record; for an append without records
	// First is Last + 1.
	First, Last uint64
	// Timestamp is when Redis stored the records.
	Timestamp time.Time
	TRX       TRX
	// Repeated says that this append had been stored before: by an earlier call, or by an attempt of the hub whose
	// answer was lost.
	Repeated bool
	// Created says that the append created the segment.
	Created bool
	// Closed says that the segment is closed now, and Generation is its current generation. In the answer to a repeat
	// both may be newer than the append.
	Closed     bool
	Generation uint64
	Position   Position
}

// Cursor returns the cursor that resumes after the last record.
func (r *AppendResult) Cursor() Cursor { return r.Position.Cursor() }

// An Append is one append of a call of [Store.AppendAll]; Options may be nil.
type Append struct {
	Space, Segment string
	Records        []Record
	Options        *AppendOptions
}

// CreateOptions describe a new segment; nil stands for none.
type CreateOptions struct {
	ContentType string
	// TTL is a sliding time to live, renewed by appends and touches, with millisecond precision.
	TTL time.Duration
	// ExpiresAt is a fixed end, cut to milliseconds. At most one of TTL and ExpiresAt is set.
	ExpiresAt time.Time
	// Closed creates the segment with a verdict.
	Closed     *Verdict
	Generation uint64
	// Records are its first entries. If the segment exists already, nothing is appended.
	Records []Record
	// ForkOf makes the segment a fork of another one of its space. The two share the entries up to ForkAt (the last one
	// if ForkAt is nil); later entries are separate.
	ForkOf string
	ForkAt *uint64
	// ForkIncarnation, unless 0, is the incarnation that the other segment must have.
	ForkIncarnation uint64
	// Origin, a text in UTF-8, is kept with the segment for its creator, and never compared.
	// Clients of a gateway do not see it.
	Origin string
}

// ReadOptions bound a read; nil stands for all entries that are stored now.
type ReadOptions struct {
	// Cursor resumes after an entry. It excludes FromSequence.
	Cursor Cursor
	// FromSequence and ToSequence are inclusive; 0 is no bound. They are for a segment, not for a
	// space.
	FromSequence, ToSequence uint64
	// After is exclusive and Until inclusive, both cut to milliseconds; the zero Time is no bound.
	After, Until time.Time
	// Limit is the largest number of entries to return; 0 is no limit.
	Limit uint64
}

// FollowOptions say where following begins; nil stands for the first entry that is kept.
type FollowOptions struct {
	// Cursor resumes after an entry. It excludes FromSequence and Live.
	Cursor Cursor
	// FromSequence, inclusive, begins with that entry; 0 is no bound. It is for a segment, not for
	// a space.
	FromSequence uint64
	// Live begins with the next entry: nothing is replayed.
	Live bool
	// Limit ends the follower after that many entries; 0 is no limit.
	Limit uint64
}

// A Worker is a process on the list of workers of a store, which every instance sees.
type Worker struct {
	ID       uuid.UUID
	Metadata map[string]string
	// LastSeen is when the worker last renewed its membership, by the clock of Redis.
	LastSeen time.Time
}

// workerJSON is a worker as JSON.
type workerJSON struct {
	ID       uuid.UUID         `json:"worker_id"`
	Metadata map[string]string `json:"metadata,omitempty"`
	LastSeen int64             `json:"last_seen_at"` // Unix milliseconds
}

// MarshalJSON writes the fields, the time in Unix milliseconds.
func (w Worker) MarshalJSON() ([]byte, error) {
	return json.Marshal(workerJSON{w.ID, w.Metadata, millis.Of(w.LastSeen)})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (w *Worker) UnmarshalJSON(data []byte) error {
	var v workerJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*w = Worker{v.ID, v.Metadata, millis.Time(v.LastSeen)}
	return nil
}

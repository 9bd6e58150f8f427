package streamhub

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A Record is one unit of an append: a payload with metadata.
type Record struct {
	// Sequence is 0, or the sequence that this record must get. Records of one append are either
	// all 0 or contiguous; the first then acts as [AppendOptions.ExpectedSequence].
	Sequence uint64            `json:"sequence,omitempty"`
	Payload  []byte            `json:"payload"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// A TRX identifies the append that wrote an entry. Entries of one append share it.
type TRX struct {
	// ID names the append. The hub or client that made it recognises a repeat with the same id; see
	// [AppendOptions].TRX.
	ID uuid.UUID `json:"id"`
	// Node is hub.Options.Node of the instance that sent the append; the nil UUID if none was set.
	Node uuid.UUID `json:"node"`
	// Number is the number of the append in its segment, from 1.
	Number uint64 `json:"number"`
}

// An Entry is a stored record with its position. Payload and Metadata may share memory with other entries and must not
// be changed.
type Entry struct {
	Space    string
	Segment  string
	Sequence uint64
	// Timestamp is when Redis stored the entry, in UTC and whole milliseconds. It never decreases along a space.
	Timestamp time.Time
	TRX       TRX
	Metadata  map[string]string
	Payload   []byte
	// Position is the position of the entry; see [Entry.Cursor].
	Position Position
}

// Cursor returns the cursor that resumes after e: in its segment if e was read from a segment, in its space if it was
// read along the space.
func (e *Entry) Cursor() Cursor { return e.Position.Cursor() }

// entryJSON fixes the names of an entry's fields in JSON.
type entryJSON struct {
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"` // Unix milliseconds
	TRX       TRX               `json:"trx"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Payload   []byte            `json:"payload"`
	Cursor    Cursor            `json:"cursor,omitempty"`
}

// MarshalJSON writes the fields, the timestamp in Unix milliseconds, and the cursor.
func (e Entry) MarshalJSON() ([]byte, error) {
	return json.Marshal(entryJSON{e.Space, e.Segment, e.Sequence, millis.Of(e.Timestamp), e.TRX, e.Metadata, e.Payload, e.Cursor()})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var v entryJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	position, err := v.Cursor.Position()
	*e = Entry{v.Space, v.Segment, v.Sequence, millis.Time(v.Timestamp), v.TRX, v.Metadata, v.Payload, position}
	return err
}

package streamhub

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// A Record is what a producer appends.
type Record struct {
	// Sequence is 0, or the sequence that this record must get. Records of one append are either
	// all 0 or contiguous; the first then acts as [AppendOptions.ExpectedSequence].
	Sequence uint64            `json:"sequence,omitempty"`
	Payload  []byte            `json:"payload"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// A TRX identifies the append that wrote an entry. Entries of one append share it.
type TRX struct {
	// ID names the append; a repeat with the same id is recognised and stored once.
	ID uuid.UUID `json:"id"`
	// Node is the instance that sent it; the nil UUID where none was configured.
	Node uuid.UUID `json:"node"`
	// Number counts the appends of the segment from 1.
	Number uint64 `json:"number"`
}

// An Entry is what a reader gets. Payload and Metadata may share memory with other entries and
// must not be changed.
type Entry struct {
	Space    string `json:"space"`
	Segment  string `json:"segment"`
	Sequence uint64 `json:"sequence"`
	// Timestamp is when Redis took the entry, in Unix milliseconds. It never decreases along a
	// space.
	Timestamp int64             `json:"timestamp"`
	TRX       TRX               `json:"trx"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Payload   []byte            `json:"payload"`
	// Position is where the entry stands; see [Entry.Cursor].
	Position Position `json:"-"`
}

// Cursor returns the text that resumes reading after e: in its segment if e was read from a
// segment, in its space if it was read along the space.
func (e *Entry) Cursor() Cursor { return e.Position.Cursor() }

// Time returns the timestamp as a time.
func (e *Entry) Time() time.Time { return time.UnixMilli(e.Timestamp) }

// MarshalJSON writes the fields and the cursor.
func (e Entry) MarshalJSON() ([]byte, error) {
	type fields Entry
	return json.Marshal(struct {
		fields
		Cursor Cursor `json:"cursor,omitempty"`
	}{fields(e), e.Cursor()})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (e *Entry) UnmarshalJSON(data []byte) error {
	type fields Entry
	v := struct {
		*fields
		Cursor Cursor `json:"cursor"`
	}{fields: (*fields)(e)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	var err error
	e.Position, err = v.Cursor.Position()
	return err
}

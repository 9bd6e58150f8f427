package live

import (
	"encoding/json"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A Status describes a generation at one moment. Its times are in UTC and whole milliseconds.
type Status struct {
	ID         string
	Generation uint64
	// Verdict is nil as long as it is produced.
	Verdict *streamhub.Verdict
	// Chunks is how many were published, which is the sequence of the last one, and Cursor is
	// after that.
	Chunks uint64
	Cursor Cursor
	// LastTimestamp is when the last chunk, or the verdict, came.
	LastTimestamp time.Time
	// StartedAt is when the generation was registered; the zero Time for one that is not in force any
	// more.
	StartedAt time.Time
	// By is who produces the generation in force, where its producer has said so.
	By string
	// Viewers is how many readers are subscribed on all instances. It follows them with a delay of
	// about a tenth of a second.
	Viewers int
	// Metadata is what the producer has set.
	Metadata json.RawMessage
}

// statusJSON is a status as JSON, with all times in Unix milliseconds.
type statusJSON struct {
	ID            string             `json:"id"`
	Generation    uint64             `json:"generation"`
	Verdict       *streamhub.Verdict `json:"verdict,omitempty"`
	Chunks        uint64             `json:"chunks"`
	Cursor        Cursor             `json:"cursor,omitempty"`
	LastTimestamp int64              `json:"last_timestamp"`
	StartedAt     int64              `json:"started_at,omitempty"`
	By            string             `json:"by,omitempty"`
	Viewers       int                `json:"viewers"`
	Metadata      json.RawMessage    `json:"metadata,omitempty"`
}

// MarshalJSON writes the fields, with all times in Unix milliseconds.
func (s Status) MarshalJSON() ([]byte, error) {
	return json.Marshal(s.json())
}

func (s *Status) json() statusJSON {
	return statusJSON{
		s.ID, s.Generation, s.Verdict, s.Chunks, s.Cursor, millis.Of(s.LastTimestamp), millis.Of(s.StartedAt), s.By, s.Viewers, s.Metadata,
	}
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Status) UnmarshalJSON(data []byte) error {
	var v statusJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*s = Status{
		v.ID, v.Generation, v.Verdict, v.Chunks, v.Cursor, millis.Time(v.LastTimestamp), millis.Time(v.StartedAt), v.By, v.Viewers, v.Metadata,
	}
	return nil
}

// A Listed is a live stream in a list.
type Listed struct {
	Status
	// SilentAt is when its producer counts as silent unless it is heard of before; the zero Time for
	// one that is not produced any more.
	SilentAt time.Time
}

// listedJSON is a live stream in a list as JSON, with all times in Unix milliseconds.
type listedJSON struct {
	statusJSON
	SilentAt int64 `json:"silent_at,omitempty"`
}

// MarshalJSON writes the fields, with all times in Unix milliseconds.
func (l Listed) MarshalJSON() ([]byte, error) {
	return json.Marshal(listedJSON{l.json(), millis.Of(l.SilentAt)})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (l *Listed) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &l.Status); err != nil {
		return err
	}
	var v listedJSON
	err := json.Unmarshal(data, &v)
	l.SilentAt = millis.Time(v.SilentAt)
	return err
}

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
	// Verdict is nil while the generation has a producer.
	Verdict *streamhub.Verdict
	// Chunks is the number of chunks, which is the sequence of the last chunk. Cursor resumes after that chunk.
	Chunks uint64
	Cursor Cursor
	// LastTimestamp is when the last chunk or the verdict was stored.
	LastTimestamp time.Time
	// StartedAt is when the generation was registered; it is the zero Time if a later generation has begun.
	StartedAt time.Time
	// By is [RegisterOptions.By] of the current generation.
	By string
	// Viewers is how many readers are subscribed on all instances, as of about a tenth of a second
	// ago.
	Viewers int
	// Metadata is the JSON that the producer has set.
	Metadata json.RawMessage
}

// statusJSON is the JSON form of a status. Its times are in Unix milliseconds.
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

// A Listed is one live stream in the list of hub.Store.LiveStreams.
type Listed struct {
	Status
	// SilentAt is when the generation ends as lost unless its producer sends a sign of life before that. It is the zero
	// Time for a generation that has ended.
	SilentAt time.Time
}

// listedJSON is the JSON form of a Listed. Its times are in Unix milliseconds.
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

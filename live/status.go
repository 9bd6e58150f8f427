package live

import (
	"encoding/json"

	"github.com/seed-147127fe/streamhub"
)

// A Status describes a generation at one moment.
type Status struct {
	ID         string `json:"id"`
	Generation uint64 `json:"generation"`
	// Verdict is nil as long as it is produced.
	Verdict *streamhub.Verdict `json:"verdict,omitempty"`
	// Chunks is how many were published, which is the sequence of the last one, and Cursor is
	// after that.
	Chunks uint64 `json:"chunks"`
	Cursor Cursor `json:"cursor,omitempty"`
	// LastTimestamp is when the last chunk, or the verdict, came; StartedAt when it was
	// registered, 0 for one that is not in force any more. Unix milliseconds.
	LastTimestamp int64 `json:"last_timestamp"`
	StartedAt     int64 `json:"started_at,omitempty"`
	// By is who produces the generation in force, where its producer has said so.
	By string `json:"by,omitempty"`
	// Viewers is how many readers are subscribed on all instances. It follows them with a delay of
	// about a tenth of a second.
	Viewers int `json:"viewers"`
	// Metadata is what the producer has set.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

package live

import (
	"time"

	"github.com/seed-147127fe/streamhub"
)

// A Chunk holds the bytes of one call of Publish, and its place in the generation.
type Chunk struct {
	Generation uint64
	// Sequence numbers the chunks of a generation 1, 2, 3, …
	Sequence uint64
	// Timestamp is when Redis stored the chunk, in UTC and whole milliseconds.
	Timestamp time.Time
	// Data may share memory with the chunks of other readers and must not be changed.
	Data []byte
	// Replayed is how many chunks Data holds, one after the other: 1, except for the first chunk of a batch replay.
	// Sequence is the number of the last one.
	Replayed uint64

	// Position is the position of the chunk in the segment of its generation; see [Chunk.Cursor].
	Position streamhub.Position
}

// Cursor returns the cursor that resumes after the chunk.
func (c *Chunk) Cursor() Cursor { return CursorAt(c.Generation, c.Position) }

// An Event is a chunk, or the error that a subscription ends with.
type Event struct {
	Chunk
	Err error
}

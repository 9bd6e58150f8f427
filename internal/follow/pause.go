package follow

import (
	"time"

	"github.com/seed-147127fe/streamhub/internal/pause"
)

// pauses returns the pauses between failed reads.
func pauses() pause.Backoff {
	return pause.Backoff{First: 20 * time.Millisecond, Longest: time.Second}
}

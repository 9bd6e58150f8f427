package follow

import (
	"time"

	"github.com/seed-147127fe/streamhub/internal/pause"
)

// pauses are those between reads that fail.
func pauses() pause.Backoff {
	return pause.Backoff{First: 20 * time.Millisecond, Longest: time.Second}
}

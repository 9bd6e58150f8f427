package livestream

import (
	"log/slog"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

const (
	minHeartbeat = 20 * time.Millisecond
	minTTL       = time.Millisecond
	// window is the silence, in heartbeats, after which a producer counts as lost. What remains to
	// two heartbeats is for noticing it.
	window = 1.8
	// breath is the time between two beats of a space, in heartbeats, after which everybody is
	// taken to have been cut off.
	breath = 1.5
)

// fill sets what was left out to its default.
func fill(o *live.Options) {
	fallback(&o.Heartbeat, 5*time.Second)
	o.Heartbeat = max(o.Heartbeat, minHeartbeat)
	if o.MaxDelay == 0 {
		o.MaxDelay = 20 * time.Millisecond
	}
	fallback(&o.MaxChunks, 64)
	o.MaxChunks = min(o.MaxChunks, streamhub.MaxFrameRecords)
	fallback(&o.MaxChunkBytes, streamhub.MaxRecordBytes)
	fallback(&o.BufferBytes, 1<<20)
	fallback(&o.IdleTTL, 10*time.Minute)
	fallback(&o.EndedTTL, 5*time.Minute)
	fallback(&o.CancelGrace, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func fallback[T ~int | ~int64](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// silence is how long a producer may say nothing.
func (m *Manager) silence() time.Duration {
	return time.Duration(window * float64(m.opt.Heartbeat))
}

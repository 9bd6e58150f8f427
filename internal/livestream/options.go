package livestream

import (
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/option"
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
	option.Default(&o.Heartbeat, 5*time.Second)
	o.Heartbeat = max(o.Heartbeat, minHeartbeat)
	if o.MaxDelay == 0 {
		o.MaxDelay = 20 * time.Millisecond
	}
	option.Default(&o.MaxChunks, 64)
	o.MaxChunks = min(o.MaxChunks, streamhub.MaxFrameRecords)
	option.Default(&o.MaxChunkBytes, streamhub.MaxRecordBytes)
	option.Default(&o.BufferBytes, 1<<20)
	option.Default(&o.IdleTTL, 10*time.Minute)
	option.Default(&o.EndedTTL, 5*time.Minute)
	option.Default(&o.CancelGrace, 5*time.Second)
	option.Logger(&o.Logger)
}

// silence is how long a producer may say nothing.
func (m *Manager) silence() time.Duration {
	return time.Duration(window * float64(m.opt.Heartbeat))
}

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
	// window is the silence, in heartbeats, after which a producer counts as lost. The rest of two heartbeats is the
	// time in which an instance must notice the silence.
	window = 1.8
	// breath is the time between two beats of a space, in heartbeats, after which all producers are assumed to have
	// been cut off by an outage.
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

// silence returns how long a producer may be silent before it counts as lost.
func (m *Manager) silence() time.Duration {
	return time.Duration(window * float64(m.opt.Heartbeat))
}

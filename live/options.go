package live

import (
	"log/slog"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// Options configure a [Manager]; nil stands for the defaults.
type Options struct {
	// Heartbeat is how often a producer says that it is there. One that died is noticed within two
	// heartbeats, wherever somebody reads. All instances should agree on it. The default is 5 s.
	Heartbeat time.Duration
	// MaxDelay and MaxChunks say how chunks that are published one after the other travel together:
	// they leave when the first one has waited so long, 20 ms by default, or when there are so
	// many, 64 by default. A negative MaxDelay lets none wait.
	MaxDelay  time.Duration
	MaxChunks int
	// MaxChunkBytes limits a chunk; the default is [streamhub.MaxRecordBytes].
	MaxChunkBytes int
	// BufferBytes is about how much a producer may be ahead of Redis before Publish waits. The
	// default is 1 MiB.
	BufferBytes int
	// IdleTTL ends a generation with the verdict expired when nothing was published for so long;
	// the default is 10 min. EndedTTL is how long it can be read after its end; the default is
	// 5 min. Both can be set for each generation.
	IdleTTL, EndedTTL time.Duration
	// CancelGrace is what a producer that is asked to stop has for its last chunks and its own
	// verdict, before the verdict cancelled is written for it. The default is 5 s.
	CancelGrace time.Duration
	// Logger gets what no caller is told; the default discards it.
	Logger *slog.Logger
}

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

func (o *Options) fill() {
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
func (o *Options) silence() time.Duration { return time.Duration(window * float64(o.Heartbeat)) }

package tier

import (
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub/archive"
)

// Options say what a hub moves into its archive, and how; the zero value moves nothing.
type Options struct {
	// Policy applies to every space for which PolicyFor returns none. The zero Policy moves
	// nothing.
	Policy Policy
	// PolicyFor, if not nil, returns the policy of a space, or nil for Policy.
	PolicyFor func(store uuid.UUID, space string) *Policy
	// Every is the interval between two runs of the archiver; the default is 10 s. With a negative
	// value it runs only when hub.Hub.ArchiveNow is called.
	Every time.Duration
	// Recent is how long the archived part of a timeline stays in Redis, so that resuming followers find their place
	// without the archive. The default is a minute. In a space over its HotBytes it is removed at once.
	Recent time.Duration
	// WindowBytes is roughly how many bytes are archived in one step; the default is 8 MiB.
	// ChunkBytes is the approximate size of a chunk before compression; the default is 1 MiB.
	WindowBytes, ChunkBytes int
	// CacheBytes bounds the cache of decompressed chunks; the default is 64 MiB.
	CacheBytes int
	// Logger receives background failures, which no call returns; the default discards them.
	Logger *slog.Logger
	// MeterProvider defaults to the global one of OpenTelemetry.
	MeterProvider metric.MeterProvider
}

// A Policy is a set of rules. An entry to which no rule applies stays in Redis.
type Policy struct {
	// Age moves entries that are older than this; 0 is no rule.
	Age time.Duration
	// Idle moves all entries of a segment that had no append for this long; 0 is no rule.
	Idle time.Duration
	// HotBytes limits the memory that the entries of the space take in Redis; 0 is no rule. Above three quarters of it
	// the oldest entries move, until half of it is used. Above seven eighths appends end with
	// [streamhub.ErrUnavailable] (reason full) until enough entries have moved. Processes notice that within two
	// seconds, and append until then. So choose a limit whose eighth is more than the bytes written in two seconds.
	HotBytes int64
	// KeepLast entries of each segment stay, whatever Age and HotBytes say.
	KeepLast uint64
}

// A Restored is the result of hub.Hub.RestoreSpace.
type Restored struct {
	Space    archive.SpaceID
	Segments int
	Entries  uint64
}

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
	// Policy is that of every space that PolicyFor has none for. The zero Policy moves nothing.
	Policy Policy
	// PolicyFor, if not nil, returns the policy of a space, or nil for Policy.
	PolicyFor func(store uuid.UUID, space string) *Policy
	// Every is how often the archiver looks what is due; the default is 10 s. Negative: only when it
	// is asked to, with hub.Hub.ArchiveNow.
	Every time.Duration
	// Recent is how long the archived part of a timeline stays in Redis for followers that look for
	// their place in it; the default is a minute. Without room it goes at once.
	Recent time.Duration
	// WindowBytes is about how much is archived in one step; the default is 8 MiB. ChunkBytes is
	// about the size of one chunk before it is compressed; the default is 1 MiB.
	WindowBytes, ChunkBytes int
	// CacheBytes bounds what is kept unfolded for readers; the default is 64 MiB.
	CacheBytes int
	// Logger gets what no caller is told; the default discards it.
	Logger *slog.Logger
	// MeterProvider defaults to the global one of OpenTelemetry.
	MeterProvider metric.MeterProvider
}

// A Policy says what leaves Redis. What none of its rules names stays.
type Policy struct {
	// Age is how old an entry becomes in Redis; 0 is no rule.
	Age time.Duration
	// Idle is how long a segment may be without a new entry until all of it leaves; 0 is no rule.
	Idle time.Duration
	// HotBytes is what the entries of the space may take in Redis; 0 is no rule. Above three quarters
	// of it the oldest ones leave, down to a half. Above seven eighths appends of entries end with
	// [streamhub.ErrUnavailable] (full) until they have: what is left is for appends that come before
	// every process has heard of it.
	HotBytes int64
	// KeepLast entries of each segment stay, whatever Age and HotBytes say.
	KeepLast uint64
}

// A Restored says what a restore brought back.
type Restored struct {
	Space    archive.SpaceID
	Segments int
	Entries  uint64
}

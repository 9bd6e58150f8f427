package live

import (
	"log/slog"
	"time"
)

// Options are the defaults of the live streams of a hub; nil stands for those stated here.
type Options struct {
	// Heartbeat is how often a producer says that it is there. One that died is noticed within two
	// heartbeats, wherever there is a reader. All instances should agree on it. The default is 5 s.
	Heartbeat time.Duration
	// MaxDelay and MaxChunks say how chunks that are published one after the other travel together:
	// they leave when the first one has waited so long, 20 ms by default, or when there are so
	// many, 64 by default. A negative MaxDelay lets none wait.
	MaxDelay  time.Duration
	MaxChunks int
	// MaxChunkBytes limits a chunk; the default is [streamhub.MaxRecordBytes].
	MaxChunkBytes int
	// BufferBytes is about how much of a producer's data may wait for Redis before Publish blocks. The
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

// RegisterOptions say how a generation is begun; nil stands for the defaults.
type RegisterOptions struct {
	// Takeover ends a generation that is being produced with the verdict superseded and begins the
	// next one.
	Takeover bool
	// Once does not begin another generation as long as one is kept, finished or not. It makes
	// starting a job safe to repeat.
	Once bool
	// OnCancel is called at most once, when the producer has to stop before it has ended the
	// generation itself, with the reason: a [CancelError]; a [streamhub.FencedError] if another
	// took over; a [streamhub.ClosedError] if it has a verdict; [streamhub.ErrHistoryLost];
	// [streamhub.ErrShutdown]. It must return for the manager to close.
	OnCancel func(reason error)
	// Metadata is kept with the stream as JSON, at most 64 KiB; see [Producer.SetMetadata].
	Metadata any
	// By says who produces, for those who find the stream taken; see [Status.By]. At most 256 bytes.
	By string
	// Key makes a registration safe to repeat: the same key begins the same generation once. It is as
	// secret as the token that it becomes a part of: 16 to 64 letters and digits from a good source of
	// random bytes. The default is such a key.
	Key string
	// ContentType is that of the segment of the chunks.
	ContentType string
	// CancelUnwatched cancels the generation when it had no reader on any instance for so long.
	// The default, 0, never does.
	CancelUnwatched time.Duration
	// IdleTTL and EndedTTL replace those of [Options].
	IdleTTL, EndedTTL time.Duration
}

// SubscribeOptions say where a subscription begins; nil stands for the first chunk.
type SubscribeOptions struct {
	// Cursor resumes after a chunk. If that is of another generation than the stream, the
	// subscription is to that one: its reader gets the rest of it and its verdict first.
	Cursor Cursor
	// BatchReplay joins what is there when the subscription begins into one chunk.
	BatchReplay bool
	// Buffer is the capacity of the channel that [Stream.Channel] returns.
	Buffer int
}

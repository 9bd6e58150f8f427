package live

import (
	"log/slog"
	"time"
)

// Options configure the live streams of a hub; nil stands for the defaults.
type Options struct {
	// Heartbeat is the interval between signs of life of a producer. The hub sends them as long as its process lives,
	// even if the job of the producer hangs; IdleTTL ends a hanging job. Only a [RemoteProducer] sends its own. If a
	// producer dies, an instance with a reader detects it within two intervals. All instances should use the same
	// interval. The default is 5 s.
	Heartbeat time.Duration
	// MaxDelay and MaxChunks batch chunks: a batch is sent when its first chunk has waited for
	// MaxDelay, 20 ms by default, or when it has MaxChunks chunks, 64 by default. A negative
	// MaxDelay sends each chunk at once.
	MaxDelay  time.Duration
	MaxChunks int
	// MaxChunkBytes limits the size of a chunk and of a message to a producer; the default is
	// [streamhub.MaxRecordBytes].
	MaxChunkBytes int
	// BufferBytes is roughly how many bytes of unstored chunks a producer may have before Publish blocks. The default
	// is 1 MiB.
	BufferBytes int
	// IdleTTL ends a generation with the verdict expired if nothing was published for that long;
	// the default is 10 min. EndedTTL is how long a generation can be read after its end; the
	// default is 5 min. [RegisterOptions] can replace both.
	IdleTTL, EndedTTL time.Duration
	// CancelGrace is how long a producer that is asked to stop has for its last chunks and its own
	// verdict. After that an instance writes the verdict cancelled. The default is 5 s.
	CancelGrace time.Duration
	// Logger receives background failures, which no call returns; the default discards them.
	Logger *slog.Logger
}

// RegisterOptions configure a new generation; nil stands for the defaults.
type RegisterOptions struct {
	// Takeover begins a generation even if another producer has the stream, whose generation ends with the verdict
	// superseded.
	Takeover bool
	// With Once, Register begins no generation while an earlier one is kept, ended or not, and returns that one
	// instead. So starting a job is safe to repeat.
	Once bool
	// OnCancel is called at most once, when the producer has to stop before it has ended the generation itself, with
	// the reason: a [CancelError]; a [streamhub.FencedError] if another producer took over; a [streamhub.ClosedError]
	// if the generation already has a verdict; [streamhub.ErrHistoryLost]; [streamhub.ErrShutdown]. Closing the hub
	// waits until it returns.
	OnCancel func(reason error)
	// Metadata is kept with the stream as JSON, at most 64 KiB; see [Producer.SetMetadata].
	Metadata any
	// By names the producer for callers that find the stream taken; see [Status.By]. It has at most
	// 256 bytes.
	By string
	// Key makes a registration safe to repeat: registrations with one key begin one generation. It is
	// 16 to 64 letters and digits from crypto/rand, and as secret as the token, which contains it. The
	// default is a new random key.
	Key string
	// ContentType is the content type of the segment that holds the chunks.
	ContentType string
	// CancelUnwatched cancels the generation if it had no reader on any instance for that long. The
	// default, 0, never does.
	CancelUnwatched time.Duration
	// IdleTTL and EndedTTL replace those of [Options].
	IdleTTL, EndedTTL time.Duration
}

// SubscribeOptions say where a subscription begins; nil stands for the first chunk.
type SubscribeOptions struct {
	// Cursor resumes after a chunk. If the chunk belongs to another generation than the stream, the subscription reads
	// the rest and the verdict of that other generation. If that one is no longer kept, the error is
	// [streamhub.ErrNotFound], and its verdict is unknown.
	Cursor Cursor
	// BatchReplay joins all chunks that are stored when the subscription begins into one chunk.
	BatchReplay bool
	// Buffer is the capacity of the channel that [Stream.Channel] returns.
	Buffer int
}

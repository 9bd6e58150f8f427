package live

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// A RemoteProducer publishes to a generation through any instance, which recognises it by its token.
// No instance keeps state for it, so it survives the death of an instance, and of its own process if
// the token was saved. It is safe for concurrent use, but the caller numbers the chunks.
//
// A remote producer calls Publish, or Beat if it has nothing to publish, at least once every
// [RemoteProducer.Silence]. Otherwise the generation ends with the verdict lost.
type RemoteProducer interface {
	// ID and Generation name the stream and the generation.
	ID() string
	Generation() uint64
	// Token resumes the producer with [Streams.Resume]. It is a secret: a caller that has it can
	// publish.
	Token() string
	// Silence is how long the producer may send nothing.
	Silence() time.Duration
	// Publish stores chunks, all or none. The first one gets the number first. Publish returns the
	// number of the next chunk. Chunks that are stored already are skipped, so a call whose answer
	// was lost is safe to repeat. If first is too high the error is a [streamhub.SequenceError].
	Publish(ctx context.Context, first uint64, chunks [][]byte) (next uint64, err error)
	// Beat keeps the generation alive without a chunk, and returns the number of the next chunk.
	Beat(ctx context.Context) (next uint64, err error)
	// SetMetadata replaces the metadata of the stream: JSON of at most 64 KiB.
	SetMetadata(ctx context.Context, metadata json.RawMessage) error
	// Messages yields the messages of readers, like [Producer.Messages]. A request to stop is a message with Stop set. Over a
	// gateway, a call that begins after the generation has ended yields none.
	Messages(ctx context.Context, after uint64) iter.Seq2[Message, error]
	// End ends the generation like [Producer.End] and returns its verdict. That is not the given verdict if another
	// call ended the generation first. If another producer took over, the error is a [streamhub.FencedError].
	End(ctx context.Context, verdict streamhub.Verdict) (streamhub.Verdict, error)
}

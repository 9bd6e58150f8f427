package live

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// A RemoteProducer publishes to a generation through any instance: its token stands for it. Nothing of
// it lives in a process, so it goes on after the death of an instance, or of its own process if it
// kept the token. It is safe for concurrent use, but chunks are numbered by the caller.
//
// A remote producer has to be heard of within [RemoteProducer.Silence]: by Publish, or by Beat if it
// has nothing to publish. Otherwise the generation ends with the verdict lost.
type RemoteProducer interface {
	// ID and Generation name what it produces.
	ID() string
	Generation() uint64
	// Token resumes the producer with [Streams.Resume]. It is a secret: who knows it can publish.
	Token() string
	// Silence is how long the producer may say nothing.
	Silence() time.Duration
	// Publish stores chunks, all or none. The first gets the number first. It returns the
	// number of the next one. Chunks that were stored before are passed over, so a call whose answer
	// was lost can be made again. If first is too high the error is a [streamhub.SequenceError].
	Publish(ctx context.Context, first uint64, chunks [][]byte) (next uint64, err error)
	// Beat says that the producer is there, and returns the number of the next chunk.
	Beat(ctx context.Context) (next uint64, err error)
	// SetMetadata replaces what the stream keeps as metadata: JSON of at most 64 KiB.
	SetMetadata(ctx context.Context, metadata json.RawMessage) error
	// Messages gives what readers send, as those of [Producer] do. A request to stop is one with Stop.
	Messages(ctx context.Context, after uint64) iter.Seq2[Message, error]
	// End ends the generation and returns its verdict: that of an earlier End, or of another caller, if
	// there is one. A generation that another producer took over is a [streamhub.FencedError].
	End(ctx context.Context, verdict streamhub.Verdict) (streamhub.Verdict, error)
}

// Package live names what programs do with live streams: the output of a job, such as the answer of
// a language model, that one place produces, that others read while it grows, and that always ends
// with a verdict.
//
// A hub gives the live streams of a space: hub.Store.Live. The types here are the same for every
// way to reach them, and link no Redis.
//
// # Generations
//
// An id names a stream. Each [Streams.Register] that returns a [Producer] begins a new generation of
// it, under a number that only grows. A reader stays with the generation that it began with, is told
// how that ended, and may then go on to the next. Only the producer of the current generation can
// publish; what an earlier one still sends is refused with a [streamhub.FencedError].
//
// # Verdicts
//
//	done        the producer said so, perhaps with an output
//	failed      the producer said so, with an error
//	cancelled   somebody asked for it
//	lost        the producer was silent for too long
//	superseded  another producer took over
//	expired     nothing was published for too long
//	deleted     it was removed
//
// A verdict is written once, by the producer or by the instance that notices first. It is the last
// thing that every reader gets: the [streamhub.ClosedError] after the last chunk.
//
// # Messages to the producer
//
// Readers reach the producer through the stream: [Stream.Cancel] asks it to stop, [Stream.Send]
// stores a message for it. Both are kept in order and survive restarts of either side. Of several
// answers to one question the first one wins.
package live

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
)

// MaxIDLength is the most bytes the id of a live stream may have; they can be any.
const MaxIDLength = 1000

// Streams are the live streams of one space. They are safe for concurrent use and need no closing.
// On a cluster a space lies on one node, so an application with very many streams spreads them over
// several spaces.
type Streams interface {
	// Register makes the caller the producer of the next generation of a stream. If another producer
	// has the stream, or with [RegisterOptions.Once] if a generation is still kept, the Producer is
	// nil and the Stream is that generation, for reading. Without an error exactly one of the two is
	// not nil.
	//
	// The generation outlives ctx, which bounds the registration only. Its producer has to end it,
	// with Done, Fail, End or Close.
	Register(ctx context.Context, id string, options *RegisterOptions) (Producer, Stream, error)
	// Start is Register for a producer that no process keeps: any instance takes what it publishes.
	// [RegisterOptions.OnCancel] and CancelUnwatched are refused.
	Start(ctx context.Context, id string, options *RegisterOptions) (RemoteProducer, Stream, error)
	// Resume returns the producer that has a token. A token that was never given for this stream is
	// [streamhub.ErrPermissionDenied]; one of an earlier generation is a [streamhub.FencedError] or, if
	// that generation has ended, a [streamhub.ClosedError].
	Resume(ctx context.Context, id, token string) (RemoteProducer, error)
	// Get returns the current generation, as long as it can be read; [streamhub.ErrNotFound] means
	// that there is none.
	Get(ctx context.Context, id string) (Stream, error)
	// Await is Get for a stream that may not have been registered yet: it waits until the stream is, or
	// until ctx ends. An instance makes at most 1,000 look-ups a second for each space, for all
	// callers and ids together. So the wait for one of few ids ends within a quarter of a second
	// after the registration.
	Await(ctx context.Context, id string) (Stream, error)
	// Generation returns the generation with that number without asking whether it exists.
	Generation(id string, generation uint64) (Stream, error)
	// Follow gives several streams in one sequence: of each the chunks in order, and the verdict after the
	// last one. A stream that has not begun is waited for. The cursor is that of the space, so it takes
	// up as little of an update as that of one stream. A generation that another one takes over from is
	// followed by that one; otherwise a stream has ended with its generation, and the sequence with the
	// last of the streams. It reads what is stored of the space while it catches up.
	Follow(ctx context.Context, ids []string, options *FollowOptions) iter.Seq2[Update, error]
	// List gives the current generation of every stream that is kept. A stream that begins anew
	// meanwhile may be given twice.
	List(ctx context.Context, options *ListOptions) iter.Seq2[Stream, error]
	// Active says which of the streams have a producer. A producer that died counts until a reader
	// notices.
	Active(ctx context.Context, ids []string) (map[string]bool, error)
	// Remove ends the stream, if it is being produced, with the verdict deleted, and removes it with
	// everything that it keeps. Removing what is not there is no error.
	Remove(ctx context.Context, id string) error
}

// A Stream is one generation of a live stream, as everybody but its producer sees it. It holds
// nothing, needs no closing, and is safe for concurrent use.
type Stream interface {
	ID() string
	// Generation is the number of the generation.
	Generation() uint64
	// Subscribe replays the generation and goes on live: every chunk once, in order. It ends with one
	// last error: the [streamhub.ClosedError] that carries the verdict, or what stood in the way.
	// While Redis does not answer it waits. Chunks come from the log, so a slow reader loses none and
	// delays no other, for as long as the generation is kept.
	//
	// The sequence runs in the caller's goroutine, and can be ranged over again.
	Subscribe(ctx context.Context, options *SubscribeOptions) iter.Seq2[Chunk, error]
	// Channel is Subscribe for programs that select. The channel is closed after the event that has
	// the error; a reader that stops before that has to end ctx.
	Channel(ctx context.Context, options *SubscribeOptions) <-chan Event
	// Wait returns the verdict of the generation when it has one.
	Wait(ctx context.Context) (streamhub.Verdict, error)
	// Status describes the generation. One that is not kept any more is [streamhub.ErrNotFound].
	Status(ctx context.Context) (Status, error)
	// Metadata reads what the producer has set into v and reports whether there was any.
	Metadata(ctx context.Context, v any) (bool, error)
	// Cancel asks the producer to stop, waits for the verdict and returns it. The request is stored:
	// it reaches the producer once, wherever that is, even if it cannot be notified now. A producer
	// has [Options.CancelGrace] for its last chunks and a verdict of its own; after that the verdict
	// cancelled is written for it. If another caller asked before, Cancel only waits. A generation that has
	// ended is no error.
	//
	// If ctx ends first the request stays. With [CancelOptions.NoWait] the verdict returned is the
	// zero one unless the generation had ended.
	Cancel(ctx context.Context, options *CancelOptions) (streamhub.Verdict, error)
	// Send stores a message for the producer and returns its sequence. Messages keep their order.
	// Once the generation has ended, the error is a [streamhub.ClosedError].
	Send(ctx context.Context, data []byte, options *SendOptions) (sequence uint64, err error)
}

// A Producer is the one that may publish to a generation. It is safe for concurrent use; chunks that
// one goroutine publishes keep their order.
type Producer interface {
	Stream
	// Publish adds a chunk. It is stored together with others a moment later, see [Options.MaxDelay].
	// Publish does not wait for that unless it is [Options.BufferBytes] ahead; Flush does, and so
	// does every call that ends the generation. While Redis does not answer, chunks wait. While the
	// generation is being ended, Publish waits for the outcome.
	//
	// An error says that the generation is over for this producer: by its verdict
	// ([streamhub.ClosedError]), or because another producer has it ([streamhub.FencedError]).
	Publish(ctx context.Context, data []byte) error
	// Flush waits until every chunk that was published before is stored.
	Flush(ctx context.Context) error
	// SetMetadata replaces what the stream keeps as metadata: anything that becomes JSON of at most
	// 64 KiB.
	SetMetadata(ctx context.Context, v any) error
	// Messages gives what readers send, after the message with sequence after, or all of it for 0:
	// first what is there, then as it comes. It ends with a [streamhub.ClosedError] when the
	// generation has ended.
	Messages(ctx context.Context, after uint64) iter.Seq2[Message, error]
	// Context ends when the producer has to stop, or has ended the generation; its cause is then what
	// [RegisterOptions.OnCancel] is told.
	Context() context.Context
	// Done ends the generation with the verdict done. The output, unless nil, is kept with it as JSON.
	Done(ctx context.Context, output any) error
	// Fail ends the generation with the verdict failed and the text of reason. If a caller has asked
	// the producer to stop and reason is the end of a context, the verdict is cancelled.
	Fail(ctx context.Context, reason error) error
	// End ends the generation with any verdict, after everything that was published. It takes effect
	// once: where another verdict was first, the error is a [streamhub.ClosedError] that carries it,
	// or a [streamhub.FencedError]. If ctx ends before, it is unknown whether the verdict was written;
	// calling End again with the same verdict is safe.
	End(ctx context.Context, verdict streamhub.Verdict) error
	// HandOver gives up the generation without ending it: it waits until everything published is stored
	// and returns the token with which [Streams.Resume] goes on anywhere, and the number of the next
	// chunk. Every later call is refused with [streamhub.ErrFenced].
	HandOver(ctx context.Context) (token string, next uint64, err error)
	// Close ends the generation unless that was done before: with the verdict cancelled if a caller
	// has asked the producer to stop, and otherwise failed. It is there to be deferred.
	Close(ctx context.Context) error
}

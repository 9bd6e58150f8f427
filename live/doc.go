// Package live defines live streams. A live stream is the output of a job, such as the answer of a language model: one
// producer writes it, any number of readers follow it while it grows, and it always ends with a verdict.
//
// Open live streams with hub.Store.Live in process, or with client.Store.Live through a gateway. Both return a
// [Streams]. This package links no Redis.
//
// # Generations
//
// An id names a stream. Each [Streams.Register] that returns a [Producer] begins a new generation of the stream, with a
// higher number. A reader reads one generation to its verdict, and may then read the next one. Only the producer of the
// current generation can publish; an earlier one gets a [streamhub.FencedError].
//
// # Verdicts
//
//	done        the producer called Done, perhaps with an output
//	failed      the producer called Fail with an error
//	cancelled   a caller of Cancel asked the producer to stop
//	lost        the producer sent no sign of life for too long
//	superseded  another producer took over
//	expired     nothing was published for too long
//	deleted     the stream was removed
//
// A verdict is written once, by the producer or by the first instance that detects the end. Every reader gets it last,
// in the [streamhub.ClosedError] after the last chunk.
//
// # Messages to the producer
//
// Readers reach the producer through the stream: [Stream.Cancel] asks it to stop, and [Stream.Send] stores a message
// for it. Both are stored in order and survive a restart of the reader or the producer. With [SendOptions.Once] only
// the first of several answers to one question is stored.
package live

import (
	"context"
	"iter"

	"github.com/seed-147127fe/streamhub"
)

// MaxIDLength is the maximum length of the id of a live stream, in bytes. An id may contain any bytes.
const MaxIDLength = 1000

// Streams are the live streams of one space. They are safe for concurrent use and need no closing.
// On a cluster a space lies on one node, so an application with very many streams spreads them over
// several spaces.
type Streams interface {
	// Register makes the caller the producer of the next generation of a stream. The Producer is nil if another
	// producer has the stream or, with [RegisterOptions.Once], if a generation is still kept. The Stream is then that
	// generation, for reading. Without an error exactly one of the two is not nil.
	//
	// ctx bounds the registration only. The producer ends the generation with Done, Fail, End or Close.
	Register(ctx context.Context, id string, options *RegisterOptions) (Producer, Stream, error)
	// Start is like Register, for a producer that belongs to no instance: it may publish through any instance.
	// [RegisterOptions.OnCancel] and CancelUnwatched are refused.
	Start(ctx context.Context, id string, options *RegisterOptions) (RemoteProducer, Stream, error)
	// Resume returns the producer that a token names. The error is [streamhub.ErrPermissionDenied] if the token was
	// never issued for this stream. For a token of an earlier generation it is a [streamhub.FencedError] or, if that
	// generation has ended, a [streamhub.ClosedError]. It is [streamhub.ErrHistoryLost] if Redis has lost the
	// generation, and [streamhub.ErrNotFound] if Redis has lost the whole stream.
	Resume(ctx context.Context, id, token string) (RemoteProducer, error)
	// Get returns the current generation if it can still be read, and [streamhub.ErrNotFound]
	// otherwise.
	Get(ctx context.Context, id string) (Stream, error)
	// Await is like Get, but waits until the stream is registered or ctx ends. An instance makes at most 1,000 look-ups
	// a second for each space, for all callers and ids together. With few ids the wait ends within a quarter of a
	// second after the registration.
	Await(ctx context.Context, id string) (Stream, error)
	// Generation returns the generation with that number without asking whether it exists.
	Generation(id string, generation uint64) (Stream, error)
	// Follow yields several streams in one sequence: the chunks of each stream in order, and then its verdict. It waits
	// for streams that are not registered yet. The cursor of an update resumes all streams; its length does not grow
	// with their number. If a producer takes over a stream, its new generation follows; otherwise a stream ends with
	// its generation, and the sequence ends with the last stream. To catch up, Follow reads all entries of the space
	// after the cursor.
	Follow(ctx context.Context, ids []string, options *FollowOptions) iter.Seq2[Update, error]
	// List yields the current generation of every stream that is kept. A stream that is registered again meanwhile may
	// appear twice.
	List(ctx context.Context, options *ListOptions) iter.Seq2[Stream, error]
	// Active reports which of the streams have a producer. A dead producer counts until a reader's
	// instance detects its silence.
	Active(ctx context.Context, ids []string) (map[string]bool, error)
	// Remove removes the stream and everything that it keeps. A current generation ends with the
	// verdict deleted. Removing an unknown stream is no error.
	Remove(ctx context.Context, id string) error
}

// A Stream is one generation of a live stream, for its readers. It holds no connection, needs no
// closing, and is safe for concurrent use.
type Stream interface {
	ID() string
	// Generation is the number of the generation.
	Generation() uint64
	// Subscribe replays the generation and then follows it: every chunk once, in order. It ends with
	// one last error: the [streamhub.ClosedError] that carries the verdict, or the error that stops
	// the read. While Redis does not answer it waits. Chunks come from the log, so a slow reader
	// loses none and delays no other, for as long as the generation is kept.
	//
	// The sequence runs in the caller's goroutine, and can be ranged over again.
	Subscribe(ctx context.Context, options *SubscribeOptions) iter.Seq2[Chunk, error]
	// Channel is like Subscribe, for programs that use a select statement. The channel is closed after the event that
	// has the error; a reader that stops earlier must cancel ctx.
	Channel(ctx context.Context, options *SubscribeOptions) <-chan Event
	// Wait blocks until the generation has a verdict and returns it. The error is [streamhub.ErrNotFound] if the
	// generation is no longer kept.
	Wait(ctx context.Context) (streamhub.Verdict, error)
	// Status describes the generation. The error is [streamhub.ErrNotFound] if the generation is no longer kept.
	Status(ctx context.Context) (Status, error)
	// Metadata decodes the JSON metadata that the producer has set into v. It reports false if
	// there is none.
	Metadata(ctx context.Context, v any) (bool, error)
	// Cancel asks the producer to stop, waits for the verdict and returns it. The request is stored, so it reaches the
	// producer once, on any instance, even if the producer cannot be notified now. The producer has
	// [Options.CancelGrace] for its last chunks and its own verdict; after that an instance writes the verdict
	// cancelled. If another caller has asked before, Cancel only waits. If the generation has already ended, Cancel
	// returns its verdict.
	//
	// If ctx ends first, the request stays stored. With [CancelOptions.NoWait] the verdict is zero unless the
	// generation has ended.
	Cancel(ctx context.Context, options *CancelOptions) (streamhub.Verdict, error)
	// Send stores a message for the producer and returns its sequence. Messages keep their order.
	// Once the generation has ended, the error is a [streamhub.ClosedError].
	Send(ctx context.Context, data []byte, options *SendOptions) (sequence uint64, err error)
}

// A Producer publishes to one generation, from the process that registered it. It is safe for
// concurrent use; chunks that one goroutine publishes keep their order.
type Producer interface {
	Stream
	// Publish adds a chunk to the buffer. The hub stores buffered chunks in batches, see [Options.MaxDelay]. Publish
	// blocks only while the buffer holds [Options.BufferBytes]. Flush and every call that ends the generation wait.
	// While Redis does not answer, chunks stay in the buffer. While the generation is being ended, Publish waits for
	// the outcome.
	//
	// After an error the producer can publish no more: the generation has a verdict ([streamhub.ClosedError]), another
	// producer took over ([streamhub.FencedError]), or Redis has lost the generation ([streamhub.ErrHistoryLost]).
	Publish(ctx context.Context, data []byte) error
	// Flush waits until every chunk that was published before is stored.
	Flush(ctx context.Context) error
	// SetMetadata replaces the metadata of the stream with the JSON of v, at most 64 KiB.
	SetMetadata(ctx context.Context, v any) error
	// Messages yields the messages of readers whose sequence is greater than after, 0 for all: first the stored ones,
	// then new ones. It ends with a [streamhub.ClosedError] when the generation has ended.
	Messages(ctx context.Context, after uint64) iter.Seq2[Message, error]
	// Context returns a context that ends when the producer has to stop, or has ended the generation. Its cause is the
	// error that [RegisterOptions.OnCancel] receives.
	Context() context.Context
	// Done ends the generation with the verdict done. The output, unless nil, is kept with it as JSON.
	Done(ctx context.Context, output any) error
	// Fail ends the generation with the verdict failed and the text of reason. If a caller has asked
	// the producer to stop and reason is the end of a context, the verdict is cancelled.
	Fail(ctx context.Context, reason error) error
	// End ends the generation with a verdict, after everything that was published. The kinds superseded and deleted are
	// refused: a takeover and [Streams.Remove] write them. If another verdict was written first, the error is a
	// [streamhub.ClosedError] that carries it, or a [streamhub.FencedError]. If ctx ends first, it is unknown whether
	// the verdict was written, or will be: calling End again with the same verdict is safe. If the verdict was written,
	// a later Publish is refused with a [streamhub.ClosedError].
	End(ctx context.Context, verdict streamhub.Verdict) error
	// HandOver gives up the generation without ending it. It waits until everything published is
	// stored, and returns a token for [Streams.Resume] on any instance, and the number of the next
	// chunk. Every later call is refused with [streamhub.ErrFenced].
	HandOver(ctx context.Context) (token string, next uint64, err error)
	// Close ends the generation if no other call has ended it; callers defer it. The verdict is cancelled if a caller
	// has asked the producer to stop, and failed otherwise. If ctx has ended, or ends meanwhile, it takes up to a
	// second more to write the verdict.
	Close(ctx context.Context) error
}

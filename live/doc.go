// Package live keeps live streams: the output of a job, such as the answer of a language model,
// that is produced in one place, read in others while it grows, and that always ends with a
// verdict.
//
// Most programs reach it through package hub: hub.Store.Live.
//
// # Generations
//
// An id names a stream, and each [Streams.Register] that succeeds begins a new generation of it,
// under a number that only grows. A generation is a segment of its own, so nothing of one is ever
// shown as another's: a reader stays with the one it began with, is told how that ended, and may
// then go on to the next. Only the producer of the generation in force can publish; what an
// earlier one still sends is refused.
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
// A verdict is written once, by the producer or by whichever instance notices first, and it is the
// last thing that every reader gets: the [streamhub.ClosedError] behind the last chunk.
//
// # Silence
//
// An instance says every [Options.Heartbeat], with one command for each space, which generations it
// produces, and hears which producers are silent. Where nobody was heard, because Redis restarted
// or could not be reached, silence is counted anew: an outage kills no healthy producer.
//
// # The way back
//
// Each generation has a second segment, from its readers to its producer. [Stream.Cancel] is stored
// there, and so are messages ([Stream.Send]), in order; of several answers to one question the
// first one wins.
package live

// Package livestream implements the live streams of package live on segments. Package hub opens one
// [Manager] for each process.
//
// # Generations
//
// A generation is a segment of its own, so nothing of one is ever shown as another's. The session of
// a stream, a small hash, names the generation in force and who produces it.
//
// # Silence
//
// Every [live.Options.Heartbeat] an instance says, with one command for each space, which generations
// it produces, and learns which producers are silent. When no producer was heard, because Redis restarted
// or was out of reach, silence is counted again: an outage ends no healthy producer.
//
// # The back lane
//
// Each generation has a second segment, from its readers to its producer. Requests to cancel and
// messages are stored there, in order. Of several records with the same key the first one counts.
package livestream

// Package livestream implements the live streams of package live on segments. Package hub opens one [Manager] for each
// process.
//
// # Generations
//
// A generation is a segment of its own, so that chunks of two generations never mix. The session of a stream, a small
// hash, names the current generation and its producer.
//
// # Silence
//
// Every [live.Options.Heartbeat] an instance reports, with one command for each space, which generations it produces,
// and receives the list of silent producers. If no producer could report, because Redis restarted or was out of reach,
// the silence of all producers starts again: an outage ends no healthy producer.
//
// # The back lane
//
// Each generation has a second segment, from its readers to its producer. Requests to cancel and messages are stored
// there, in order. Of several records with the same key the first one counts.
package livestream

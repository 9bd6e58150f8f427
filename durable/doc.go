// Package durable serves a hub as Durable Streams over HTTP: streams that are created, appended to,
// read and followed with nothing but GET, PUT, POST, HEAD and DELETE. docs/durable-streams.md says
// what a client sees.
//
// A [Handler] is an http.Handler that holds no state another gateway needs: any number of them stand
// before one Redis, and every request may go to another one.
//
// # Streams and segments
//
// A stream is a segment. The first element of its path is the space and the rest the segment; a path
// of one element lies in the space "default". So /v1/stream/orders/17 is what every other transport
// calls segment "17" of space "orders", and all of them read, follow and append alike. An append of
// bytes is one record of a MiB or less; a JSON array is one record for each of its elements.
//
// # Offsets
//
// An offset is the life of the stream, a sequence, and the proof of the entry with that sequence. One
// of a former life is answered 410, and so is one of entries that Redis has lost, also where others
// have their sequences by now: no reader goes on in a stream that is not the one that was read. A fork
// shares the offsets of its source.
//
// # Readers
//
// However many long-polls and event streams follow a segment, a process reads it once and encodes
// each page once. Readers whose client is gone end at once; all of them end with [Handler.Shutdown],
// spread over a while so that they do not come back together.
//
// # Subscriptions
//
// A subscription wakes a worker when streams that it matches have grown: by a signed webhook, or by
// an entry in a stream that workers follow. Its state lives in Redis, so it survives restarts, and
// every gateway answers for it.
package durable

// Package durable serves a hub as Durable Streams over HTTP: streams that are created, appended to, read and followed
// with nothing but GET, PUT, POST, HEAD and DELETE. docs/durable-streams.md says what a client sees.
//
// Most programs use package server, which serves every transport. A [Handler] is an http.Handler for Durable Streams
// alone. It holds no state that another process needs: any number of handlers serve one Redis, and each request may
// reach another one.
//
// # Streams and segments
//
// A stream is a segment. The first element of its path is the space and the rest is the segment; a path of one element
// is in the space "default". So /v1/stream/orders/17 is what every other transport calls segment "17" of space
// "orders", and all of them read, follow and append alike. An append of bytes is one record, of at most 1 MiB by
// default; a JSON array is one record for each of its elements.
//
// # Offsets
//
// An offset holds the incarnation of the stream, a sequence, and the proof of the entry with that sequence. The answer
// to an offset of an earlier incarnation is 410. It is also 410 for an offset after entries that Redis has lost, even
// if other entries have their sequences now. A reader never continues in a stream that it has not read. A fork shares
// the offsets of its source.
//
// # Readers
//
// A process reads a segment once and encodes each page once, however many long-polls and event streams follow it. A
// reader ends at once when its client disconnects. [Handler.Shutdown] spreads the ends of the readers over two seconds,
// so that they do not all reconnect at once.
//
// # Subscriptions
//
// A subscription wakes a worker after an append to a stream that it matches: by a signed webhook, or by an entry in a
// stream that workers follow. Its state is in Redis, so it survives restarts, and every gateway serves it.
package durable

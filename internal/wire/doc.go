// Package wire is the protocol streamhub.v1: what gateways and clients say to each other, as Go
// values and as bytes. It opens no connection. docs/protocol.md describes it for other languages.
//
// A WebSocket message holds one protocol message or more, so that one write carries all that is due
// on a connection. A [Message] belongs to a channel, which is one call: the client opens it with a
// [Request], the server answers with items, if the call has some, and ends it exactly once with an
// [End]. Channel 0 is the connection itself.
//
// Integers are unsigned varints as in encoding/binary, strings and bytes come after their length.
// A body may be longer than what is known of it: what follows is ignored, so that fields can be
// added at the end. Decoding never panics and allocates no more than a small multiple of its input;
// payloads share memory with the input.
package wire

// Subprotocol is the name that a client asks for.
const Subprotocol = "streamhub.v1"

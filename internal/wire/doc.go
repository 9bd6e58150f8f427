// Package wire defines the messages of the protocol streamhub.v1, between gateways and clients, as Go values and as
// bytes. It opens no connection. docs/protocol.md describes it for other languages.
//
// A WebSocket message holds one or more protocol messages, so that one write carries everything that is ready on a
// connection. A [Message] belongs to a channel, which is one call: the client opens it with a [Request], the server
// answers with items, if the call has some, and ends it exactly once with an [End]. Channel 0 is the connection itself.
//
// Integers are unsigned varints as in encoding/binary. Strings and bytes follow their length. A decoder ignores unknown
// bytes at the end of a body, so that fields can be added there. Decoding never panics and allocates no more than a
// small multiple of its input; payloads share memory with the input.
package wire

// Subprotocol is the name that a client asks for.
const Subprotocol = "streamhub.v1"

// Package streamkittest judges whether a gateway serves the clients of streamkit v1: a little client
// of its own, on a plain connection, that is as strict as the released one and stricter. It fails
// a test for a fragmented or masked frame, and for an extension or a subprotocol that was not
// asked for. It also fails it for a channel that is not ended, a message after an end, or an
// entry that the released client would not take.
//
// [Run] is the list of what its users rely on. [Replay] sends what a released client once sent to a
// released server, and compares the answers.
package streamkittest

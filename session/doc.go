// Package session keeps a WebSocket going. A [Conn] dials, receives, sends and watches whether
// its peer is there. A [Session] turns messages into chunks of any type and connects again when
// the connection is lost.
//
// The names, and the defaults, are those of PromptKit's internal package streaming, for programs that
// come from there; docs/migrating.md says what differs: nothing that was received is thrown away at
// a reconnect; close code 1001 (the server goes away) connects again; a peer that does not answer
// pings is noticed; what a session ended with stays readable.
//
// A Conn and a Session are safe for concurrent use. Close waits for their goroutines.
package session

// Package session is a WebSocket client that reconnects. A [Conn] dials, receives, sends and checks that its peer is
// alive. A [Session] turns the messages of a Conn into chunks of any type, and reconnects after a lost connection.
//
// The names and defaults are those of PromptKit's internal package streaming, for programs that migrate from it;
// docs/migrating.md lists the differences: received messages survive a reconnect; a session reconnects after close code
// 1001 (the server goes away); a peer that does not answer pings ends the connection; the error of an ended session
// stays readable.
//
// A Conn and a Session are safe for concurrent use. Close waits for their goroutines.
package session

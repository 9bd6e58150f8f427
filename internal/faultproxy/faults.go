package faultproxy

import "time"

// Faults is what a Proxy does to connections. The zero value forwards everything.
type Faults struct {
	// Refuse cuts a new connection as soon as it is accepted.
	Refuse bool

	// CutRequest is the probability, from 0 to 1, that a request is dropped before the server gets it and the
	// connection cut.
	CutRequest float64

	// CutReply is the probability, from 0 to 1, that a reply is dropped before the client gets it and the connection
	// cut.
	CutReply float64

	// CutAfter cuts a connection when so many bytes from the server have been forwarded on it, counted from its start.
	// 0: never.
	CutAfter int64

	// EOF makes cuts end the client's side in order instead of with a reset.
	EOF bool

	// ToServer and ToClient shape the two directions.
	ToServer, ToClient Flow
}

// Flow is what happens to the bytes of one direction.
type Flow struct {
	// Delay holds what has been read for this long, plus a random part of Jitter, before it goes on.
	Delay, Jitter time.Duration

	// Slice writes in pieces of 1 to Slice bytes. 0: whole.
	Slice int

	// Hold keeps bytes, and the end of the stream, until it is set to false again.
	Hold bool

	// Blackhole swallows bytes, and the end of the stream, for good.
	Blackhole bool
}

// Counters are totals since New.
type Counters struct {
	Connections   int64 // accepted, with the refused ones
	Refused       int64
	Requests      int64
	Replies       int64
	CutRequests   int64 // dropped requests
	CutReplies    int64 // dropped replies
	Cuts          int64 // connections cut, for whatever reason
	BytesToServer int64 // forwarded
	BytesToClient int64 // forwarded
	Swallowed     int64 // bytes gone in a Blackhole
}

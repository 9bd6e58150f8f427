// Package faultproxy is a TCP proxy that breaks connections on command, or by chance out of a seed.
//
// Tests call it, to put it between a client and its Redis, or any other server; it knows no protocol.
//
//	p, err := faultproxy.New(server.Addr(), seed, faultproxy.Faults{CutReply: 0.02})
//	…
//	defer p.Close()
//
// # Requests and replies
//
// A request is what arrives from the client in one read, and a reply is the first read from the server after a
// request. That is exact for a client which sends a request of up to 32 KiB and waits; a pipeline may count as several
// requests, and its replies as one. What a server sends unasked is no reply.
//
// # Chance
//
// Connections are numbered in the order they are accepted. Whether reply k of connection c is cut depends on the seed, c,
// k and the probability alone, not on timing or on what happened elsewhere. The request and the goroutine that meet it
// fate is up to the client.
//
// # Cuts
//
// A cut ends both sides of a connection at once: the client sees a reset, or with [Faults.EOF] an orderly end. A cut reply
// has been executed by the server and is not seen by the client, not even in part.
package faultproxy

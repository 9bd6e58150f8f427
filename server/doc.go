// Package server puts every transport before a hub, behind one handler: WebSocket at /streamz, Durable
// Streams and live streams below /v1/, and probes. Programs that embed streamhub use it, and so does
// streamhub serve.
//
// A [Server] is an http.Handler. Every transport stands behind the same gate: tokens, web origins,
// names of the gateway, limits and metrics are set once, in [Options], and hold everywhere. A request
// or a connection ends when its token does.
//
// Without a token and without origins the server answers requests of its own origin, under addresses
// of the loopback and localhost; see [Options.Origins] and [Options.Hosts].
//
// [Server.Admin] is the handler for operators. Serve it on a listener of its own.
package server

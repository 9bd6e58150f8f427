// Package server serves a hub over every transport from one HTTP handler: WebSocket at /streamz, Durable Streams and
// live streams below /v1/, and probes. The command "streamhub serve" and programs that embed streamhub use it. Paths
// below /v1/ belong to the store of the nil UUID; those of another store begin with /stores/UUID/v1/.
//
// A [Server] is an http.Handler. Every transport is behind the same gate: tokens, web origins, host names, limits and
// metrics are set once, in [Options], and apply to all transports. A request or a connection ends when its token
// expires.
//
// Without Auth, Origins and Hosts the server answers only requests to localhost and loopback addresses, and only from
// pages of its own origin; see [Options.Origins] and [Options.Hosts].
//
// [Server.Admin] is the handler for operators. Serve it on a separate listener.
package server

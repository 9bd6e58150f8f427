// Package wsgateway serves a hub over WebSocket.
//
// Most programs use package server, which serves every transport. A [Gateway] is an http.Handler for WebSocket alone.
// It holds no state that another gateway needs: any number of gateways serve one Redis, and a client that loses its
// gateway continues on another one.
//
// # Dialects
//
// A client that asks for the subprotocol streamhub.v1 speaks the protocol of this project (docs/protocol.md): binary,
// with many concurrent calls on one connection and flow control for each. A client that asks for none speaks the
// protocol of streamkit v1, whose released clients work unchanged.
//
// # Backpressure
//
// Nothing is dropped. A reader that stops reading gets no more entries: its call waits and holds one page. A connection
// whose client does not read is closed after [Options.WriteTimeout], and the client resumes at another gateway. The
// gateway stops reading from a connection that sends faster than Redis stores.
//
// # Ends
//
// [Gateway.Shutdown] ends readers with [streamhub.ErrShutdown] and the cursor to resume from, waits for appends in
// flight and closes each connection with code 1012. A connection whose token has expired is closed with code 4401,
// unless the client has sent a new one.
package wsgateway

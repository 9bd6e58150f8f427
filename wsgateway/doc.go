// Package wsgateway serves a hub over WebSocket.
//
// A [Gateway] is an http.Handler that holds no state another gateway needs: any number of them
// stand before one Redis, and a client that loses one goes on at the next.
//
// # Dialects
//
// A client that asks for the subprotocol streamhub.v1 speaks ours (docs/protocol.md): binary, many
// calls at once on one connection, with flow control for each. A client that asks for none speaks
// the protocol of streamkit v1, whose released clients work unchanged.
//
// # Backpressure
//
// Nothing is dropped. A reader that takes no more gets no more: its call waits, and holds one page.
// A connection that does not take what is due for it is closed after a while, and its client
// resumes elsewhere. A connection that sends more than can be stored is not read meanwhile.
//
// # Ends
//
// [Gateway.Shutdown] ends readers with [streamhub.ErrShutdown] and the cursor to go on from, waits
// for what is being stored and closes each connection with code 1012. A connection whose token has
// expired is closed with code 4401, unless the client has sent a new one.
package wsgateway

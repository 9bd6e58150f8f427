// Package client is the Go SDK for programs that use a hub through gateways, or through a hub in
// the same process. It links no Redis.
//
//	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws://127.0.0.1:8080"}, nil)
//	c := client.New(gateways, nil)
//	s := c.Store(uuid.Nil)
//	_, err = s.Append(ctx, "orders", "order-17", records, nil)
//	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", nil) { … }
//
// # Two layers
//
// A [streamhub.Provider] makes each call once: [WebSocketProvider] over a connection to a gateway,
// hub.Hub.Provider in process. A [Client] uses a provider and retries failed calls where a retry
// can help. It decides by the code of the error, never by its text.
//
// # What resumes by itself
//
// Readers and followers go on after the last entry that they passed on, on whichever gateway
// answers: without a gap, a duplicate or a wrong order. Followers and subscriptions do so until
// their context ends or an error is final ([streamhub.ErrHistoryLost], [streamhub.ErrTrimmed],
// [streamhub.ErrUnauthenticated] and so on). An append that is sent again is stored once. After a
// reconnect a subscription gives the current state again, and then each change.
//
// # Errors
//
// Calls return the errors of package streamhub; after retries, the error of the last attempt. An append
// can fail with [streamhub.ErrUnknownOutcome]: repeat it with the TRX id of the error.
package client

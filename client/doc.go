// Package client is the Go SDK: what a program holds that uses a hub, in the same process or behind
// gateways. It links no Redis.
//
//	gateways, err := client.NewWebSocketProvider(ctx, []string{"ws://127.0.0.1:8080"}, nil)
//	c := client.New(gateways, nil)
//	s := c.Store(uuid.Nil)
//	_, err = s.Append(ctx, "orders", "order-17", records, nil)
//	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", nil) { … }
//
// # Two layers
//
// A streamhub.Provider makes each call once: [WebSocketProvider] over a connection to a gateway,
// hub.Hub.Provider in process. A [Client] stands on any of them and makes calls that last: it tries
// again what can be tried again, by the code of the error and never by its text.
//
// # What resumes by itself
//
// Readers and followers go on after the last entry that they passed on, on whichever gateway
// answers: without a gap, a duplicate or a wrong order. Followers and subscriptions do so until
// their context ends or an error says that it cannot be ([streamhub.ErrHistoryLost],
// [streamhub.ErrTrimmed], [streamhub.ErrUnauthenticated] and so on). An append that is sent again
// is stored once. A subscription gives the state of what it is about anew, then what changes.
//
// # Errors
//
// Errors are those of package streamhub. One that is left after the last attempt is returned as it
// is; for an append it may be [streamhub.ErrUnknownOutcome], and the append may be repeated with the
// TRX id that the error carries.
package client

// Package hub is what programs hold: one [Hub] per process gives the segments, followers, leases
// and workers of every store in one Redis.
//
//	h, err := hub.Open(ctx, client, nil) // a redis.UniversalClient; nil starts an embedded Redis
//	defer h.Close()
//	s := h.Store(uuid.Nil)
//	_, err = s.Append(ctx, "orders", "order-17", records, nil)
//	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", nil) { … }
//
// # Instances
//
// A hub keeps nothing that another instance needs. Any number of them share a Redis; what one
// appends every other one reads and follows, and a cursor taken at one resumes at another.
//
// # Embedded
//
// With a nil client the hub starts an in-memory Redis of its own (miniredis) on a random loopback
// port, for unit tests and first steps. It keeps nothing over its end, and its speed and memory
// are those of a test server.
//
// # Concurrency and ownership
//
// Everything is safe for concurrent use. Records handed to an append may be reused when it has
// returned. Entries may be kept, but their payload and metadata must not be changed. [Hub.Close]
// ends followers and waits for every goroutine; the client stays the caller's.
//
// # Errors
//
// Errors are those of package streamhub: a sentinel for errors.Is inside a [streamhub.Error]. What
// is returned is not logged.
package hub

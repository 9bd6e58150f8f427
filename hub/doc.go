// Package hub opens a [Hub], the entry point of most programs. One Hub per process appends to,
// reads and follows the segments of every store in one Redis, and gives leases and workers.
//
//	h, err := hub.Open(ctx, client, nil) // a redis.UniversalClient; nil starts an embedded Redis
//	defer h.Close()
//	s := h.Store(uuid.Nil)
//	_, err = s.Append(ctx, "orders", "order-17", records, nil)
//	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", nil) { … }
//
// # Instances
//
// Any number of processes open a hub on one Redis. A hub holds no state that another one needs:
// every hub reads what any of them appended, and a cursor from one resumes at another.
//
// # Embedded
//
// With a nil client the hub starts an in-memory Redis of its own (miniredis) on a random loopback
// port, for unit tests and first steps. Its data is lost at Close, and it is slower and uses more
// memory than a real Redis.
//
// # Concurrency and ownership
//
// All types are safe for concurrent use. The caller may reuse records when an append has returned.
// Entries may be kept, but their payload and metadata must not be changed. [Hub.Close] ends
// followers and waits for every goroutine; the client stays the caller's.
//
// # Errors
//
// Errors are those of package streamhub: a sentinel for errors.Is inside a [streamhub.Error]. An
// error that is returned is not logged as well.
package hub

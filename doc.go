// Package streamhub holds the types that all other packages share: records and entries, positions and cursors, the
// options of calls, and errors. It talks to no server, so a program can name an [Entry] without linking Redis.
//
// Most programs open a hub with package hub, or connect to one with package client, and use these types in its calls.
// [Store] is the interface that both implement. Both also have Live and WithLease, with equal signatures; the interface
// does not have them, because it would link packages that this one avoids. UUIDs are from github.com/google/uuid, and
// Redis clients from github.com/redis/go-redis/v9.
//
// # Sequences
//
// A store is a tenant, named by a UUID. It holds spaces, and a space holds segments. A segment is an ordered log; its
// entries are numbered 1, 2, 3, … without gaps. A reader that remembers the last sequence it handled can tell a lost
// entry from a slow one.
//
// # Cursors
//
// A [Cursor] is an opaque text that resumes a read after one entry, on any instance, later. It names the incarnation of
// the segment, the lineage of the Redis primary that stored the entry, and a short proof of the entry itself. So a log
// that lost history is noticed and reported as [ErrHistoryLost]; it is never continued in silence.
//
// # Errors
//
// Every condition that a caller acts on is a sentinel for errors.Is. Some come inside a type with details for
// errors.As, such as [SequenceError], [FencedError] and [ClosedError]. An error means that nothing happened and nothing
// will, with two exceptions. [ErrUnknownOutcome] means that the request was sent and no answer came. Repeating it with
// the same [TRX] id is safe on the hub or the client that made the call: it remembers its last appends, and no other
// process does. A program that repeats appends after a restart, or from another instance, names a [Producer].
// [ErrNotConfirmed] comes with a result: the append is stored, but not yet at the durability asked for.
package streamhub

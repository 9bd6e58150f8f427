// Package archiver joins the log in Redis and an archive: it moves history there, reads it there, and brings it back
// into an empty Redis.
//
// Package hub opens a [Tier] for programs that name a backend in its options. The command streamhub archive uses one as
// well.
//
// # Moving
//
// History is archived along the timeline of a space and leaves Redis by segment. Each window takes three steps, and a
// crash may follow each: it is written and committed in the manifest of the archive; the place is recorded in Redis, by
// scripts that compare the archived entries with the log; and only then are frames removed, by a script that checks
// this place. Every script checks the token of the lease, so an archiver that was overtaken does nothing.
//
// # When two disagree
//
// The next archiver finds a window that Redis does not know, and records it there. If Redis has other entries than the
// archive, because a failover lost some, Redis is right: the windows that it does not know are dropped and written
// again. If Redis has nothing, the archive is left alone: that is a case for [Tier.Restore], and until then archiving
// of the space stops with [streamhub.ErrConflict].
//
// # Concurrency and errors
//
// A Tier is safe for concurrent use, and any number of processes may have one on the same backend. A failure is logged,
// counted and retried at the next turn; no entry leaves Redis meanwhile.
package archiver

// Package archiver joins the log in Redis and an archive: it moves history there, reads it there, and
// brings it back into an empty Redis.
//
// Package hub opens a [Tier] for programs that name a backend in its options. The command
// streamhub archive uses one as well.
//
// # Moving
//
// History is archived along the timeline of a space and leaves Redis by segment. Each window takes
// three steps, and a crash may follow each: it is written and committed in the
// manifest of the archive; Redis is told, in scripts that compare what was archived with what is in
// the log; and only then are frames removed, by a script that knows how far that is. Every script
// checks the token of the lease, so an archiver that was overtaken does nothing.
//
// # When two disagree
//
// The next archiver finds a window that Redis does not know, and records it there. Where Redis has other
// entries than were archived, because a failover lost some, Redis is right: the windows that it does
// not know are dropped and written again. Where Redis has nothing, nothing is touched: that is for
// [Tier.Restore], and until then archiving of the space stops with [streamhub.ErrConflict].
//
// # Concurrency and errors
//
// A Tier is safe for concurrent use, and any number of processes may have one on the same backend.
// What fails is tried again at the next turn, reported to the logger and counted; nothing leaves
// Redis meanwhile.
package archiver

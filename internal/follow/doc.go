// Package follow serves all followers of one process. Notifications arrive over one Pub/Sub connection, each segment is
// read once, and any number of followers share these reads.
//
// Most programs use package hub instead.
//
// # Hint and truth
//
// A notification is a hint: it can be lost, late or doubled, without a report. The log in Redis is the truth. So a
// channel is subscribed and confirmed before the first read. A notification replaces a read only if it carries its
// entries and follows the live position directly, proof included. Any other notification only wakes the reader. Every
// [Options.Recheck], and after every reconnect, one command per followed space reads the changes in the timeline. The
// segments that it names are read, and so are those that moved in this process meanwhile: their entries may be lost
// together with their place in the timeline. A lost notification therefore costs seconds, never an entry.
//
// # Windows
//
//	                  oldest kept            live position
//	log  ── … ──┬──────────┬───────────────────────┬─ ─ ─▶
//	            │ a page   │ window: in memory,    │ waits, costs nothing
//	            │ of its   │ decoded once, shared  │
//	            ▼ own      ▼                       ▼
//	       slow follower   follower          idle follower
//
// Each followed segment has one topic: a live position and a bounded window of the entries before it. A follower inside
// the window reads from memory. A follower with an old cursor, or a slow one, reads its own pages, one at a time, until
// it reaches the window. So a slow follower costs one page (about a megabyte, or one frame) and delays no other. A
// window is emptied as soon as all followers have read it.
//
// # Walkers
//
// A follower that has an [Offer] is parked while it is at the end of the window. A few goroutines of the watcher, the
// walkers, walk along the parked followers of a topic that has moved and offer each the new page. A follower that
// refuses the page, or has to read or to end, is woken and continues in the goroutine of its caller.
//
// # Ends
//
// A follower ends by itself, with one last error, when nothing can follow any more:
//
//	[streamhub.ClosedError]       closed, after the last entry; the error carries the verdict
//	[streamhub.ErrNotFound]       deleted on purpose
//	[streamhub.HistoryLostError]  entries that it has seen are lost
//	[streamhub.TrimmedError]      entries that it has not seen yet were trimmed
//	[streamhub.ErrShutdown]       [Watcher.Close]
//
// or when its context ends, with the context's error. A Redis that does not answer ends no follower: followers wait and
// catch up.
package follow

// Package subscribe serves every follower of one process: notifications come in over one Pub/Sub
// connection, each segment is read once, and any number of followers take from that.
//
// Most programs use package hub instead.
//
// # Hint and truth
//
// A notification is a hint: it can be lost, late or doubled, without a report. The log in Redis
// is the truth. So interest is registered and confirmed before the first read; a notification
// takes the place of a read only if it carries its entries and is the very next thing after what
// is held, proof included; any other one only wakes the reader. Every [Options.Recheck], and after
// every reconnect, one command per followed space asks the timeline what changed. What it names is
// read, and so is what moved here meanwhile: that may have vanished together with its place in the
// timeline. A lost notification therefore costs seconds, never an entry.
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
// Each followed segment has one topic: a live position and a bounded window of the entries before
// it. A follower inside the window takes from memory. One that is not, because it came with an old
// cursor or is slow, reads pages of its own, one at a time, until it meets the window. So a slow
// follower costs one page (about a megabyte, or one frame) and delays no other. A window is empty
// again as soon as all followers have seen it.
//
// # Walkers
//
// A follower that has an [Offer] is parked while it is at the end of the window. A few goroutines of
// the watcher, the walkers, walk along the parked followers of a topic that has moved and offer each
// the new page. A follower that refuses it, or has to read or to end, is woken and goes on in the
// goroutine of its caller.
//
// # Ends
//
// A follower ends by itself, with one last error, when nothing can follow any more:
//
//	[streamhub.ClosedError]       closed, after the last entry; the error carries the verdict
//	[streamhub.ErrNotFound]       deleted on purpose
//	[streamhub.HistoryLostError]  what it has seen is not there any more
//	[streamhub.TrimmedError]      what it has not yet seen was removed
//	[streamhub.ErrShutdown]       [Watcher.Close]
//
// or when its context ends, with the context's error. A Redis that does not answer ends no follower:
// followers wait and catch up.
package follow

// Package subscribe follows segments and spaces of one Redis: it replays stored entries and then follows new ones, for
// any number of followers in one process.
//
// Most programs use package hub instead, which appends, archives and sweeps as well. This package is for a program that
// only reads.
//
// # Followers
//
// A process has one Pub/Sub connection and reads each segment once, however many followers it has. A notification is
// only a hint: a lost one costs at most [Options.Recheck], never an entry. A slow follower costs about a megabyte and
// delays no other.
//
// # How a follower ends
//
// The sequence ends with one last error:
//
//	[streamhub.ClosedError]       after the last entry of a closed segment; carries the verdict
//	[streamhub.ErrNotFound]       the segment was deleted on purpose
//	[streamhub.HistoryLostError]  entries that it has seen are gone or have changed
//	[streamhub.TrimmedError]      entries that it has not seen yet were removed
//	[streamhub.ErrShutdown]       [Watcher.Close] was called
//
// or with the error of its context. While Redis does not answer, followers wait; they catch up later.
package subscribe

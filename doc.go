// Package streamhub is the vocabulary of the hub: what a producer sends, what a reader gets, how
// a position is named and how a call fails. It holds no code that talks to anything, so a program
// can name an [Entry] without linking Redis.
//
// Most programs open a hub with package hub and use the types of this package in its calls.
//
// # Sequences
//
// A segment is an ordered log inside a space; its entries are numbered 1, 2, 3, … without gaps.
// A reader that remembers the last sequence it handled can tell a lost entry from a slow one.
//
// # Cursors
//
// A [Cursor] is an opaque text that resumes a read after one entry, on any instance, later. It
// names the incarnation of the segment, the lineage of the Redis primary that took the entry,
// and a short proof of the entry itself. So a log that lost history is noticed and reported as
// [ErrHistoryLost]; it is never continued in silence.
//
// # Errors
//
// Every condition that a caller acts on is a sentinel; the value wrapped around it carries the
// facts (see [SequenceError], [FencedError], [ClosedError] and the others). An error is definite,
// nothing happened and nothing will, unless it is [ErrUnknownOutcome]: then the request was sent
// and no answer came, and repeating it with the same [TRX] id is safe.
package streamhub

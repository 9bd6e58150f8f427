// Package store keeps ordered segments in Redis: it appends, reads, trims and deletes.
//
// Most programs use package hub instead, which also follows segments live, archives them and sweeps expired ones. This
// package is for a program that only appends, or only reads stored entries.
//
// # Sequences
//
// The entries of a segment are numbered 1, 2, 3, … without gaps. A reader that remembers the last sequence it handled
// resumes there and can tell a lost entry from a slow one.
//
// # Cursors
//
// A cursor is an opaque text that names a position in a segment or in a space. It proves the entry at that position, so
// a reader notices that Redis has lost history: [streamhub.ErrHistoryLost].
//
// # Errors
//
// Every error is a [streamhub.Error]. It wraps one of the sentinels of package streamhub or the error of the context.
// Nothing was stored, with two exceptions: after [streamhub.ErrUnknownOutcome] the append may be stored, and
// [streamhub.ErrNotConfirmed] comes with the result of a stored one.
package store
